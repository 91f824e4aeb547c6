"""metrics.jsonl as columns and curves: what numpy and Python's json say of the same lines."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

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
    for each in np.unique(column):
        mine = np.flatnonzero(column == each)
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
