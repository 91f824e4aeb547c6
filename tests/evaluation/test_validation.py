"""The validation split, over shards small enough to count by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.config.schema import Config
from pylm.data.identity import identify
from pylm.evaluation import validation
from pylm.evaluation.validation import Scores, Validation
from tests.support.shards import write_shards

LENGTH = 8


def made(folder: Path, **train: Any) -> Validation:
    config = Config.model_validate({"model": {"context_length": LENGTH}, "data": {"path": str(folder)}, "train": train})
    return Validation(config, identify(str(folder)))


def test_every_window_counts_once_and_means_are_over_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "BATCH_TOKENS", 8 * LENGTH)  # 2,499 windows are no multiple of 8
    folder = write_shards(tmp_path / "ids", 90, np.random.default_rng(3), count=200)
    found = made(folder, eval_batches=None)
    seen: list[bytes] = []

    def count(batch: Any, rows: int) -> tuple[float, int, int]:
        seen.extend(row.tobytes() for row in batch.inputs[:rows].astype(np.uint16))
        return float(batch.targets[:rows].sum()), int((batch.targets[:rows] % 2).sum()), rows * LENGTH

    scores = found.scores(count)
    ids = np.fromfile(folder / "val_00000.bin", np.uint16)
    windows = (len(ids) - 1) // LENGTH
    assert found.windows == windows and windows % 8
    assert sorted(seen) == sorted(ids[at * LENGTH : (at + 1) * LENGTH].tobytes() for at in range(windows))
    targets = ids[1 : windows * LENGTH + 1].astype(np.int64)
    assert scores is not None and scores.loss == pytest.approx(targets.mean())
    assert scores.accuracy == pytest.approx((targets % 2).mean())
    # the shards say that a token stands for three bytes
    assert scores.bits_per_byte == pytest.approx(targets.mean() / math.log(2) / 3)


def test_so_many_batches_are_always_the_same_and_a_stop_is_heard(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "ids", 90, np.random.default_rng(3), count=200)
    taken: list[bytes] = []

    def count(batch: Any, rows: int) -> tuple[float, int, int]:
        taken.append(batch.inputs.tobytes())
        return 1.0, 0, rows

    first, second = made(folder, eval_batches=2), made(folder, eval_batches=2)
    assert first.scores(count) == second.scores(count)
    assert len(taken) == 4 and taken[:2] == taken[2:] and taken[0] != taken[1]
    assert first.scores(count, lambda: len(taken) > 4) is None and len(taken) == 5


def test_scores_of_a_hopeless_model_are_numbers() -> None:
    assert Scores.of(1000.0, 0, 1, None) == Scores(1000.0, math.inf, 0.0, None)
    assert Scores.of(0.0, 0, 0, 3.0) == Scores(0.0, 1.0, 0.0, 0.0)
