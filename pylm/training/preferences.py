"""Learning by preferences: what the model that a run begins with gives each answer, and how far the run is from it.

The loss is that of direct preference optimization: -log sigmoid(beta * ((pi_c - ref_c) - (pi_r - ref_r))), the mean
over pairs, where pi and ref are sums of log-probabilities over what counts of the chosen and the rejected answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm.checkpoint import Tensor, read_tensors, write_tensors
from pylm.data.folder import read_manifest
from pylm.data.open import source_of
from pylm.errors import CheckpointError, ConfigError, Interrupted
from pylm.evaluation.validation import Validation
from pylm.training.backend import MicroBatch, answers_of, cut
from pylm.training.events import Doing, Evaluation, Event
from pylm.wording import call, param

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pylm.config.schema import Config
    from pylm.data import Batch, Loader
    from pylm.data.identity import Identity
    from pylm.training.backend import Backend

__all__ = ["FILE", "PairEvaluator", "References", "log_probs", "references_of"]

FILE = "reference.safetensors"
Sums = dict[str, "NDArray[np.float64]"]


def log_probs(backend: Backend, batch: MicroBatch) -> list[float]:
    """Return the sum of the log-probabilities of what counts, of each answer of a batch."""
    losses = backend.loss(batch).losses.reshape(-1)
    return [-float(losses[start:stop].sum(dtype=np.float64)) for start, stop in answers_of(batch)]


class References:
    """The log-probabilities of each answer under the weights that a run began with, by split and document."""

    def __init__(self, folder: Path, sums: Sums | None = None) -> None:
        """Take what was computed before, else nothing yet.

        Args:
            folder: of the shards.
            sums: by split, of each document.
        """
        manifest = read_manifest(folder)
        assert manifest is not None
        counts = {name: [one["documents"] for one in split["shards"]] for name, split in manifest["splits"].items()}
        self._first = {name: [0, *accumulate(some)] for name, some in counts.items()}
        sizes = {name: first[-1] for name, first in self._first.items()}
        self.sums = {name: np.full(size, np.nan) for name, size in sizes.items()} if sums is None else sums
        if {name: len(some) for name, some in self.sums.items()} != sizes:
            raise CheckpointError(f"{FILE} is of other pairs than those in {folder}", "begin the run anew")

    def documents(self, loader: Loader, split: str, step: int) -> list[tuple[int, int, int]]:
        """Return of each answer in a batch its row, where in the row it begins, and its document in the split."""
        found, row_before, used = [], -1, 0
        for row, _dataset, shard, document, _start, length in loader.pieces(step):
            used = used if row == row_before else 0
            found.append((row, used, self._first[split][shard] + document))
            row_before, used = row, used + length - 1
        return found

    def of(self, loader: Loader, split: str, step: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return a batch's, each where its answer begins in the rows."""
        placed = np.zeros(shape)
        for row, at, document in self.documents(loader, split, step):
            placed[row, at] = self.sums[split][document]
        return placed

    def note(self, loader: Loader, split: str, step: int, sums: list[float]) -> None:
        """Keep what was computed of a batch, in the order of its answers."""
        for (_row, _at, document), value in zip(self.documents(loader, split, step), sums, strict=False):
            if np.isnan(self.sums[split][document]):  # the last batch of an epoch goes on into the next one
                self.sums[split][document] = value

    def write(self, run: Path) -> None:
        """Write them into the folder of a run."""
        tensors = {name: Tensor.of("F64", some.shape, some.tobytes()) for name, some in self.sums.items()}
        write_tensors(run / FILE, tensors, {})


def references_of(
    config: Config, backend: Backend, identity: Identity, kept: Path | None,
    on_event: Callable[[Event], None], stopping: Callable[[], bool],
) -> References:  # fmt: skip
    """Return the references of a run: those that it keeps, else computed with the weights that a backend has now.

    Args:
        config: of the run.
        backend: with the weights that the run begins with.
        identity: of its data.
        kept: the run that was begun, None where it begins now.
        on_event: told how far it has come.
        stopping: asked between batches.
    """
    folder = Path(str(source_of(config)))
    if kept is not None:
        return References(folder, _read(kept))
    references = References(folder)
    splits = _splits(config, identity)
    batches = sum(math.ceil(loader.windows / rows) for _, loader, rows in splits)
    done = 0
    for split, loader, rows in splits:
        for step in range(math.ceil(loader.windows / rows)):
            on_event(Doing(f"what the model gives each answer before it learns: {done:,} of {batches:,} batches"))
            if stopping():
                raise Interrupted("stopped before the first step", call("finetune", resume="auto"))
            batch = loader.batch(step)
            whole = cut(batch.inputs, batch.targets, batch.cu_seqlens, None, rows)[0]
            references.note(loader, split, step, log_probs(backend, whole))
            done += 1
    return references


def _read(run: Path) -> Sums:
    file = run / FILE
    if not file.is_file():
        raise CheckpointError(
            f"{file} is missing, which says what the run began with",
            f"a new run begins with its weights: {call('finetune', checkpoint=run, method='dpo')}",
        )
    return {name: np.frombuffer(one.data, "<f8").copy() for name, one in read_tensors(file).items()}


def _splits(config: Config, identity: Identity) -> list[tuple[str, Loader, int]]:
    from pylm.data.open import loader_of

    source, rows = source_of(config), 8
    names = ["train"] if identity.validation is None else ["train", "val"]
    return [(name, loader_of(source, config, rows, split=name, strided=False), rows) for name in names]


class PairEvaluator:
    """Evaluates by held-out pairs: the loss, the share that is preferred as it should be, and by how much."""

    def __init__(self, config: Config, identity: Identity, references: References) -> None:
        """Keep the windows that it is judged by."""
        if config.data.val is not None:
            raise ConfigError(f"{param('val')} names other shards", f"{param('val_dataset')} names pairs")
        self._validation = Validation(config, identity)
        self._references, self._beta = references, config.finetune.dpo_beta
        self.tokens = self._validation.tokens  # that an evaluation counts

    def __call__(self, backend: Backend, stopping: Callable[[], bool]) -> Evaluation | None:
        """Return the scores; perplexity is that of the chosen answers. None where somebody asked to stop."""
        margins: list[float] = []
        nats, tokens = 0.0, 0
        for number, batch, left in self._validation.batches():
            if stopping():
                return None
            part, reference = self._part(number, batch, left)
            answers, sums = answers_of(part), np.array(log_probs(backend, part))
            away = (sums - [reference.reshape(-1)[start] for start, _ in answers]).reshape(-1, 2)
            margins += (self._beta * (away[:, 0] - away[:, 1])).tolist()
            counted = part.targets.reshape(-1) >= 0
            nats -= float(sums[::2].sum())
            tokens += sum(int(counted[start:stop].sum()) for start, stop in answers[::2])
        all_of_them = np.array(margins)
        loss = float(np.logaddexp(0.0, -all_of_them).mean())
        perplexity = math.exp(min(nats / max(tokens, 1), 700.0))
        return Evaluation(loss, perplexity, float((all_of_them > 0).mean()), None, margin=float(all_of_them.mean()))

    def _part(self, number: int, batch: Batch, left: int) -> tuple[MicroBatch, Any]:
        part = cut(batch.inputs, batch.targets, batch.cu_seqlens, None, left)[0]
        shape = batch.inputs.shape
        return part, self._references.of(self._validation.loader, "val", number, shape)[:left]
