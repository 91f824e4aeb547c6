"""What a model is judged by, as sequences to read: the windows of a split as training has them, or whole documents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pylm.errors import DataError, PylmError, UsageError
from pylm.evaluation.losses import Losses
from pylm.evaluation.rolling import rolling_windows
from pylm.wording import call, param

if TYPE_CHECKING:
    from pylm.evaluation.losses import Reader
    from pylm.evaluation.tally import Tally
    from pylm.evaluation.validation import Validation
    from pylm.tokenizer import Tokenizer

__all__ = ["Passage", "documents", "prefix_of", "read", "texts", "windows", "within"]

Integers = npt.NDArray[np.int64]


class Passage(NamedTuple):
    """A sequence that the model reads at once."""

    inputs: Integers
    targets: Integers  # what follows the last so many inputs (or those before `end`); below 0 one that does not count
    units: Integers  # the document (or window) of each target
    end: int | None = None  # an end of text after the last input, which counts in `bits_per_byte_with_eot` alone


def windows(validation: Validation, limit: int | None) -> Iterator[Passage]:
    """Yield the windows of a split, in training's order; packed ones come apart into their documents."""
    given = 0
    for number, batch, rows in validation.batches():
        inputs, targets = batch.inputs[:rows].astype(np.int64), batch.targets[:rows].astype(np.int64)
        units = _documents_of(validation.pieces(number), inputs.shape, given)
        for row in range(rows):
            if limit is not None and given == limit:
                return
            given += 1
            for part in _segments(batch.cu_seqlens, row, inputs.shape[1]):
                yield Passage(inputs[row, part], targets[row, part], units[row, part])


def _segments(starts: npt.NDArray[np.int32] | None, row: int, length: int) -> list[slice]:
    """Return the documents of a packed row, or all of a row that is not packed."""
    if starts is None:
        return [slice(0, length)]
    low, high = row * length, (row + 1) * length
    inside = starts[(starts >= low) & (starts <= high)].astype(np.int64) - low
    return [slice(int(a), int(b)) for a, b in zip(inside[:-1], inside[1:], strict=True)]


def _documents_of(
    pieces: Iterable[tuple[int, int, int, int, int, int]], shape: tuple[int, ...], first: int
) -> Integers:
    """Return the document of each target of a batch, by the index of its shard; without one, the window."""
    found: Integers = np.broadcast_to(np.arange(first, first + shape[0])[:, None], shape).copy()
    filled = [0] * shape[0]
    for row, dataset, shard, index, _, length in pieces:
        if row >= shape[0]:
            continue
        begin, filled[row] = filled[row], filled[row] + length
        if index >= 0:
            found[row, begin : filled[row]] = (dataset << 56) + (shard << 40) + index
    found[:, :-1] = found[:, 1:].copy()  # a target is the next input; the last one's is not told from its input's
    return found


def documents(
    each: Iterable[Integers], context_length: int, prefix: int | None, eot: int | None, stride: int | None
) -> Iterator[Passage]:
    """Yield the windows of whole documents: see `rolling_windows`.

    Args:
        each: the ids of the documents; an `eot` at the end of one is no part of it.
        context_length: how many tokens the model sees.
        prefix: what the first token of a document follows.
        eot: what ends a document.
        stride: the targets of each window but the first.
    """
    for number, ids in enumerate(each):
        ends = eot is not None and len(ids) > 0 and int(ids[-1]) == eot
        listed = ids[:-1].tolist() if ends else ids.tolist()
        whole = listed if prefix is None else [prefix, *listed]
        short = ends and 0 < len(whole) <= context_length  # then the end is read with the rest: it changes nothing
        for inputs, targets in rolling_windows(listed, context_length, prefix, stride):
            seen = [*inputs, targets[-1]] if short else inputs
            yield Passage(np.array(seen), np.array(targets), np.full(len(targets), number), eot if short else None)
        if ends and whole and (not short or len(whole) == 1):
            nothing = np.zeros(0, np.int64)
            yield Passage(np.array(whole[-context_length:]), nothing, nothing, eot)


def texts(
    source: Any, tokenizer: Tokenizer, limit: int | None, digest: Callable[[bytes], object]
) -> Iterator[Integers]:
    """Yield the ids of each text of a source that is not empty, its end of text after it.

    Args:
        source: whatever `pylm.data.source` takes.
        tokenizer: of the model.
        limit: how many texts at most.
        digest: given the bytes of each.
    """
    from pylm.data import source as source_of

    given = 0
    end = [] if tokenizer.eot is None else [tokenizer.eot]
    try:
        for document in source_of(source, meta=False):
            if given == limit:
                return
            if document.text:
                given += 1
                encoded = document.text.encode()
                digest(hashlib.sha256(encoded).digest())
                yield np.array([*tokenizer.encode(document.text), *end], np.int64)
    except PylmError as error:
        said, hint = error.marked
        name = next((one for one in ("field", "column") if param(one) in (hint or "")), None)
        if name is None:
            raise
        named = call("tokenize", "FILE", **{name: "NAME"}, tokenizer="RUN", out="DIR")
        raise type(error)(said, f"{named} reads another {name}: {param('data', 'DIR')}") from None


def read(passages: Iterable[Passage], reader: Reader, tally: Tally, progress: Callable[[int], object]) -> None:
    """Read passages, and add what the model makes of their targets."""
    for passage in passages:
        ends = [] if passage.end is None else [passage.end]
        wanted = [*np.maximum(passage.targets, 0).tolist(), *ends]
        found = reader.losses(passage.inputs.tolist(), wanted)
        if ends:
            tally.add_end(float(found.nats[-1]))
        counts = np.flatnonzero(passage.targets >= 0)
        seen = len(passage.inputs) - len(wanted) + 1 + counts
        kept = Losses(found.nats[counts], found.correct[counts], found.confidence[counts])
        tally.add(kept, passage.targets[counts], seen, passage.units[counts])
        progress(tally.tokens)


def prefix_of(prefix: str, begin: list[int], eot: int | None) -> int | None:
    """Return the id that documents begin with, for `eot` or `none`."""
    if prefix == "none":
        return None
    if begin:
        return begin[0]
    if eot is None:
        raise UsageError("the tokenizer has no end of text for documents to begin with", param("prefix", "none"))
    return eot


def within(passages: Iterable[Passage], vocab_size: int, data: str) -> Iterator[Passage]:
    """Yield passages whose ids the model has; refuse others."""
    for passage in passages:
        largest = max(int(passage.inputs.max(initial=0)), int(passage.targets.max(initial=0)))
        if largest >= vocab_size:
            raise DataError(
                f"{data} holds id {largest:,}, and the model has {vocab_size:,}",
                f"it is of another tokenizer: give its text, {param('data', 'FILE')}, which the model's own reads",
            )
        yield passage
