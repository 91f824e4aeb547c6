"""The data of a configuration: batches are those of a Loader that is given the same by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.config.schema import Config
from pylm.data import Loader
from pylm.data.open import loader_of, source_of, tokenizer_of
from pylm.errors import DataError, UsageError
from pylm.tokenizer import Tokenizer

DATA = {"window": "contiguous", "stride": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ids = np.random.default_rng(0).integers(0, 250, 4001, dtype=np.uint16)
    for split, part in (("train", ids[:3000]), ("val", ids[3000:])):
        np.save(tmp_path / f"{split}.npy", part)
    return tmp_path


def config(folder: Path, **data: Any) -> Config:
    sections = {"model": {"context_length": 8}, "data": {"path": str(folder), **data}, "train": {"seed": 11}}
    return Config.model_validate(sections)


@pytest.mark.parametrize(
    ("asked", "by_hand"),
    [
        ({}, {"seed": 11, "stride": 3}),
        ({"seed": 0}, {"seed": 0, "stride": 3}),
        ({"split": "val", "seed": 0, "strided": False}, {"split": "val", "seed": 0}),
        ({"context_length": 5}, {"seed": 11, "stride": 3, "context_length": 5}),
    ],
)
def test_what_is_not_asked_is_the_configurations(folder: Path, asked: dict[str, Any], by_hand: dict[str, Any]) -> None:
    ours = loader_of(str(folder), config(folder, **DATA), 4, **asked)
    plain = Loader(str(folder), by_hand.pop("context_length", 8), 4, **by_hand)
    assert ours.windows == plain.windows
    for step in (0, 7):
        for name in ("inputs", "targets", "cu_seqlens"):
            assert np.array_equal(getattr(ours.batch(step), name), getattr(plain.batch(step), name))


def test_another_window_than_the_configurations(folder: Path) -> None:
    with pytest.raises(DataError, match="nothing says where its documents start"):  # which only packed windows need
        loader_of(str(folder), config(folder), 4, window="packed")
    with pytest.raises(DataError, match="nothing says where its documents start"):
        loader_of(str(folder), config(folder, window="packed"), 4)
    assert loader_of(str(folder), config(folder, window="packed"), 4, window="contiguous").windows == 2999 // 8


def test_memory_is_made_where_the_caller_wants_it(folder: Path) -> None:
    asked: list[tuple[tuple[int, int], str]] = []

    def allocate(shape: tuple[int, int], dtype: str) -> Any:
        asked.append((shape, dtype))
        return np.zeros(shape, dtype)

    with_ring = loader_of(str(folder), config(folder), 4, allocate=allocate)
    next(iter(with_ring))
    with_ring.close()
    assert set(asked) == {((4, 8), "int64")}


def test_a_mix_stands_in_place_of_a_path(folder: Path) -> None:
    mixed = config(folder, path=None, mix={str(folder): 1.0})
    assert source_of(mixed) == {str(folder): 1.0} and source_of(config(folder)) == str(folder)
    assert np.array_equal(
        loader_of(source_of(mixed), mixed, 2).batch(3).inputs, loader_of(str(folder), mixed, 2).batch(3).inputs
    )
    with pytest.raises(UsageError, match="names no data"):
        source_of(config(folder, path=None))


def test_the_tokenizer_is_the_one_that_lies_beside(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert tokenizer_of(str(folder)) is None
    (text := tmp_path_factory.mktemp("text") / "a.txt").write_text("what stands here is short " * 20)
    trained = Tokenizer.train(text, 260)
    trained.save(beside := tmp_path_factory.mktemp("beside"))
    np.save(beside / "train.npy", np.arange(100, dtype=np.uint16))
    for source in (str(beside), str(beside / "train.npy"), {str(folder): 0.5, str(beside): 0.5}):
        found = tokenizer_of(source)
        assert found is not None and found.identity == trained.identity
