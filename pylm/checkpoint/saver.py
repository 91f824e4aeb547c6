"""Checkpoints written while training goes on: the loop hands over a copy, a thread does the rest."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pylm.checkpoint.directory import write
from pylm.checkpoint.run_folder import CHECKPOINTS, mend, point, retain
from pylm.checkpoint.tensors import Tensor
from pylm.errors import CheckpointError

__all__ = ["Saver"]


class Saver:
    """The writer of a run's checkpoints: one at a time.

    It points `last` and `best` at a checkpoint, and removes old ones once that one is sound.
    """

    def __init__(self, run: Path, keep_last: int, config: str, texts: Mapping[str, str]) -> None:
        """Keep what is the same in every checkpoint of a run.

        Args:
            run: its folder.
            keep_last: how many checkpoints stay beside the best.
            config: the resolved configuration as YAML.
            texts: further files, such as `tokenizer.json`.
        """
        self.run = run
        self.keep_last = keep_last
        self.config = config
        self.texts = dict(texts)
        self.seconds: float | None = None  # that writing the last one took
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._written: deque[tuple[int, bool]] = deque()

    def mend(self) -> None:
        """Do what a writer that was killed left undone in the run's folder."""
        mend(self.run, self.keep_last)

    def save(
        self,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, Any],
        best: bool,
        average: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Start writing, after waiting for a checkpoint that is still being written.

        Args:
            weights: a copy that nobody changes.
            optimizer: such a copy.
            state: what else a resume needs, with `step`.
            best: whether `best` is to name this one.
            average: a copy of the weights' average, where one is kept.
        """
        self.wait()
        arguments = (dict(weights), dict(optimizer), dict(state), best, dict(average or {}))
        self._thread = threading.Thread(target=self._write, args=arguments, name="checkpoint")
        self._thread.start()

    def point_best(self, step: int) -> None:
        """Let `best` name a step that is saved, or being saved."""
        self.wait()
        point(self.run, "best", step)

    def wait(self) -> None:
        """Wait until nothing is being written; a save that failed is raised here."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def finish(self) -> None:
        """Wait until nothing is being written, and raise nothing: something else has failed already."""
        if self._thread is not None:
            self._thread.join()

    def check(self) -> None:
        """Raise the error of a save that failed, without waiting. A run that cannot save should not go on for hours."""
        if self._thread is None or not self._thread.is_alive():
            self.wait()

    def take_written(self) -> list[tuple[int, bool]]:
        """Return the steps whose checkpoints were written since the last call, each with whether it was the best."""
        return [self._written.popleft() for _ in range(len(self._written))]

    def _write(
        self,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, Any],
        best: bool,
        average: Mapping[str, Tensor],
    ) -> None:
        started = time.perf_counter()
        try:
            step = int(state["step"])
            self._make(self.run / CHECKPOINTS / f"step_{step}", weights, optimizer, state, average)
            self._settle(step, best)
            self._written.append((step, best))
            self.seconds = time.perf_counter() - started
        except BaseException as error:  # noqa: BLE001 - raised again in the loop's thread
            self._error = error

    def _make(
        self,
        path: Path,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        state: Mapping[str, Any],
        average: Mapping[str, Tensor],
    ) -> None:
        """Write the folder of a checkpoint."""
        self._check_folder()
        write(
            path,
            weights=weights,
            optimizer=optimizer,
            state=state,
            config=self.config,
            texts=self.texts,
            average=average,
        )

    def _check_folder(self) -> None:
        """Refuse to make a folder without the rest of the run."""
        if not self.run.is_dir():
            raise CheckpointError(f"{self.run} was removed or moved while the run was writing there")

    def _settle(self, step: int, best: bool) -> None:
        """Let the run's folder know of a checkpoint that is durable; what it is kept instead of goes."""
        point(self.run, "last", step)
        if best:
            point(self.run, "best", step)
        retain(self.run, self.keep_last)
