"""The picture of a run's losses: dots where the losses are, and a file that an XML reader takes."""

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pylm.errors import DataError
from pylm.runs.plot import losses, svg, terminal


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
