"""What a loader is asked wrongly, and what a damaged manifest is told: sentences, no words of Python's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.data import Loader
from pylm.data.identity import identify
from pylm.errors import DataError, UsageError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.save(tmp_path / "tokens.npy", np.arange(1001, dtype=np.uint16))
    return tmp_path / "tokens.npy"


NAMES = ["context_length", "batch_size", "stride", "seed", "rank", "world", "threads", "depth"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["64", 4.0, True, b"4", -(2**70)])
def test_what_is_no_whole_number_is_refused_by_name(file: Path, name: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Loader(str(file), **{"context_length": 8, "batch_size": 2, name: value})
    assert caught.value.message == f"{name} is {value!r}" and caught.value.hint


@pytest.mark.parametrize("threads", [100_000, 257, 0, -1])
def test_threads_are_bounded_at_once(file: Path, threads: int) -> None:
    with pytest.raises(UsageError, match=f"threads is {threads}") as caught:
        Loader(str(file), 8, 2, threads=threads)
    assert caught.value.hint == "from 1 to 256 gather batches"


def test_numbers_of_numpy_are_whole_numbers(file: Path) -> None:
    counts: Any = (np.int64(8), np.uint8(2))
    assert Loader(str(file), *counts, seed=np.uint64(2**64 - 1), threads=256).batch(0).inputs.shape == (2, 8)  # type: ignore[arg-type]


def manifest(**changed: Any) -> Any:
    shards = [{"file": "a.bin", "tokens": 2, "hash": "x"}]
    return {"dtype": "uint16", "vocab_size": 9, "tokenizer": "x", "splits": {"train": {"shards": shards}}, **changed}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (manifest(splits={"train": {"shards": [{"file": "../out.bin", "tokens": 2}]}}), "'../out.bin' is not the name"),
        (manifest(dtype="int8"), "'dtype' is 'int8', not uint16 or uint32"),
        (manifest(dtype=[]), "it holds another kind of value"),
        (manifest(vocab_size="9"), "'vocab_size' is '9', not a whole number"),
        (manifest(vocab_size=-1), "'vocab_size' is -1"),
        (manifest(splits=[]), "it holds another kind of value"),
        (manifest(splits={"train": []}), "it holds another kind of value"),
        ({}, "it has no 'dtype'"),
        ("{", "it is no JSON: "),
        (b"\xff", "byte 0 is not UTF-8"),
    ],
)
def test_a_damaged_manifest_is_told_in_sentences(tmp_path: Path, content: Any, said: str) -> None:
    raw = content if isinstance(content, bytes) else (content if content == "{" else json.dumps(content)).encode()
    (tmp_path / "manifest.json").write_bytes(raw)
    for reading in (lambda: Loader(str(tmp_path), 8, 2), lambda: identify(str(tmp_path))):
        with pytest.raises(DataError) as caught:
            reading()
        assert "manifest.json" in caught.value.message and "Error" not in caught.value.message
        assert caught.value.hint
    with pytest.raises(DataError) as caught:
        Loader(str(tmp_path), 8, 2)
    assert caught.value.message.startswith(f"{tmp_path}/manifest.json: damaged: {said}")
