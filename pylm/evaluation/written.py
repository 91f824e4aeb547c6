"""Texts that a model writes from nothing: how varied they are, and what of them it has from its training shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pylm.data.shard_documents import shard_documents
from pylm.errors import CheckpointError, DataError, PylmError
from pylm.evaluation.copied import copied
from pylm.evaluation.results import fingerprint
from pylm.evaluation.texts import distinct, repetition, zlib_ratio

if TYPE_CHECKING:
    from pylm.generation.load import Opened

__all__ = ["Written", "novelty", "variety", "written"]

MAX_TOKENS = 128
AT_ONCE = 1 << 20  # tokens of documents that are searched together
SETTINGS: dict[str, Any] = {"temperature": 1.0, "max_tokens": MAX_TOKENS, "seed": 0}  # the model's own distribution


@dataclass(frozen=True)
class Written:
    """What a model wrote, in numbers."""

    texts: int
    tokens: int
    metrics: dict[str, float]
    settings: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for programs."""
        return {"texts": self.texts, "tokens": self.tokens, **self.metrics, "settings": self.settings}

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield a record for each metric: what evaluations.jsonl keeps."""
        same = {"n": self.texts, "stderr": None, "settings": fingerprint(self.settings)}
        for metric, value in self.metrics.items():
            yield {"task": "texts", "metric": metric, "value": value, **same}


def written(opened: Opened, count: int, say: Callable[[str], None] = lambda text: None) -> Written:
    """Return what can be said of so many texts, each drawn from the model's own distribution, always the same."""
    ids, texts = _ids_and_texts(opened, count)
    assert opened.tokenizer is not None
    metrics = variety(ids, texts)
    try:
        metrics |= novelty(ids, _training_folders(opened), opened.tokenizer.eot)
    except PylmError as error:
        say(f"novelty is not known, for the training shards are not here: {error.message}")
    return Written(count, sum(map(len, ids)), metrics, {**SETTINGS, "texts": count})


def variety(ids: Sequence[Sequence[int]], texts: Sequence[str]) -> dict[str, float]:
    """Return how varied texts are, and how they repeat themselves."""
    different = {f"distinct_{n}": distinct(ids, n) for n in (1, 2, 3)}
    return {**different, "repetition": repetition(ids), "zlib_ratio": zlib_ratio(texts)}


def novelty(
    ids: Sequence[Sequence[int]],
    folders: Iterable[str],
    eot: int | None,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Return what of texts does not stand in training shards, and the longest run that does.

    Args:
        ids: of the texts.
        folders: of the shards.
        eot: what ends a document where a shard has no index.
        stopping: polled between documents; where somebody asked to stop, the numbers are of those before.
    """
    documents = (document for folder in folders for document in shard_documents(folder, "train", eot))
    found = copied(ids, _joined(takewhile(lambda document: not stopping(), documents)))
    return {"novelty": found.novelty, "longest_copied": float(max(found.longest))}


def _ids_and_texts(opened: Opened, count: int) -> tuple[list[list[int]], list[str]]:
    from pylm.generation.session import Session
    from pylm.generation.settings import sample_settings

    assert opened.tokenizer is not None
    session = Session(opened.engine, opened.tokenizer, begin=opened.begin, ends=opened.ends, name=str(opened.folder))
    ids: list[list[int]] = [[] for _ in range(count)]
    texts = [""] * count
    for piece in session.stream([""], sample_settings({**SETTINGS, "n": count})):
        ids[piece.sample].append(piece.id)
        texts[piece.sample] += piece.text
    return ids, texts


def _training_folders(opened: Opened) -> list[str]:
    """Return what a run was trained on: each folder of its mix."""
    from pylm.config.cascade import resolve

    if not (opened.folder / "config.yaml").is_file():
        raise CheckpointError(f"{opened.folder} does not say what it was trained on")
    data = resolve(files=[opened.folder / "config.yaml"], environ={}).config.data
    folders = list(data.mix or ([] if data.path is None else [data.path]))
    if not folders:
        raise DataError(f"{opened.folder} names no data")
    return folders


def _joined(documents: Iterable[npt.NDArray[np.int64]]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield documents one after another, in arrays that are worth a search each."""
    held: list[npt.NDArray[np.int64]] = []
    size = 0
    for document in documents:
        held.append(document)
        size += len(document)
        if size >= AT_ONCE:
            yield np.concatenate(held)
            held, size = [], 0
    if held:
        yield np.concatenate(held)
