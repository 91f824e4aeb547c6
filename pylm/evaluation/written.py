"""Texts that a model writes from nothing: how varied they are, and what of them it has from its training shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pylm.errors import CheckpointError, DataError, PylmError
from pylm.evaluation.copied import copied
from pylm.evaluation.results import fingerprint
from pylm.evaluation.texts import distinct, repetition, zlib_ratio

if TYPE_CHECKING:
    from pylm.generation.load import Opened

__all__ = ["Written", "written"]

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
    metrics = {f"distinct_{n}": distinct(ids, n) for n in (1, 2, 3)}
    metrics |= {"repetition": repetition(ids), "zlib_ratio": zlib_ratio(texts)}
    try:
        found = copied(ids, _joined(_training_documents(opened)))
        metrics |= {"novelty": found.novelty, "longest_copied": float(max(found.longest))}
    except PylmError as error:
        say(f"novelty is not known, for the training shards are not here: {error.message}")
    return Written(count, sum(map(len, ids)), metrics, {**SETTINGS, "texts": count})


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


def _training_documents(opened: Opened) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the documents that a run was trained on, of each folder of its mix."""
    from pylm.config.cascade import resolve
    from pylm.data.shard_documents import shard_documents

    if not (opened.folder / "config.yaml").is_file():
        raise CheckpointError(f"{opened.folder} does not say what it was trained on")
    data = resolve(files=[opened.folder / "config.yaml"], environ={}).config.data
    folders = list(data.mix or ([] if data.path is None else [data.path]))
    if not folders:
        raise DataError(f"{opened.folder} names no data")
    assert opened.tokenizer is not None
    for folder in folders:
        yield from shard_documents(folder, "train", opened.tokenizer.eot)


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
