"""`pylm watch`: what its screen shows, its keys and its lines."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from pylm.cli import run
from pylm.runs import RunFolder
from pylm.runs.watching.screen import Settings, screen
from pylm.runs.watching.watch import _show, watch
from pylm.runs.watching.watched import Watched
from tests.runs.made import line_of, made_run

Capture = pytest.CaptureFixture[str]
INK = re.compile(r"\x1b\[[\d;]*m")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def noted(path: Path) -> Path:
    """A run with a sample that steers terminals and an incident."""
    (path / "samples.jsonl").write_text('{"step": 9, "prompt": "Once", "text": " upon\\u001b[31m a\\ntime é"}\n')
    (path / "incidents.jsonl").write_text('{"step": 7, "kind": "spike"}\n')
    return path


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (200, 60), (20, 8)])
@pytest.mark.parametrize("plain", [True, False])
def test_a_screen_fits_and_says_where_the_run_stands(size: tuple[int, int], plain: bool) -> None:
    one = Watched(noted(made_run(Path("a"), length={"steps": 100, "why": "", "seconds": None})))
    lines = [INK.sub("", line) for line in screen([one], Settings(), *size, plain=plain)]
    assert len(lines) <= size[1] and all(len(line) <= size[0] for line in lines)
    assert not plain or all(line.isascii() for line in lines)
    if size == (80, 24):
        text = "\n".join(lines)
        for part in (
            *("loss over step: a", "stopped  step 40/100  loss 2.0352", "val loss 2.1352", "640 tokens/s", "1.05 MB"),
            *("25% of matmul peak", "time  backward 57%", "wrote at step 9: Once upon\\x1b[31m a time", "q quit"),
            "1 incident, the last at step 7: spike",
        ):
            assert part in text, part


def test_a_spike_of_one_step_and_what_is_not_finite_are_on_the_screen() -> None:
    losses = [2.0 + (step == 400) * 9 for step in range(1, 1001)]
    lines = [line_of(step, None if step == 700 else loss) for step, loss in enumerate(losses, 1)]
    one = Watched(made_run(Path("a"), lines=lines))
    shown = screen([one], Settings(), 80, 24, plain=True, colour=False)[1:15]
    assert "*" in shown[0][9:] and "!" in shown[0][9:]
    assert abs(shown[0].index("*") - (9 + 0.4 * 71)) <= 1 and abs(shown[0].index("!") - (9 + 0.7 * 71)) <= 1


def test_keys() -> None:
    one, other = Watched(made_run(Path("first"))), Watched(made_run(Path("second"), lift=1))
    settings = Settings()

    def title() -> str:
        return screen([one, other], settings, 80, 24, plain=True)[0]

    assert title() == "loss over step: first, second"
    assert settings.press("l", 2) and "(log)" in title()
    axes = [settings.press("x", 2) and settings.x for _ in range(4)]
    assert axes == ["tokens", "time", "flops", "steps"]
    for key in ("/", "s", "e", "q"):  # q is a letter of the filter
        assert settings.press(key, 2)
    assert "seq_" in screen([one, other], settings, 80, 24)[-1]
    settings.press("\x7f", 2)
    settings.press("\r", 2)
    assert title().endswith(": second")
    settings.filter = ""
    assert any(line.startswith("first  ") for line in screen([one, other], settings, 80, 24, plain=True))
    settings.press("\t", 2)
    assert any(line.startswith("second  ") for line in screen([one, other], settings, 80, 24, plain=True))
    assert not settings.press("q", 2)


def test_where_nobody_can_draw_there_are_lines_until_no_run_goes_on(capsys: Capture) -> None:
    made_run(Path("runs/a"))
    made_run(Path("runs/b"), 20, lift=1)
    assert run(["watch", "a", "b"]) == 0
    out = capsys.readouterr().out
    assert [line.split("  ")[:3] for line in out.splitlines()] == [
        ["a", "stopped", "step 40"],
        ["b", "stopped", "step 20"],
    ]
    assert "\x1b" not in out


def test_lines_that_are_added_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_run(Path("runs/a"), lines=[line_of(1, 3.0)])
    folder, out, looks = RunFolder(path), io.StringIO(), []

    def later(_seconds: float) -> None:
        looks.append(None)
        if len(looks) == 1:
            folder.metrics.append(line_of(2, 2.5))
        elif len(looks) == 3:
            folder.close()

    monkeypatch.setattr("pylm.runs.watching.watch.time.sleep", later)
    watch(["a"], stream=out)
    told = [line.split("  ")[:3] for line in out.getvalue().splitlines()]
    assert told == [["training", "step 1", "loss 3.0000"], ["training", "step 2", "loss 2.5000"],
                    ["stopped", "step 2", "loss 2.5000"]]  # fmt: skip


def test_a_run_without_lines_is_waited_for() -> None:
    path = made_run(Path("a"), lines=[line_of(1, 3.0)])
    content = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").unlink()
    one = Watched(path)
    assert any("nothing was drawn yet" in line for line in screen([one], Settings(), 80, 24))
    (path / "metrics.jsonl").write_text(content)
    assert one.look() and not one.look()
    assert "loss 3.0000" in " ".join(one.figures())


def test_on_a_terminal_it_draws_follows_the_size_and_leaves_it_as_it_was() -> None:
    path = made_run(Path("runs/a"))
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(slave)
    environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    environment.pop("COLUMNS", None), environment.pop("LINES", None)
    words = [sys.executable, "-m", "pylm", "watch", "a"]
    child = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True)
    try:
        shown = _until(master, b"q quit")
        assert b"\x1b[?1049h" in shown and b"step 40" in shown
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        with (path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 41, "tokens": 1, "seconds": 1, "loss": 1.5}\n')
        shown = _until(master, b"q quit")
        assert b"step 41" in shown and shown.count(b"\r\n") > 24
        os.write(master, b"q")
        shown = _until(master, b"\x1b[?1049l")
        assert child.wait(20) == 0 and termios.tcgetattr(slave) == before
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
        os.close(master)
        os.close(slave)


def _until(master: int, mark: bytes) -> bytes:
    """What a terminal is sent until a mark."""
    shown, end = b"", time.monotonic() + 60
    while mark not in shown and time.monotonic() < end:
        if select.select([master], [], [], 1)[0]:
            shown += os.read(master, 1 << 16)
    return shown


def test_lines_that_come_are_drawn_within_their_share_and_keys_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_run(Path("runs/a"), lines=[line_of(1, 3.0)])
    clock, drawn, out = [0.0], [], io.StringIO()
    monkeypatch.setattr("pylm.runs.watching.watch.time.monotonic", lambda: clock[0])
    # each screen costs 1/128 s: at one in two hundred the next may come after 1.6 s
    work = iter(number / 128 for number in range(1000))
    monkeypatch.setattr("pylm.runs.watching.watch.time.process_time", lambda: next(work))
    monkeypatch.setattr("pylm.runs.watching.watch.screen", lambda *_, **__: drawn.append(clock[0]) or ["a"])

    def pressed(seconds: float) -> str:
        clock[0] += 0.5
        with (path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line_of(int(clock[0] * 2) + 1, 2.0)) + "\n")
        return {5.0: "l", 8.0: "q"}.get(clock[0], "")

    _show([Watched(path)], out, pressed, 0.5)
    assert drawn == [0.0, 2.0, 4.0, 5.0, 7.0]


def test_what_is_shown_is_read_from_the_end_and_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_run(Path("a"), 40)
    one = Watched(path)
    assert one.curve("steps", 0.95) is one.curve("steps", 0.95)
    before = one.phases()
    with (path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line_of(41, None)) + "\n")  # not finite: the last that was stays
    assert one.look() and "step 41" in one.figures() and "loss 2.0352" in one.figures()
    assert len(one.curve("steps", 0.95).x) == 41 and one.phases() == before
