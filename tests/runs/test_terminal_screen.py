"""`pylm watch` on a terminal as a user has it: pyte says what each character of the screen is in the end."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.runs.made import line_of, made_run

pyte = pytest.importorskip("pyte")

BRAILLE = re.compile("[\u2801-\u28ff]")
PATIENCE = 60.0


class Terminal:
    """A terminal of a size, and the command that runs in it."""

    def __init__(self, words: list[str], columns: int = 80, rows: int = 24, **environment: str) -> None:
        """Begin the command."""
        self.screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.master, slave = pty.openpty()
        self._size(slave, columns, rows)
        around = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        around |= {"TERM": "xterm", "PYTHONIOENCODING": "utf-8", **environment}
        self.child = subprocess.Popen(
            [sys.executable, "-m", "pylm", *words], stdin=slave, stdout=slave, stderr=slave, env=around,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)

    @staticmethod
    def _size(handle: int, columns: int, rows: int) -> None:
        fcntl.ioctl(handle, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns: int, rows: int) -> None:
        """Make the window another size, as somebody who pulls at its edge."""
        self.screen.resize(rows, columns)
        self._size(self.master, columns, rows)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    @property
    def lines(self) -> list[str]:
        """What stands on the screen, without what is empty below."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip("\n").split("\n")

    def until(self, shown: Callable[[list[str]], object]) -> list[str]:
        """Return what stands on the screen once it is as asked."""
        end = time.monotonic() + PATIENCE
        while not shown(self.lines):
            assert time.monotonic() < end, "\n".join(self.lines)
            if select.select([self.master], [], [], 0.2)[0]:
                part = os.read(self.master, 1 << 16)
                self.raw += part
                self._stream.feed(part)
        return self.lines


@contextmanager
def terminal(words: list[str], columns: int = 80, rows: int = 24, **environment: str) -> Iterator[Terminal]:
    opened = Terminal(words, columns, rows, **environment)
    try:
        yield opened
    finally:
        if opened.child.poll() is None:
            opened.child.kill()
        opened.child.wait()
        os.close(opened.master)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    losses = [3.0 + (step == 300) * 9 for step in range(1, 401)]
    first = made_run(Path("runs/first"), lines=[line_of(step, loss) for step, loss in enumerate(losses, 1)])
    (first / "samples.jsonl").write_text(
        json.dumps({"step": 9, "prompt": "Once", "text": "\x1b[2J\x1b]0;x\x07 é\n"}) + "\n"
    )
    made_run(Path("runs/second"), lift=1)


def is_whole(lines: list[str]) -> bool:
    return any("q quit" in line for line in lines)


def test_a_screen_of_80_by_24_and_another_size() -> None:
    with terminal(["watch", "first"]) as window:
        lines = window.until(is_whole)
        assert lines[0] == "loss over step: first" and "q quit" in lines[-1]
        assert sum(bool(BRAILLE.search(line)) for line in lines) > 8
        spike = [line.find(BRAILLE.search(line)[0]) for line in lines[1:4] if BRAILLE.search(line)]  # type: ignore[index]
        assert spike and all(abs(at - (9 + 0.75 * 71)) <= 1 for at in spike)  # it alone reaches the top
        assert any(r"Once\x1b[2J\x1b]0;x\x07 é" in line for line in lines)  # what a model wrote steers nothing
        assert window.screen.cursor.hidden
        window.resize(60, 18)
        axis = re.compile(r"└1 +400")  # drawn anew to the edge
        lines = window.until(
            lambda lines: any(axis.search(line) and len(line) == 60 for line in lines) and is_whole(lines)
        )
        assert lines[0] == "loss over step: first" and len(lines) <= 18
        with Path("runs/first/metrics.jsonl").open("a") as file:
            file.write(json.dumps(line_of(401, 1.25)) + "\n")
        window.until(lambda lines: any("step 401" in line for line in lines))
        window.press("q")
        assert window.child.wait(20) == 0
        window.raw += os.read(window.master, 1 << 16)
        assert window.raw.endswith(b"\x1b[?25h\x1b[?1049l")  # the cursor and what stood there before


def test_keys_of_a_terminal() -> None:
    with terminal(["watch", "first", "second"]) as window:
        window.until(is_whole)
        for key, over in (("l", "step (log)"), ("x", "tokens (log)"), ("l", "tokens")):
            window.press(key)
            window.until(lambda lines, over=over: lines[0] == f"loss over {over}: first, second")  # type: ignore[misc]
        window.press("/sec")  # at once, as over a slow line
        window.until(lambda lines: lines[0].endswith(": second") and "runs with: sec_" in lines[-1])
        window.press("\x1b[A")  # an arrow is no letter of a filter, and does not end it
        window.press("o")
        window.until(lambda lines: "runs with: seco_" in lines[-1])
        window.press("\x1b")
        window.until(lambda lines: lines[0].endswith("first, second") and "q quit" in lines[-1])
        assert any(line.startswith("first  ") for line in window.lines)
        window.press("\t")
        window.until(lambda lines: any(line.startswith("second  ") for line in lines))
        window.press("\x03")
        assert window.child.wait(20) == 0


def test_where_the_locale_is_ascii_so_is_the_screen() -> None:
    with terminal(["watch", "first"], LC_ALL="C", PYTHONIOENCODING="ascii", NO_COLOR="1") as window:
        lines = window.until(is_whole)
        assert all(line.isascii() for line in lines) and sum("*" in line for line in lines) > 8
        assert not re.search(rb"\x1b\[[\d;]*m", window.raw)  # no colours where none are wanted


def test_through_a_pipe_there_are_plain_lines() -> None:
    words = [sys.executable, "-m", "pylm", "watch", "first"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "\x1b" not in done.stdout and len(done.stdout.splitlines()) == 1
    assert done.stdout.startswith("stopped  step 400  loss 3.0000")
