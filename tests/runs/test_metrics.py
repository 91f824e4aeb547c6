"""metrics.jsonl as columns and curves: what numpy and Python's json say of the same lines."""

from __future__ import annotations

import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pylm._rust import Metrics, curve_pixels
from pylm.errors import DataError
from pylm.runs import Lines

Reals = npt.NDArray[np.float64]


def m4(x: Reals, y: Reals, columns: int, low: float, high: float) -> list[int]:
    """The first, lowest, highest and last point of each column, and the ends of what is not finite, one at a time."""
    column = np.minimum(((x - low) * (columns / (high - low))).astype(int), columns - 1)
    drawn: set[int] = set()
    for mine in np.split(np.arange(len(x)), np.flatnonzero(np.diff(column)) + 1):  # one that is come back to is another
        finite = mine[np.isfinite(y[mine])]
        broken = mine[~np.isfinite(y[mine])]
        if len(finite):
            drawn |= {finite[0], finite[-1], finite[np.argmin(y[finite])], finite[np.argmax(y[finite])]}
        if len(broken):
            drawn |= {broken[0], broken[-1]}
    return sorted(int(point) for point in drawn)


@pytest.mark.parametrize("seed", range(20))
def test_pixels_are_those_of_m4(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 3000))
    x = np.sort(random.uniform(-5, 5, count))
    y = np.where(random.random(count) < 0.05, math.nan, random.normal(size=count))
    columns, (low, high) = int(random.integers(1, 400)), (-5.0, 5.0)
    assert curve_pixels(x, y, columns, low, high) == m4(x, y, columns, low, high)


def test_a_thousand_spikes_of_one_step_are_all_drawn(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    loss = random.normal(3, 0.01, 100_000)
    spikes = random.choice(len(loss), 1000, replace=False)
    # one column of pixels has several: each is the highest or the lowest of its own, as a line through all would show
    loss[spikes] += 5
    lines = (f'{{"step": {step}, "loss": {value!r}}}\n' for step, value in enumerate(loss.tolist(), 1))
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    xs, ys = Metrics(tmp_path / "metrics.jsonl").curve("loss", columns=1200)
    scale = 1200 / (len(loss) - 1)
    shown = {min(int((x - 1) * scale), 1199) for x, y in zip(xs, ys, strict=True) if y > 7}
    assert {min(int(spike * scale), 1199) for spike in spikes} == shown
    assert len(xs) <= 4 * 1200


@pytest.mark.parametrize("seed", range(5))
def test_columns_are_what_json_says(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    lines = Lines(tmp_path / "metrics.jsonl")
    values = [1, -7, 0.1, 1e300, 5e-324, math.nan, None, 2**53, -0.0, 123456.789, True, "text", [1, [2, "]"]], 'a\\"b}']
    expected: dict[str, list[tuple[float, float]]] = {}
    for step in range(1, 200):
        keys = random.permutation(["loss", "über", 'a"b', "lr", "x y", "phase"])[: random.integers(1, 7)]
        record = {"step": step}
        for key in keys:
            record[key] = {"data": 0.5, "in": {"deep": 1}} if key == "phase" else values[random.integers(len(values))]
        lines.append(record)
        for key, value in record.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) or value is None:
                expected.setdefault(key, []).append((step, math.nan if value is None else float(value)))
    lines.close()
    read = Metrics(tmp_path / "metrics.jsonl")
    assert set(read.keys) == set(expected) | ({"phase.data"} if "phase.data" in read.keys else set())
    for key, points in expected.items():
        x, y = read.points(key)
        assert x.tolist() == [step for step, _ in points]
        np.testing.assert_array_equal(y, [value for _, value in points])


def test_what_no_line_holds_is_nothing_and_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2}\n{"step": 2, "lo')
    read = Metrics(path)
    assert (read.lines, read.curve("nothing", columns=9), read.range("nothing")) == (1, ([], []), None)
    path.write_text('{"step": 1, "loss": 2}\n{"step": 2, "lo\n')
    with pytest.raises(DataError, match=r"metrics.jsonl: line 2 is no record"):
        Metrics(path)


def test_an_index_is_written_of_long_files_alone_and_serves_where_it_fits(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    Metrics(path)
    assert os.listdir(tmp_path) == ["metrics.jsonl"]
    records = [{"step": step, "loss": step / 3, "pad": "x" * 200} for step in range(1, 25_000)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    first = Metrics(path).points("loss")
    assert sorted(os.listdir(tmp_path)) == ["metrics.idx", "metrics.jsonl"]
    # the same size and another number: an index that did not look at the file would say what was there
    path.write_text(path.read_text().replace('"loss": 1.0,', '"loss": 9.0,'))
    again = Metrics(path).points("loss")
    assert (first[1][2], again[1][2]) == (1.0, 9.0)
    Metrics(tmp_path / "metrics.jsonl", index=False)


def lines_of_a_run(seed: int, resumes: int) -> list[dict[str, Any]]:
    """Lines with keys that some lack, numbers of each width, nulls, and steps that were gone back to."""
    random = np.random.default_rng(seed)
    count, backs = 2200, set(random.choice(np.arange(300, 2000), resumes, replace=False).tolist())
    records, step = [], 0
    for line in range(count):
        step = step - int(random.integers(1, 250)) if line in backs else step + int(random.integers(0, 3))
        loss = None if random.random() < 0.05 else float(random.normal())
        record = {"step": step, "tokens": None if random.random() < 0.01 else step * 64, "loss": loss}
        record |= {"half": float(np.float32(loss or 0.5)), "phase": {"data": float(random.random())}}
        record |= {"val_loss": float(random.normal())} if line % 70 == 0 else {}
        dropped = [key for key in ("tokens", "half", "step") if random.random() < 0.02]
        # the padding makes the file one that an index is worth
        records.append({key: value for key, value in record.items() if key not in dropped} | {"pad": "x" * 1900})
    return records


def points_of(records: list[dict[str, Any]], key: str, over: str, gone: bool) -> tuple[Reals, Reals]:
    """The points of a key over another, line by line: gone is what a later step that was gone back to does not pass."""
    steps = [(line, record["step"]) for line, record in enumerate(records) if "step" in record]
    cuts = [(line, step) for (_, before), (line, step) in zip(steps, steps[1:], strict=False) if step < before]
    points = []
    for line, record in enumerate(records):
        taken_back = "step" in record and any(at > line and step <= record["step"] for at, step in cuts)
        flat = {**record, "phase.data": record["phase"]["data"]}
        if key in flat and over in flat and flat[over] is not None and taken_back == gone:
            points.append((flat[over], math.nan if flat[key] is None else flat[key]))
    x, y = np.array(points, np.float64).reshape(-1, 2).T
    return x, y


def averaged(y: Reals, keep: float) -> Reals:
    """The moving average without its start's bias, one number at a time."""
    total, weight, averages = 0.0, 0.0, []
    for value in y.tolist():
        if math.isfinite(value):
            total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        averages.append(total / weight if math.isfinite(value) else value)
    return np.array(averages)


@pytest.mark.parametrize(("seed", "resumes"), [(0, 0), (1, 1), (2, 3)])
def test_what_is_drawn_and_summed_is_what_the_lines_say_one_by_one(tmp_path: Path, seed: int, resumes: int) -> None:
    records = lines_of_a_run(seed, resumes)
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    by_lines, _, by_index = Metrics(path, index=False), Metrics(path), Metrics(path)
    assert (tmp_path / "metrics.idx").exists()
    for read, key, over in itertools.product(
        (by_lines, by_index), ("loss", "half", "phase.data", "val_loss", "step"), ("step", "tokens")
    ):
        x, y = points_of(records, key, over, gone=False)
        np.testing.assert_array_equal(read.points(key, over), (x, y))
        np.testing.assert_array_equal(read.points(key, over, gone=True), points_of(records, key, over, gone=True))
        low, high = float(x.min()), float(x.max())
        assert read.range(key, over) == (low, high)
        for keep, columns in ((0.0, 333), (0.9, 77)):
            shown = averaged(y, keep) if keep else y
            drawn = m4(x, shown, columns, low, high)
            np.testing.assert_array_equal(read.curve(key, over, columns=columns, smooth=keep), (x[drawn], shown[drawn]))
        sums = [0.0] * 7
        for place, value in zip(x.tolist(), y.tolist(), strict=True):
            sums[min(int((place - low) / (high - low) * 7), 6)] += value if math.isfinite(value) else 0.0
        assert read.sums(key, over, 7, low, high) == sums
    assert bool(by_index.cuts) == bool(resumes)
