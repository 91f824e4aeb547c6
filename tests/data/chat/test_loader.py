"""The loader over shards with masks: what is not learned is -100, in either kind of window, and bins trade examples."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.data import Loader
from pylm.data.chat import prepare
from pylm.errors import PylmError
from pylm.tokenizer import Tokenizer

CONTEXT = 24
WORDS = "hello there world how are you today well thanks a lot".split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = Tokenizer.train(lambda: [" ".join(WORDS)] * 20, vocab_size=285)
    drawn = random.Random(3)
    say = lambda most: " ".join(drawn.choice(WORDS) for _ in range(drawn.randint(1, most)))  # noqa: E731
    rows = [{"prompt": say(9), "completion": f" {say(4)}"} for _ in range(150)]
    return prepare(rows, tokenizer, tmp_path_factory.mktemp("shards") / "x", val=0, context_length=CONTEXT)


def stream(folder: Path) -> tuple[list[int], list[bool], list[int]]:
    """The ids of a shard, which count, and where documents start, read bit by bit."""
    ids = np.fromfile(folder / "train_00000.bin", "<u2").tolist()
    raw = (folder / "train_00000.mask").read_bytes()
    counts = [bool(raw[token // 8] >> (token % 8) & 1) for token in range(len(ids))]
    return ids, counts, np.fromfile(folder / "train_00000.idx", "<u8").astype(int).tolist()


def examples_of(inputs: Any, targets: Any, starts: Any) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The segments of a packed batch that are no padding."""
    flat, wanted = inputs.reshape(-1), targets.reshape(-1)
    segments = zip(starts[:-1], starts[1:], strict=True)
    found = [(tuple(flat[a:b].tolist()), tuple(wanted[a:b].tolist())) for a, b in segments]
    return [one for one in found if any(target != -100 for target in one[1])]


def expected(folder: Path) -> Counter[Any]:
    ids, counts, starts = stream(folder)
    found: Counter[Any] = Counter()
    for a, b in zip(starts[:-1], starts[1:], strict=True):
        targets = tuple(ids[t] if counts[t] else -100 for t in range(a + 1, b))
        found[tuple(ids[a : b - 1]), targets] += 1
    return found


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_each_epoch_has_each_example_once(folder: Path, dtype: str) -> None:
    loader = Loader(folder, CONTEXT, 1, window="packed", dtype=dtype)
    wanted = expected(folder)
    for epoch in range(3):
        found: Counter[Any] = Counter()
        for step in range(epoch * loader.windows, (epoch + 1) * loader.windows):
            batch = loader.batch(step)
            found.update(examples_of(batch.inputs, batch.targets, batch.cu_seqlens))
        assert found == wanted


def test_bins_differ_from_epoch_to_epoch(folder: Path) -> None:
    loader = Loader(folder, CONTEXT, 1, window="packed")

    def bins(epoch: int) -> set[Any]:
        found = set()
        for step in range(epoch * loader.windows, (epoch + 1) * loader.windows):
            batch = loader.batch(step)
            found.add(frozenset(examples_of(batch.inputs, batch.targets, batch.cu_seqlens)))
        return found

    first, second = bins(0), bins(1)
    assert len(first & second) < len(first) / 2
    assert bins(0) == first


def test_a_batch_is_the_same_whenever_it_is_asked_for(folder: Path) -> None:
    one, other = (Loader(folder, CONTEXT, 4, window="packed") for _ in range(2))
    other.seek(37)
    for step in range(37, 45):
        ahead, alone = next(other), one.batch(step)
        assert np.array_equal(ahead.inputs, alone.inputs)
        assert np.array_equal(ahead.targets, alone.targets)
        assert ahead.cu_seqlens is not None and np.array_equal(ahead.cu_seqlens, alone.cu_seqlens)
    parts = [Loader(folder, CONTEXT, 4, window="packed", rank=rank, world=2).batch(40) for rank in range(2)]
    assert np.array_equal(np.concatenate([part.targets for part in parts]), one.batch(40).targets)
    one.close(), other.close()


def test_contiguous_windows_are_masked_too(folder: Path) -> None:
    ids, counts, _ = stream(folder)
    loader = Loader(folder, CONTEXT, 1, stride=7)
    found = set()
    for step in range(loader.windows):
        batch = loader.batch(step)
        found.add((tuple(batch.inputs[0].tolist()), tuple(batch.targets[0].tolist())))
    wanted = set()
    for start in range(0, len(ids) - CONTEXT, 7):
        after = range(start + 1, start + CONTEXT + 1)
        wanted.add((tuple(ids[start : start + CONTEXT]), tuple(ids[t] if counts[t] else -100 for t in after)))
    assert found == wanted


def test_why_says_what_counts(folder: Path) -> None:
    ids, counts, starts = stream(folder)
    loader = Loader(folder, CONTEXT, 3, window="packed")
    pieces = loader.why(5)
    assert len(pieces) > 3
    for piece in pieces:
        assert piece.index is not None and piece.counts is not None
        begin, end = starts[piece.index], starts[piece.index + 1]
        assert piece.start == begin
        assert [t for a, b in piece.counts for t in range(a, b)] == [t for t in range(begin, end) if counts[t]]


def test_without_a_mask_nothing_changes(folder: Path, tmp_path: Path) -> None:
    for name in ("train_00000.bin", "train_00000.idx"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    plain, masked = (Loader(place, CONTEXT, 1, window="packed") for place in (tmp_path, folder))

    def bins(loader: Loader, epoch: int) -> set[Any]:
        steps = range(epoch * loader.windows, (epoch + 1) * loader.windows)
        return {tuple(piece.start for piece in loader.why(step)) for step in steps}

    assert bins(plain, 0) == bins(plain, 1) != bins(masked, 1)
    assert plain.windows == masked.windows
    assert all(piece.counts is None for piece in plain.why(0))
    for step in range(plain.windows):
        batch = plain.batch(step)
        assert batch.cu_seqlens is not None
        used = sum(length - 1 for _, _, _, _, _, length in plain.pieces(step))
        assert (batch.targets != -100).sum() == used


@pytest.mark.parametrize("fault", ["short", "long", "gone"])
def test_a_mask_of_another_size_is_refused(folder: Path, tmp_path: Path, fault: str) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    mask = tmp_path / "train_00000.mask"
    raw = mask.read_bytes()
    if fault == "gone":
        mask.unlink()
    else:
        mask.write_bytes(raw[:-1] if fault == "short" else raw + b"\0")
    with pytest.raises(PylmError, match=r"train_00000\.mask"):
        Loader(tmp_path, CONTEXT, 2, window="packed")
