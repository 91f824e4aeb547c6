"""The greedy soup: of checkpoints by how good they are, those that make the average better, judged apart from that.

Model soups (arXiv:2203.05482), with one difference: what decides is one half of the validation documents, and what is
reported the other, for whoever picks the best of many sums by a number is told a better one than is true.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pylm.checkpoint.directory import partial_of
from pylm.data import source
from pylm.data.folder import read_manifest
from pylm.data.identity import identify
from pylm.data.open import tokenizer_of
from pylm.data.shard_documents import shard_documents
from pylm.errors import CheckpointError, DataError
from pylm.evaluation.evaluate import evaluate
from pylm.evaluation.judged import is_shards
from pylm.soups.methods import fixed
from pylm.soups.written import agreed, write_soup
from pylm.statistics import Difference, paired_bootstrap
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.evaluation.tally import Units
    from pylm.soups.parents import Parent

__all__ = ["Chosen", "choose"]


class Validation(NamedTuple):
    """The documents that decide and those that are reported."""

    data: str
    split: str
    decides: npt.NDArray[np.bool_]  # of each document

    def losses(self, checkpoint: Path) -> Losses:
        """Return what a checkpoint makes of the documents of the two halves."""
        found = evaluate(checkpoint, data=self.data, split=self.split, by_document=True, verify=False)
        assert found.units is not None
        return Losses.of(found.units, self.decides[found.units.keys])


class Losses(NamedTuple):
    """Nats and tokens of each document, and the loss on either half."""

    units: Units
    decides: npt.NDArray[np.bool_]
    deciding: float
    reported: float

    @classmethod
    def of(cls, units: Units, decides: npt.NDArray[np.bool_]) -> Losses:
        """Return the losses: nats over tokens of all documents of a half; one that is no number is the worst."""
        sums = [(float(units.nats[half].sum()), int(units.tokens[half].sum())) for half in (decides, ~decides)]
        deciding, reported = (nats / tokens if tokens and nats == nats else math.inf for nats, tokens in sums)
        return cls(units, decides, deciding, reported)

    def apart(self, other: Losses) -> Difference:
        """Return how far another is from this one on the reported half, paired by document."""
        half = ~self.decides
        return paired_bootstrap(self.units.nats[half], other.units.nats[half], self.units.tokens[half])


class Chosen(NamedTuple):
    """Which parents are in the soup, and why."""

    taken: list[Parent]
    scores: list[dict[str, Any]]  # of each parent, in the order in which it was tried
    report: dict[str, Any]  # the soup and the best single one on the half that decided nothing


def choose(
    parents: Sequence[Parent], out: Path, data: str | None, say: Callable[[str], None] = lambda text: None
) -> Chosen:
    """Return the parents whose average is the best: the best one, and each that makes it strictly better.

    Args:
        parents: the candidates; their order does not matter.
        out: beside it the averages that are tried are written, one at a time.
        data: what judges, shards or text; None for the validation split of the parents' runs.
        say: told of each candidate.
    """
    validation = _validation(parents, data)
    losses = {parent.name: validation.losses(parent.folder) for parent in parents}
    order = sorted(parents, key=lambda parent: (losses[parent.name].deciding, parent.identity))
    taken, best, scores = order[:1], losses[order[0].name], []
    for number, parent in enumerate(order):
        with_it = best if number == 0 else _tried([*taken, parent], out, validation)
        is_taken = number == 0 or with_it.deciding < best.deciding
        if is_taken and number:
            taken, best = [*taken, parent], with_it
        scores.append({"path": parent.name, "loss": losses[parent.name].deciding, "with": with_it.deciding,
                       "taken": is_taken})  # fmt: skip
        say(f"{parent.name}: loss {scores[-1]['loss']:.4f}, with it {with_it.deciding:.4f}"
            f"{'' if is_taken else ', left out'}")  # fmt: skip
    single = losses[order[0].name]
    report = {
        "data": validation.data,
        "deciding": {"documents": int(best.decides.sum()), "loss": best.deciding, "best_single": single.deciding},
        "reported": {"documents": int((~best.decides).sum()), "loss": best.reported, "best_single": single.reported,
                     "difference": single.apart(best)._asdict()},
    }  # fmt: skip
    return Chosen(taken, scores, report)


def _tried(parents: Sequence[Parent], out: Path, validation: Validation) -> Losses:
    """Return the losses of an average, which is written aside and removed again."""
    ordered = sorted(parents, key=lambda parent: parent.identity)
    made = {"method": "mean", "parents": [{"path": parent.name} for parent in ordered]}
    aside = partial_of(out)
    try:
        tried = write_soup(aside / "tried", ordered, fixed([1 / len(ordered)] * len(ordered)), lambda: made)
        return validation.losses(tried.path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _validation(parents: Sequence[Parent], data: str | None) -> Validation:
    path, split = _own_split(parents) if data is None else (data, "val")
    decides = np.array([_hash(document)[0] % 2 == 0 for document in _documents(path, split, parents[0].folder)])
    if decides.all() or not decides.any():
        raise DataError(
            f"{path} has {len(decides):,} documents, too few for two halves", f"name other data: {param('data', 'DIR')}"
        )
    return Validation(path, split, decides)


def _own_split(parents: Sequence[Parent]) -> tuple[str, str]:
    """Return where the validation split of the parents' runs is, and what it is called there."""
    data = agreed(parents)[0].data if parents[0].checkpoint is not None else None
    trained_on = None if data is None else data.mix or data.path
    if data is None or trained_on is None:
        raise CheckpointError(
            f"{parents[0].name} and the others do not name the same data",
            f"name what judges: {param('data', 'DIR')}",
        )
    validation = identify(trained_on, data.val).validation
    if validation is None:
        raise DataError(f"{trained_on} has no validation split", f"name what judges: {param('data', 'DIR')}")
    return validation, "val" if data.val is None else "train"


def _documents(path: str, split: str, checkpoint: Path) -> Iterator[bytes]:
    """Yield what the documents hold, in the order in which evaluations number them."""
    if not is_shards(path):
        yield from (document.text.encode() for document in source(path, meta=False) if document.text)
        return
    tokenizer = tokenizer_of(str(checkpoint))
    eot = (read_manifest(Path(path)) or {}).get("eot") if tokenizer is None else tokenizer.eot
    yield from (ids.astype("<u4").tobytes() for ids in shard_documents(path, split, eot))


def _hash(document: bytes) -> bytes:
    return hashlib.blake2b(document, digest_size=8).digest()
