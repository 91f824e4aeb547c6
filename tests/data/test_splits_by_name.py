"""Folders that nobody describes: which files are training data, by the words of their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pylm.data import Loader
from pylm.data.identity import identify
from pylm.errors import DataError

CASES = [
    (["train.bin", "val.bin"], ["train.bin"], ["val.bin"]),
    (["pretrain_0.bin", "pretrain_val_0.bin"], ["pretrain_0.bin"], ["pretrain_val_0.bin"]),
    (["edu_train_000001.bin", "edu_val_000000.bin"], ["edu_train_000001.bin"], ["edu_val_000000.bin"]),
    (["interval_train.bin", "interval_val.bin"], ["interval_train.bin"], ["interval_val.bin"]),
    (["train00.bin", "train01.bin", "validation.npy"], ["train00.bin", "train01.bin"], ["validation.npy"]),
    (["train.bin", "retrain_valid.bin", "train_test.bin"], ["train.bin"], ["retrain_valid.bin"]),
    (["my_train.bin", "train_val_both.bin"], ["my_train.bin"], ["train_val_both.bin"]),
    (["mytrain1.bin", "train-eval.bin"], ["mytrain1.bin"], []),
]


@pytest.mark.parametrize(("names", "train", "val"), CASES)
def test_held_out_text_is_never_trained_on(tmp_path: Path, names: list[str], train: list[str], val: list[str]) -> None:
    for number, name in enumerate(names):
        ids = np.arange(100 + number, dtype="<u2")
        with (tmp_path / name).open("wb") as file:
            np.save(file, ids) if name.endswith(".npy") else file.write(ids.tobytes())
    sizes = {name: 100 + number for number, name in enumerate(names)}
    for split, wanted in (("train", train), ("val", val)):
        if wanted:
            assert Loader(str(tmp_path), 8, 1, split=split).tokens == sum(sizes[name] for name in wanted)
        else:
            with pytest.raises(DataError):
                Loader(str(tmp_path), 8, 1, split=split)
    assert (identify(str(tmp_path)).validation is not None) == bool(val)
