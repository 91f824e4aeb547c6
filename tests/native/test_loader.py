"""The loader against plain numpy: which windows, in which order, and what stands in them."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.data.loader import Loader

WriteData = Callable[..., Path]
MASK = 2**64 - 1


def mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def window_of(position: int, windows: int, seed: int) -> int:
    """The order of one dataset, written once more and plainly: a Feistel network of six rounds, walked until inside."""
    epoch, position = divmod(position, windows)
    key = mix((mix(mix((seed + 0x9E3779B97F4A7C15) & MASK)) + epoch) & MASK)
    keys = [key := mix((key + 0x9E3779B97F4A7C15) & MASK) for _ in range(6)]
    half = 1
    while 4**half < windows:
        half += 1
    while True:
        left, right = position >> half, position & (2**half - 1)
        for key in keys:
            left, right = right, left ^ (mix((right + key) & MASK) & (2**half - 1))
        position = left << half | right
        if position < windows:
            return position


def random_shards(seed: int, lengths: list[list[int]], vocabulary: int = 50257) -> list[list[list[int]]]:
    random = np.random.default_rng(seed)
    return [[random.integers(0, vocabulary, n).tolist() for n in shard] for shard in lengths]


def stream(shards: list[list[list[int]]]) -> np.ndarray[Any, Any]:
    return np.array([token for shard in shards for document in shard for token in document], np.int64)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize("stride", [None, 5, 40])
def test_batches_are_the_windows_of_the_stream(write_data: WriteData, dtype: str, stride: int | None) -> None:
    shards = random_shards(1, [[100, 3], [1], [], [7, 333, 90], [64]])
    loader = Loader(
        write_data("data", shards, dtype=dtype), context_length=16, batch_size=4, seed=9, stride=stride, dtype="int32"
    )
    tokens, step = stream(shards), stride or 16
    windows = (len(tokens) - 1 - 16) // step + 1
    assert loader.windows == windows and loader.tokens == len(tokens)
    for number in range(2 * windows // 4):
        batch = loader.batch(number)
        assert batch.inputs.dtype == np.int32 and batch.cu_seqlens is None
        for row in range(4):
            start = window_of(4 * number + row, windows, 9) * step
            np.testing.assert_array_equal(batch.inputs[row], tokens[start : start + 16])
            np.testing.assert_array_equal(batch.targets[row], tokens[start + 1 : start + 17])


def test_every_epoch_gives_each_window_once_in_an_order_of_its_own(write_data: WriteData) -> None:
    loader = Loader(write_data("data", [[range(8 * 30 + 1)]]), context_length=8, batch_size=6)
    orders = []
    for epoch in range(3):
        firsts = [int(row[0]) for step in range(5) for row in loader.batch(5 * epoch + step).inputs]
        assert sorted(firsts) == list(range(0, 240, 8))
        orders.append(tuple(firsts))
    assert len(set(orders)) == 3 and tuple(sorted(orders[0])) not in orders


def test_the_order_is_one_for_any_ranks_threads_and_ways_of_asking(write_data: WriteData) -> None:
    folders = {
        str(write_data("a", random_shards(2, [[500], [700]]))): 0.75,
        str(write_data("b", random_shards(3, [[900]]))): 0.25,
    }
    hashes = Counter()
    for world, threads, depth, iterate in itertools.product([1, 2, 4], [1, 2, 3], [3, 7], [True, False]):
        ranks = [
            Loader(folders, 8, 12, seed=5, rank=rank, world=world, threads=threads, depth=depth)
            for rank in range(world)
        ]
        digest = hashlib.sha256()
        for step in range(40):
            parts = [next(loader) if iterate else loader.batch(step) for loader in ranks]
            for part in parts:
                digest.update(part.inputs.tobytes() + part.targets.tobytes())
        hashes[digest.hexdigest()] += 1
    # the digest takes inputs and targets rank by rank: only the split by ranks may differ, so compare by rows
    by_rows = set()
    for world in (1, 2, 4):
        ranks = [Loader(folders, 8, 12, seed=5, rank=rank, world=world) for rank in range(world)]
        rows = [np.concatenate([loader.batch(step).inputs for loader in ranks]) for step in range(40)]
        by_rows.add(hashlib.sha256(np.concatenate(rows).tobytes()).hexdigest())
    assert len(by_rows) == 1
    assert sorted(hashes.values()) == [12, 12, 12]


def test_a_mix_holds_each_dataset_in_its_share_and_in_full(write_data: WriteData) -> None:
    small = write_data("small", [[range(1000, 1000 + 8 * 20 + 1)]])
    large = write_data("large", [[range(10000, 10000 + 8 * 4000 + 1)]])
    loader = Loader({str(small): 0.3, str(large): 0.7}, 8, 64, seed=3)
    counts: Counter[int] = Counter()
    for step in range(1024):  # one block of 65,536 sequences
        counts.update(loader.batch(step).inputs[:, 0].tolist())
    from_small = {token: n for token, n in counts.items() if token < 10000}
    assert abs(sum(from_small.values()) - 0.3 * 65536) <= 1
    assert len(from_small) == 20 and max(from_small.values()) - min(from_small.values()) <= 1
    from_large = [n for token, n in counts.items() if token >= 10000]
    assert len(from_large) == 4000 and max(from_large) - min(from_large) <= 1


def test_packed_windows_hold_whole_documents_and_say_where_they_start(write_data: WriteData) -> None:
    random = np.random.default_rng(4)
    lengths = [[int(n) for n in random.integers(1, 50, 60)], [int(n) for n in random.integers(1, 200, 20)]]
    shards = random_shards(5, lengths)
    loader = Loader(write_data("data", shards), 64, 4, window="packed", seed=1)
    pairs = Counter(
        pair for shard in shards for document in shard for pair in zip(document[:-1], document[1:], strict=True)
    )
    found: Counter[tuple[int, int]] = Counter()
    windows, seen = loader.windows, 0
    total = sum(pairs.values())
    assert windows <= total / 64 * 1.1 + 2  # best fit leaves little room
    whole = {tuple(document) for shard in shards for document in shard if 1 < len(document) <= 65}
    kept: set[tuple[int, ...]] = set()
    for step in range(-(-windows // 4)):
        batch = loader.batch(step)
        assert batch.cu_seqlens is not None
        starts = batch.cu_seqlens
        assert starts[0] == 0 and starts[-1] == 4 * 64 and (np.diff(starts) > 0).all()
        assert set(range(0, 4 * 64, 64)) <= set(starts.tolist())
        inputs, targets = batch.inputs.reshape(-1), batch.targets.reshape(-1)
        for begin, end in itertools.pairwise(starts.tolist()):
            row = (step * 4) + begin // 64
            if row >= windows:
                break
            seen += begin % 64 == 0
            if targets[begin] == -100:
                assert (targets[begin:end] == -100).all() and end % 64 == 0
                continue
            np.testing.assert_array_equal(inputs[begin + 1 : end], targets[begin : end - 1])
            found.update(zip(inputs[begin:end].tolist(), targets[begin:end].tolist(), strict=True))
            kept.add((int(inputs[begin]), *targets[begin:end].tolist()))
    assert seen == windows
    assert found == pairs  # each input with its target, once an epoch, and none across documents
    assert whole <= kept


def test_the_ring_goes_on_from_any_step(write_data: WriteData) -> None:
    folder = write_data("data", random_shards(6, [[3000]]))
    loader = Loader(folder, 8, 4, threads=2)
    for _ in range(7):
        next(loader)
    state = loader.state()
    expected = [next(loader).inputs.copy() for _ in range(5)]
    fresh = Loader(folder, 8, 4)
    fresh.seek(state)
    assert [next(fresh).inputs.tolist() for _ in range(5)] == [rows.tolist() for rows in expected]
    fresh.seek(2)
    np.testing.assert_array_equal(next(fresh).inputs, loader.batch(2).inputs)
    assert fresh.state() == {"seed": 1337, "step": 3, "batch_size": 4}


def test_a_step_far_ahead_costs_no_more_than_the_first(write_data: WriteData) -> None:
    loader = Loader(write_data("data", random_shards(7, [[3000]])), 8, 4, seed=2**64 - 1)
    windows, far = loader.windows, 10**12
    firsts = [window_of(4 * far + row, windows, 2**64 - 1) for row in range(4)]
    assert [place[2] for place in loader._batches.places(far)] == firsts


def test_the_last_two_batches_stay_while_the_ring_runs_ahead(write_data: WriteData) -> None:
    loader = Loader(write_data("data", random_shards(8, [[9000]])), 8, 16, depth=3, threads=2)
    before = next(loader)
    for step in range(1, 200):
        now = next(loader)
        np.testing.assert_array_equal(before.inputs, loader.batch(step - 1).inputs)
        before = now


def test_the_ring_lives_in_the_callers_memory(write_data: WriteData) -> None:
    import torch

    made = []

    def allocate(shape: tuple[int, int], dtype: str) -> torch.Tensor:
        made.append(torch.zeros(shape, dtype=getattr(torch, dtype)))
        return made[-1]

    loader = Loader(write_data("data", random_shards(9, [[900]])), 8, 4, allocate=allocate, depth=3)
    batch = next(loader)
    assert len(made) == 6
    assert batch.inputs.ctypes.data in {tensor.data_ptr() for tensor in made}


def test_why_names_the_documents_of_a_batch(write_data: WriteData) -> None:
    shards = [[range(0, 5), range(100, 130)], [range(200, 260)]]
    folder = write_data("data", shards)
    for window in ("contiguous", "packed"):
        loader = Loader(folder, 8, 2, window=window)
        for step in range(6):
            batch = loader.batch(step)
            pieces = loader.why(step)
            tokens = set()
            for piece in pieces:
                shard = int(Path(piece.shard).stem[-1])
                assert piece.index is not None and piece.text is None
                tokens.update(shards[shard][piece.index])
            used = set(batch.inputs.ravel().tolist()) | set(batch.targets.ravel().tolist()) - {-100}
            assert used - {0} <= tokens
            assert any(piece.start > 0 for step in range(6) for piece in loader.why(step))


def test_the_files_of_other_tools_are_read(tmp_path: Path) -> None:
    ids = np.random.default_rng(10).integers(0, 50000, 1000)
    (tmp_path / "nano").mkdir()
    ids.astype("<u2").tofile(tmp_path / "nano" / "train.bin")
    (tmp_path / "build").mkdir()
    np.save(tmp_path / "build" / "edu_train_000001.npy", ids[:400].astype(np.uint16))
    np.save(tmp_path / "build" / "edu_train_000002.npy", ids[400:].astype(np.uint16))
    np.save(tmp_path / "build" / "edu_val_000000.npy", ids[:50].astype(np.uint16))
    header = np.zeros(256, "<i4")
    header[:3] = 20240520, 1, 1000
    (tmp_path / "llmc.bin").write_bytes(header.tobytes() + ids.astype("<u2").tobytes())
    header[:3] = 20240801, 7, 1000
    (tmp_path / "llmc3.bin").write_bytes(header.tobytes() + ids.astype("<u4").tobytes())
    lengths = np.array([300, 1, 699], "<i4")
    pointers = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype("<i8") * 2
    (tmp_path / "megatron.bin").write_bytes(ids.astype("<u2").tobytes())
    (tmp_path / "megatron.idx").write_bytes(
        b"MMIDIDX\0\0"
        + np.array([1], "<u8").tobytes()
        + bytes([8])
        + np.array([3, 4], "<u8").tobytes()
        + lengths.tobytes()
        + pointers.tobytes()
        + np.arange(4, dtype="<i8").tobytes()
    )
    np.save(tmp_path / "wide.npy", ids.astype(np.int32))
    for name in ("nano", "nano/train.bin", "build", "llmc.bin", "llmc3.bin", "megatron.bin", "wide.npy"):
        loader = Loader(tmp_path / name, 100, 1, stride=1)
        assert loader.tokens == 1000, name
        for step in range(20):
            start = loader._batches.places(step)[0][2]
            np.testing.assert_array_equal(loader.batch(step).inputs[0], ids[start : start + 100], err_msg=name)
    documents = {piece.index for step in range(9) for piece in Loader(tmp_path / "megatron.bin", 100, 1).why(step)}
    assert documents == {0, 1, 2}
    assert Loader(tmp_path / "megatron.bin", 100, 1, window="packed").windows == 3 + 7
