"""What the loader says to shards that are damaged, foreign, gone or too short, and to impossible settings."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm import _native
from pylm.data.loader import Loader
from pylm.errors import DataError, PylmError, UsageError

WriteData = Callable[..., Path]


@pytest.fixture
def folder(write_data: WriteData) -> Path:
    return write_data("data", [[range(300), range(200)], [range(100)]])


def damage_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.update(changes)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


DAMAGES: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "shard shorter",
        lambda f: cut(f / "train_00000.bin", 900),
        "train_00000.bin: 900 bytes where the manifest says 1000",
    ),
    ("shard odd", lambda f: cut(f / "train_00001.bin", 199), "train_00001.bin: 199 bytes"),
    ("shard gone", lambda f: (f / "train_00001.bin").unlink(), "train_00001.bin: No such file"),
    ("index gone", lambda f: (f / "train_00000.idx").unlink(), "train_00000.idx: No such file"),
    ("index cut", lambda f: cut(f / "train_00000.idx", 20), "train_00000.idx: 20 bytes"),
    ("index short", lambda f: cut(f / "train_00000.idx", 16), "train_00000.idx: ends at token 300, the shard at 500"),
    (
        "index disordered",
        lambda f: (f / "train_00000.idx").write_bytes(np.array([0, 400, 300, 500], "<u8").tobytes()),
        "the start of document 2 (byte 16)",
    ),
    (
        "index huge",
        lambda f: (f / "train_00000.idx").write_bytes(np.array([0, 2**63 + 1, 500], "<u8").tobytes()),
        "the start of document 1",
    ),
    ("manifest torn", lambda f: cut(f / "manifest.json", 60), "manifest.json: damaged"),
    ("manifest of another kind", lambda f: damage_manifest(f, splits=[]), "manifest.json: damaged"),
    (
        "dtype unknown",
        lambda f: damage_manifest(f, dtype="uint64"),
        "manifest.json: damaged: 'dtype' is 'uint64', not uint16 or uint32",
    ),
    (
        "shard replaced by a folder",
        lambda f: ((f / "train_00001.bin").unlink(), (f / "train_00001.bin").mkdir()),
        "not a regular file",
    ),
]


@pytest.mark.parametrize(("damage", "said"), [d[1:] for d in DAMAGES], ids=[d[0] for d in DAMAGES])
def test_damage_is_found_when_the_loader_opens(folder: Path, damage: Callable[[Path], object], said: str) -> None:
    Loader(folder, 8, 4)
    damage(folder)
    with pytest.raises(DataError) as caught:
        Loader(folder, 8, 4)
    assert said in caught.value.message and caught.value.hint and "\n" not in caught.value.message


def test_an_id_past_the_vocabulary_is_named_with_its_place(write_data: WriteData) -> None:
    folder = write_data("data", [[[5] * 100], [[5] * 40 + [99] + [5] * 60]], vocab_size=99)
    loader = Loader(folder, 100, 1, stride=1)
    with pytest.raises(DataError, match=r"train_00001.bin: token 40 is 99, past the vocabulary of 99"):
        for step in range(200):
            loader.batch(step)
    with pytest.raises(DataError, match="token 40 is 99"):  # from the ring's threads too
        for _ in range(200):
            next(loader)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.bin", b"abc", "3 bytes are no whole number of tokens of 2 bytes; the last one starts at byte 2"),
        ("x.bin", b"\x1f\x8b\x08\x00" * 100, "a gzip file, not tokens"),
        ("x.bin", b"\x28\xb5\x2f\xfd" * 100, "a zstd file, not tokens"),
        ("x.bin", b"PK\x03\x04" * 100, "a zip file, not tokens"),
        ("x.bin", np.array([20240520, 2, 10], "<i4").tobytes(), "llm.c header of version 2"),
        ("x.bin", np.array([20240520, 1, 10], "<i4").tobytes(), "cut short inside its llm.c header"),
        (
            "x.bin",
            np.array([20240520, 1, 10, *[0] * 253], "<i4").tobytes() + bytes(18),
            "promises 10 tokens of 2 bytes from byte 1024, the file ends at byte 1042",
        ),
        ("x.npy", b"\x93NUMPY\x01\x00\xff\xff{", ".npy header runs past the end"),
        ("x.npy", b"\x93NUMPY\x07\x00\x02\x00{}", ".npy header of unknown version"),
    ],
)
def test_foreign_and_torn_files_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        Loader(tmp_path / name, 8, 1)
    assert said in caught.value.message and str(tmp_path / name) in caught.value.message


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(10, np.float32), "another type than uint16"),
        (np.zeros((5, 2), np.uint16), "of shape (5, 2)"),
        (np.zeros(10, ">u2"), "another type than uint16"),
    ],
)
def test_other_numpy_arrays_are_refused(tmp_path: Path, array: Any, said: str) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(DataError, match=r".*" + said.replace("(", r"\(").replace(")", r"\)")):
        Loader(tmp_path / "x.npy", 2, 1)


def test_a_shard_cut_short_while_mapped_is_an_error_and_one_removed_is_none(folder: Path) -> None:
    loader = Loader(folder, 8, 4)
    expected = loader.batch(0).inputs.copy()
    (folder / "train_00001.bin").unlink()
    np.testing.assert_array_equal(loader.batch(0).inputs, expected)
    for step in range(20):
        loader.batch(step)
    with (folder / "train_00000.bin").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(DataError, match="shortened from 1000 to 100 bytes while it was in use"):
        for step in range(20):
            loader.batch(step)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"context_length": 600}, "600 tokens hold no window of 600"),
        ({"context_length": 0}, "context_length is 0"),
        ({"context_length": -5}, "context_length is -5"),
        ({"context_length": 2**40}, "context_length is"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2**40}, "batch_size is"),
        ({"batch_size": 5, "world": 2}, "batch_size 5 cannot be shared by 2 ranks"),
        ({"rank": 2, "world": 2}, "rank 2 of 2 does not exist"),
        ({"rank": -1}, "rank -1 of 1"),
        ({"stride": 0}, "stride is 0"),
        ({"window": "documents"}, "window is 'documents'"),
        ({"window": "packed", "stride": 4}, "packed windows have no stride"),
        ({"dtype": "int16"}, "dtype is 'int16'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is"),
        ({"depth": 2}, "depth is 2"),
        ({"split": "test"}, "no shard of split 'test'"),
    ],
)
def test_impossible_settings_are_refused(folder: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises((UsageError, DataError)) as caught:
        Loader(folder, **{"context_length": 8, "batch_size": 4, **arguments})
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ((0.5, 0.6), "sum to 1.1"),
        ((1.5, -0.5), "a weight of the mix is -0.5"),
        ((1.0, 0.0), "a weight of the mix is 0"),
        ((float("nan"), 1.0), "a weight of the mix is"),
    ],
)
def test_weights_that_are_no_mix_are_refused(write_data: WriteData, weights: tuple[float, float], said: str) -> None:
    a, b = write_data("a", [[range(100)]]), write_data("b", [[range(100)]])
    with pytest.raises(UsageError) as caught:
        Loader({str(a): weights[0], str(b): weights[1]}, 8, 4)
    assert said in caught.value.message
    with pytest.raises(DataError, match="nowhere: no such folder"):
        Loader({str(a): 0.5, "nowhere": 0.5}, 8, 4)


def test_a_packed_window_of_any_length_is_as_long_as_the_text(write_data: WriteData) -> None:
    folder = write_data("short", [[[1, 2, 3], [4, 5]]])
    assert Loader(folder, 2**31 - 1, 1, window="packed").windows == 1
    batch = Loader(folder, 8, 1, window="packed").batch(0)
    assert batch.inputs.tolist() == [[1, 2, 4, 0, 0, 0, 0, 0]]


def test_packing_without_an_index_and_allocators_of_the_wrong_kind_are_refused(tmp_path: Path, folder: Path) -> None:
    np.arange(100, dtype="<u2").tofile(tmp_path / "x.bin")
    with pytest.raises(DataError, match="nothing says where its documents start"):
        Loader(tmp_path / "x.bin", 8, 1, window="packed")
    loader = Loader(folder, 8, 4, allocate=lambda shape, dtype: np.zeros((1, 1), dtype))
    with pytest.raises(UsageError, match="allocate gave int64 of shape"):
        next(loader)
    loader = Loader(
        folder, 8, 4, allocate=lambda shape, dtype: np.zeros(8 * 32 + 1, np.uint8)[1:].view(dtype).reshape(shape)
    )
    with pytest.raises(UsageError, match="inputs must be a contiguous, aligned, writable array of 32 items"):
        next(loader)
    other = Loader(folder, 8, 4, seed=2)
    with pytest.raises(UsageError, match="the saved loader had seed 2"):
        Loader(folder, 8, 4).seek(other.state())
    with pytest.raises(UsageError, match="step -1"):
        other.seek(-1)
    with pytest.raises(UsageError, match="out of range"):
        other.batch(2**63 - 1)
    with pytest.raises(DataError, match="no manifest.json"):
        Loader(tmp_path / "data" / "..", 8, 1, split="absent")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_shard_is_named(folder: Path) -> None:
    (folder / "train_00000.bin").chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        Loader(folder, 8, 4)


def test_random_arguments_never_crash_the_module(folder: Path) -> None:
    random = np.random.default_rng(11)
    path = str(folder / "train_00000.bin")
    good = [("data", 1.0, 0, [(path, 2, 500, "", "")])]
    odd: list[Any] = [
        -1, 0, 1, 7, 2**31, 2**62, 2**70, 1.5, None, "x", [], np.zeros(32, np.int64), np.zeros(32, np.int32),
        np.zeros((4, 16), np.int64)[:, ::2], np.zeros(0), np.zeros(33, np.int32),
    ]  # fmt: skip
    survived = 0
    for _ in range(3000):
        pick = lambda usual: usual if random.random() < 0.9 else odd[random.integers(len(odd))]  # noqa: E731
        try:
            batches = _native.Batches(
                pick(good),
                context_length=pick(8),
                batch_size=pick(4),
                stride=pick(8),
                packed=pick(False),
                seed=pick(1),
                rank=pick(0),
                world=pick(1),
            )
            inputs = np.zeros((batches.rows, 8), np.int64)
            batches.fill(pick(3), pick(inputs), pick(inputs.copy()), pick(None), pick(1))
            batches.read(pick(0), pick(0), pick(10), pick(20))
            batches.excerpts(pick(2))
            ring = _native.Ring(batches, [(pick(inputs), inputs, None)] * random.integers(2, 5), pick(1), pick(0))
            ring.take()
            survived += 1
        except (PylmError, TypeError, ValueError, RuntimeError) as error:
            assert "Unable to cast" in str(error) or not isinstance(error, RuntimeError)
    assert survived > 50
