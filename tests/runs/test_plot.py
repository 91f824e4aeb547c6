"""The picture of a run's losses: dots where the losses are, and a file that an XML reader takes."""

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pylm.errors import DataError
from pylm.runs.plot import losses, svg, terminal, ticks


def run_of(folder: Path, records: list[dict[str, object]]) -> Path:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def test_losses_are_read_by_kind(tmp_path: Path) -> None:
    run = run_of(tmp_path, [{"step": 1, "loss": 3.0}, {"step": 2, "loss": None}, {"step": 2, "val_loss": 2.5}])
    assert losses(run) == {"loss": [(1, 3.0)], "val_loss": [(2, 2.5)]}
    with pytest.raises(DataError, match="holds no loss"):
        losses(run_of(tmp_path, [{"step": 1, "lr": 0.1}]))


@pytest.mark.parametrize("fall", [lambda x: 8 * math.exp(-x / 40), lambda x: 8 - x / 20])
def test_every_column_has_its_loss_at_its_height(fall: object) -> None:
    points = [(step, fall(step)) for step in range(0, 145)]  # type: ignore[operator]
    lines = terminal(points, columns=36, rows=10).splitlines()
    assert len(lines) == 11 and lines[-1].strip().startswith("└step 0") and lines[-1].endswith("144")
    low, high = min(loss for _, loss in points), max(loss for _, loss in points)
    for step, loss in points:
        column, row = round(step / 144 * 71) // 2, round((high - loss) / max(high - low, 1e-6) * 39) // 4
        cell = lines[row].split("┤")[1][column : column + 1]
        assert cell and ord(cell) > 0x2800, (step, loss)


def test_the_svg_holds_each_point(tmp_path: Path) -> None:
    curves = {"loss": [(1, 4.0), (50, 2.0), (100, 1.5)], "val_loss": [(100, 1.75)]}
    root = ElementTree.fromstring(svg(curves, "a < b & c"))
    space = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{space}text").text == "a < b & c"  # type: ignore[union-attr]
    lines = [line.get("points", "").split() for line in root.iter(f"{space}polyline")]
    assert [len(line) for line in lines] == [3, 1]
    heights = [float(point.split(",")[1]) for point in lines[0]]
    assert heights == sorted(heights)  # a falling loss goes down the page


def test_one_point_is_a_dot_and_axes_have_names_and_round_numbers() -> None:
    root = ElementTree.fromstring(svg({"loss": [(10, 7.04), (506, 3.98), (1003, 2.3)], "val_loss": [(1003, 2.4)]}, "x"))
    space = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in root.iter(f"{space}text")]
    assert {"step", "loss", "training", "validation"} <= set(texts)
    assert {"3", "4", "5", "6", "7", "200", "400", "600", "800", "1,000"} <= set(texts)
    dots = [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in root.iter(f"{space}circle")]
    lines = [line.get("points", "").split() for line in root.iter(f"{space}polyline")]
    assert [tuple(map(float, point.split(","))) for line in lines for point in line] == dots
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    assert all(0 < x < width and 0 < y < height for x, y in dots)
    legend = [text for text in root.iter(f"{space}text") if text.text in ("training", "validation")]
    grid = [
        float(path.get("d", "").split()[1].split("H")[0])
        for path in root.iter(f"{space}path")
        if "H" in path.get("d", "")
    ]
    assert all(abs(float(text.get("y", "")) - line) > 12 for text in legend for line in grid)


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 10, False, [0, 2, 4, 6, 8, 10]),
        (2.3, 7.04, False, [3, 4, 5, 6, 7]),
        (10, 1003, True, [200, 400, 600, 800, 1000]),
        (1, 2, True, [1, 2]),
        (1, 3, True, [1, 2, 3]),
        (2.4, 2.400001, False, [2.4, 2.4000002, 2.4000004, 2.4000006, 2.4000008, 2.400001]),
        (5.0, 5.3, False, [5.0, 5.1, 5.2, 5.3]),
    ],
)
def test_ticks_are_round(low: float, high: float, whole: bool, expected: list[float]) -> None:
    assert ticks(low, high, whole=whole) == pytest.approx(expected)
