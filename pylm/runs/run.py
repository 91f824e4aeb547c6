"""A run that stands, for reading: without its lock, so also while it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import CheckpointError, UsageError
from pylm.runs.lines import read_lines

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.config.schema import Config

__all__ = ["Run"]

WRITTEN = ("config.yaml", "metrics.jsonl", "checkpoints")


class Run:
    """A run's folder, read as it is at the moment of each question.

    ::

        run = pylm.Run("runs/mine")
        run.step, run.val_loss
        [record["loss"] for record in run.metrics() if "loss" in record]
    """

    def __init__(self, path: str | Path) -> None:
        """Name the folder of a run; it is an error where there is none."""
        self.path = Path(path)
        if not self.path.is_dir():
            raise UsageError(f"{path}: no such folder", "name a folder such as runs/x")
        if not any((self.path / name).exists() for name in WRITTEN):
            raise UsageError(f"{path} is no run: it holds no config.yaml", "name a folder such as runs/x")

    def __fspath__(self) -> str:
        """Return its folder: a run is taken wherever a path is."""
        return str(self.path)

    def __repr__(self) -> str:
        """Say where it is and where it stands."""
        loss = self.val_loss
        return f"<pylm.Run {self.path} step {self.step:,}{'' if loss is None else f' val_loss {loss:.4f}'}>"

    @property
    def config(self) -> Config:
        """The configuration, complete."""
        from pylm.config.cascade import resolve

        return resolve(files=[self.path / "config.yaml"], environ={}).config

    @property
    def step(self) -> int:
        """The last step that was written down."""
        from pylm.checkpoint import steps

        records = self.metrics()
        taken: list[int] = [record["step"] for record in records]
        return max([0, *taken, *steps(self.path)])

    @property
    def val_loss(self) -> float | None:
        """The validation loss of the last evaluation; None where nothing was evaluated."""
        losses = [record["val_loss"] for record in self.metrics() if "val_loss" in record]
        return losses[-1] if losses else None

    @property
    def bits_per_byte(self) -> float | None:
        """The bits per byte of the last evaluation; None where it has none, as without a tokenizer beside the data."""
        bits = [record.get("bits_per_byte") for record in self.metrics() if "val_loss" in record]
        return bits[-1] if bits else None

    @property
    def best_loss(self) -> float | None:
        """The lowest validation loss; None where nothing was evaluated."""
        losses = [record["val_loss"] for record in self.metrics() if record.get("val_loss") is not None]
        return min(losses, default=None)

    @property
    def finish_reason(self) -> str | None:
        """Why the run is over, as its newest checkpoint says; None where it is not."""
        from pylm.checkpoint import steps

        if not steps(self.path):
            return None
        last = self.checkpoint("last")
        if last.step < self.step:
            return None  # it went on since
        reason: str | None = last.state["progress"].get("finished")
        return reason

    def metrics(self) -> list[dict[str, Any]]:
        """Return the records of metrics.jsonl: those with `loss` are of steps, those with `val_loss` of evaluations."""
        return read_lines(self.path / "metrics.jsonl")

    def samples(self) -> list[dict[str, Any]]:
        """Return the records of samples.jsonl: `step`, `prompt` and `text` each."""
        return read_lines(self.path / "samples.jsonl")

    def incidents(self) -> list[dict[str, Any]]:
        """Return the records of incidents.jsonl: steps that were skipped, losses that jumped."""
        return read_lines(self.path / "incidents.jsonl")

    def checkpoint(self, name: str | int | None = None) -> Checkpoint:
        """Return a checkpoint: the best, or the last where nothing was evaluated; or by name or step."""
        from pylm.checkpoint import find, read

        which = f"step_{name}" if isinstance(name, int) else name
        for again in (True, True, False):
            folder = find(str(self.path) if which is None else f"{self.path}/{which}")
            try:
                return read(folder)
            except (OSError, CheckpointError):
                if not again or folder.is_dir():
                    raise  # else a run that goes on has removed it meanwhile, and `last` names a newer one
        raise AssertionError
