"""Progress: a bar on a terminal, plain lines elsewhere, figures that are right."""

import io
import os
import subprocess
import sys

import pytest

from pylm.cli.frame import progress as subject
from pylm.cli.frame.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(subject, "time", made)
    return made


def test_a_plain_line_at_intervals_with_speed_and_time_left(clock):
    stream = io.StringIO()
    with Progress("tokenize", unit="bytes", total=1e9, stream=stream, interval=10) as progress:
        for tenth in range(1, 41):  # 40 calls in 8 seconds: silence
            clock.now = 100 + tenth * 0.2
            progress(tenth * 1e6)
        assert stream.getvalue() == ""
        clock.now = 110
        progress(5e7, note="2M tokens/s")
        clock.now = 119.9
        progress(6e7)
        clock.now = 120
        progress(1e8)
    assert stream.getvalue().splitlines() == [
        "tokenize: 5%, 50 MB of 1 GB, 5 MB/s, 3 min 10 s left, 2M tokens/s",
        "tokenize: 10%, 100 MB of 1 GB, 5 MB/s, 3 min left",
    ]


def test_a_phase_has_its_own_clock_and_unit(clock):
    stream = io.StringIO()
    with Progress("count", unit="bytes", total=1e9, stream=stream, interval=1) as progress:
        clock.now = 150
        progress(1e9)
        progress(0, 32000, phase="merge", unit="merges")
        clock.now = 152
        progress(8000)
    assert stream.getvalue().splitlines()[-1] == "merge: 25%, 8k merges of 32k merges, 4k merges/s, 6.0 s left"


def test_what_was_done_before_does_not_count_as_speed(clock):
    stream = io.StringIO()
    with Progress("resume", unit="documents", stream=stream, interval=1) as progress:
        clock.now = 100.5
        progress(1000, 2000, phase="encode")
        clock.now = 110.5
        progress(1100)
    assert stream.getvalue().splitlines()[-1] == (
        "encode: 55%, 1.1k documents of 2k documents, 10 documents/s, 1 min 30 s left"
    )


def test_without_a_total_only_what_is_known(clock):
    stream = io.StringIO()
    with Progress("read", unit="documents", stream=stream, interval=1) as progress:
        clock.now = 104
        progress(200)
    assert stream.getvalue() == "read: 200 documents, 50 documents/s\n"


def test_quiet_says_nothing(clock):
    stream = io.StringIO()
    with Progress("read", stream=stream, interval=0, quiet=True) as progress:
        clock.now = 200
        progress(1)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("term", "no_color"), [("xterm", False), ("xterm", True), ("dumb", False)])
def test_a_terminal_gets_a_bar(term, no_color):
    program = (
        "import time\nfrom pylm.cli.frame.progress import Progress\n"
        "with Progress('tokenize', unit='bytes', total=4e6) as p:\n"
        "    for i in range(4):\n        p(i * 1e6); time.sleep(0.15)\n"
    )
    env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLORTERM")}
    env |= {"TERM": term} | ({"NO_COLOR": "1"} if no_color else {})
    master, slave = os.openpty()
    done = subprocess.run([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    os.set_blocking(master, False)
    try:
        shown = os.read(master, 1 << 16)
    except (BlockingIOError, OSError):
        shown = b""
    os.close(master)
    assert done.returncode == 0 and done.stdout == b""
    if term == "dumb":
        assert shown == b""  # less than one interval: nothing said, nothing drawn
    else:
        assert b"tokenize" in shown and b"MB" in shown
        assert (b"\x1b[3" in shown or b";3" in shown) == (not no_color)
