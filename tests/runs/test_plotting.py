"""`pylm plot`: what a picture holds of runs, read back from the file by a parser of its format."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pylm.cli import run
from pylm.errors import UsageError
from pylm.runs import RunFolder
from pylm.runs.drawing.axes import decades, spelled
from pylm.runs.drawing.characters import canvas
from pylm.runs.drawing.panel import Line, Panel
from pylm.runs.history import History
from pylm.runs.plot import panels_of, plot
from tests.runs.made import line_of, made_run

SPACE = "{http://www.w3.org/2000/svg}"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def picture(*words: str) -> ElementTree.Element:
    assert run(["plot", *words, "--out", "p.svg"]) == 0
    return ElementTree.parse("p.svg").getroot()


def curves(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    lines = [line.get("points", "").split() for line in root.iter(f"{SPACE}polyline")]
    return [[(float(x), float(y)) for x, y in (point.split(",") for point in line)] for line in lines]


def test_the_losses_of_a_run_lie_beside_it(capsys: Capture) -> None:
    made_run(Path("runs/a"))
    assert run(["plot"]) == 0 and capsys.readouterr().out == "runs/a/loss.svg\n"
    root = ElementTree.parse("runs/a/loss.svg").getroot()
    texts = {text.text for text in root.iter(f"{SPACE}text")}
    assert {"step", "loss", "training", "validation"} <= texts
    training, validation = curves(root)
    assert len(training) == 40 and len(validation) == 4
    assert [x for x, _ in validation] == [training[step - 1][0] for step in (10, 20, 30, 40)]


@pytest.mark.parametrize(("x", "label"), [("tokens", "tokens"), ("time", "time in seconds"), ("flops", "FLOPs")])
def test_axes(x: str, label: str) -> None:
    made_run(Path("runs/a"), flops_per_token=1e9)
    made_run(Path("runs/b"), 20, flops_per_token=2e9)
    root = picture("a", "b", "--metrics", "loss", "--x", x)
    assert label in {text.text for text in root.iter(f"{SPACE}text")}
    first, second = curves(root)
    # b has half of a's steps; where each of its tokens costs twice as much, it ends where a does
    assert (second[-1][0] == first[-1][0]) is (x == "flops")
    assert {"a training", "b training"} <= {text.text for text in root.iter(f"{SPACE}text")}


def test_what_is_not_finite_is_marked_and_never_bridged() -> None:
    losses = [3.0, 2.0, None, None, 1.0, 1.5]
    made_run(Path("runs/a"), lines=[line_of(step, loss) for step, loss in enumerate(losses, 1)])
    root = picture("a", "--metrics", "loss")
    assert [len(line) for line in curves(root)] == [2, 2]
    marks = [mark.get("d", "") for mark in root.iter(f"{SPACE}path") if mark.get("class") == "broken"]
    assert len(marks) == 2 and all(float(mark.split()[1].split("l")[0]) < 64 for mark in marks)


def test_a_resume_is_one_line_with_its_place_and_what_went(tmp_path: Path) -> None:
    path = made_run(Path("runs/a"), lines=[line_of(step, 4 - step / 4) for step in range(1, 9)])
    with RunFolder(path) as folder:
        folder.cut_back(4)
        for step in range(5, 10):
            folder.metrics.append(line_of(step, 3 - step / 4))
    root = picture("a", "--metrics", "loss")
    lines = {line.get("stroke-opacity"): line.get("points", "").split() for line in root.iter(f"{SPACE}polyline")}
    assert {key: len(points) for key, points in lines.items()} == {"0.35": 4, None: 9}
    cuts = [path for path in root.iter(f"{SPACE}path") if path.get("class") == "cut"]
    assert len(cuts) == 1 and cuts[0][0].text == "resumed here"
    assert cuts[0].get("d", "").split()[0][1:] == lines[None][3].split(",")[0]


def test_smoothing_lies_over_the_raw_curve_and_leaves_evaluations() -> None:
    made_run(Path("runs/a"), 60)
    plain, root = curves(picture("a")), picture("a", "--smooth", "0.9")
    smoothed = curves(root)
    assert (smoothed[0], smoothed[2]) == (plain[0], plain[1]) and smoothed[1] != plain[0]
    lines = [
        (line.get("stroke-opacity"), len(line.get("points", "").split())) for line in root.iter(f"{SPACE}polyline")
    ]
    assert lines == [("0.35", 60), (None, 60), (None, 6)]


def test_a_page_holds_all_it_needs_and_allows_nothing_else() -> None:
    made_run(Path("runs/x<b>&"), lines=[line_of(1, 1.0), line_of(2, None), line_of(3, 2.0)])
    made_run(Path("runs/y"))
    assert run(["plot", "x<b>&", "y", "--metrics", "loss", "--out", "p.html"]) == 0
    text = Path("p.html").read_text()
    assert not re.search(r"(src|href)\s*=|url\(|@import", re.sub(r"<script>/\*.*?</script>", "", text, flags=re.S))
    assert "MIT License" in text and "Leon Sorokin" in text
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]  # type: ignore[index]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for tag in ("style", "script"):
        for body in re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S):
            assert base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() in policy
    panels = json.loads(re.search(r'id="panels">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    assert panels[0]["lines"][0]["data"] == [[1, 2, 3], [1, None, 2]] and panels[0]["lines"][0]["broken"] == [2]
    assert "<b>" not in re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    HTMLParser().feed(text)


def test_a_png_is_a_picture_or_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    pytest.importorskip("matplotlib")
    made_run(Path("runs/a"))
    assert run(["plot", "a", "--out", "p.png"]) == 0
    content = Path("p.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and int.from_bytes(content[16:20], "big") == 1200
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run(["plot", "a", "--out", "q.png"]) == 2 and "pip install matplotlib" in capsys.readouterr().err
    assert not Path("q.png").exists()


@pytest.mark.parametrize(
    ("words", "sentence", "hint"),
    [
        (["--metrics", "grad_nrom"], "runs/a has no metric grad_nrom", "did you mean grad_norm?"),
        (["--metrics", "zzz"], "runs/a has no metric zzz", "it has loss, lr, grad_norm"),
        (["--out", "p.pdf"], "p.pdf is none of svg, png, html", "--out loss.svg"),
        (["--out", "no/p.svg"], "there is no folder no", "make it"),
        (["--smooth", "1"], "smooth=1 keeps no average", "0.9"),
        (["--x", "flops"], "runs/a kept no FLOPs of a token", "tokens"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(capsys: Capture, words: list[str], sentence: str, hint: str) -> None:
    made_run(Path("runs/a"))
    assert run(["plot", "a", *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error and hint in error and error.count("\n") == 2
    assert not list(Path().glob("p.*"))


def test_a_run_without_lines_is_a_sentence(capsys: Capture) -> None:
    made_run(Path("runs/a"))
    Path("runs/a/metrics.jsonl").unlink()
    assert run(["plot", "a"]) == 1 and "has no metrics.jsonl yet" in capsys.readouterr().err
    with pytest.raises(UsageError, match="there is no run in runs/"):
        Path("runs/a/config.yaml").unlink()
        plot()


def test_characters_have_each_line_in_its_own_place_and_ascii_where_that_is_all() -> None:
    panel = Panel(
        "", [Line("up", [0, 9], [0, 9]), Line("down", [0, 9], [9, 0]), Line("gap", [0, 5, 9], [0, math.nan, 0])]
    )
    cells = canvas(panel, 10, 10, plain=True)
    assert [cells[row][9 - row] for row in (1, 2, 3)] == [("*", 0)] * 3
    assert [cells[row][row] for row in (1, 2, 3)] == [("o", 1)] * 3
    assert cells[0][5] == ("!", 2) and cells[9][5] == (" ", -1)
    dots = canvas(panel, 10, 10)
    assert all(0x2800 <= ord(character) <= 0x28FF or character == "✗" for row in dots for character, _ in row)


def test_round_numbers() -> None:
    assert decades(0.3, 30) == [0.5, 1, 2, 5, 10, 20] and decades(1, 1e9) == [10.0**power for power in range(10)]
    assert [spelled(place) for place in (0, 1500, 2.5e6, 3e9, 4e18, 0.25)] == [
        "0",
        "1,500",
        "2.5M",
        "3G",
        "4e+18",
        "0.25",
    ]


def test_runs_of_one_name_keep_their_lines_apart(tmp_path: Path) -> None:
    for folder, lift in (("one", 0.0), ("two", 1.0)):
        made_run(tmp_path / folder / "a", lift=lift)
    (panel,) = panels_of([History(tmp_path / "one/a"), History(tmp_path / "two/a")], ["loss"], columns=100)
    assert [line.label for line in panel.named] == [f"{tmp_path}/one/a training", f"{tmp_path}/two/a training"]
