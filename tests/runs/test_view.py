"""What a run shows while it goes: a line that fits any terminal, what matters most first, and plain lines elsewhere."""

from __future__ import annotations

import io
import re

import pytest

from pylm.runs import view as subject
from pylm.runs.view import View, fitted

LOSSES = [10 - 0.05 * step for step in range(100)]


def record(step: int = 43, speed: float = 4830.0) -> dict[str, object]:
    return {"step": step, "loss": 5.6912, "lr": 2.3e-3, "tokens_per_second": speed, "mfu": 0.02, "memory": 734e6}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (20, "43  5.69  56 min"),
        (40, "step 43/1,486  loss 5.69  56 min left"),
        (60, "step 43/1,486  loss 5.6912  4.83k tokens/s  56 min 2 s left"),
        (80, "█▇▆▅▄▃▃▂▁  step 43/1,486  loss 5.6912  4.83k tokens/s  56 min 2 s left"),
    ],
)
def test_what_matters_most_is_shown_first(width: int, line: str) -> None:
    shown = fitted(record(), 1486, 3362, LOSSES, width - 1)
    words = re.compile(r"^[▁-█]+  ")
    assert words.sub("", shown) == words.sub("", line)


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize(("step", "steps", "left"), [(1, 5, 0.4), (43, 1486, 3362), (123_456, 2_000_000, 400_000)])
def test_the_line_fits_and_more_columns_never_show_less(width: int, step: int, steps: int, left: float) -> None:
    shown = fitted(record(step), steps, left, LOSSES, width - 1)
    assert len(shown) <= width - 1
    assert f"{step:,}" in shown and ("5.69" in shown or width == 20)
    parts = {
        "left": "left" in shown,
        "speed": "tokens/s" in shown,
        "curve": bool(re.match("[▁-█]", shown)),
        "peak": "peak" in shown,
        "memory": "734 MB" in shown,
        "rate": "lr 2.30e-03" in shown,
    }
    if width >= 40:
        assert parts["left"] or re.search(r"\d (s|min|h|d)$", shown)
    if width >= 60 and steps < 10_000:
        assert parts["left"] and parts["speed"]
    if width >= 80 and steps < 10_000:
        assert parts["curve"]
    if width == 200:
        assert all(parts.values()) and re.match("[▁-█]{24}  step", shown)


def test_a_curve_of_two_losses_takes_two_columns() -> None:
    assert fitted(record(), 1486, 3362, [9.0, 8.0], 150).startswith("█▁  step 43")


def test_the_drawn_line_is_cut_to_the_terminal_and_remarks_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject.shutil, "get_terminal_size", lambda: subject.os.terminal_size((40, 20)))
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    view = View(1486, stream=stream)
    view.begin(0)
    view.step(record(), 3362)
    view.remark("step 43: validation loss 5.7")
    view.doing("evaluating")
    view.close()
    drawn = re.split(r"\r\x1b\[K", stream.getvalue())
    assert drawn == [
        "",
        "step 0/1,486  the first step …",
        "step 43/1,486  loss 5.69  56 min left",
        "step 43: validation loss 5.7\n",
        "step 43/1,486  loss 5.69  56 min left",
        "step 43/1,486  evaluating …",
        "",
    ]


def test_elsewhere_each_step_is_a_plain_line_with_everything() -> None:
    stream = io.StringIO()
    view = View(1486, stream=stream, interval=0)
    view.begin(0)
    view.doing("evaluating")
    view.step(record(), 3362)
    assert stream.getvalue() == (
        "step 43/1,486  loss 5.6912  4.83k tokens/s  2% of matmul peak  734 MB  lr 2.30e-03  56 min 2 s left\n"
    )
