"""A sign of life while there is nothing to count: at once on a terminal, one plain line elsewhere, never hung."""

from __future__ import annotations

import fcntl
import io
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from pylm.cli.frame import activity as subject
from pylm.cli.frame.activity import Activity
from pylm.cli.frame.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(subject.shutil, "get_terminal_size", lambda: os.terminal_size((40, 20)))
    return Terminal()


def wait_until(stream: io.StringIO, text: str) -> None:
    until = time.monotonic() + 20
    while text not in stream.getvalue():
        assert time.monotonic() < until, stream.getvalue()
        time.sleep(0.01)


def test_a_terminal_shows_it_at_once_cut_to_its_width(terminal: Terminal) -> None:
    with Activity(stream=terminal, patience=100) as activity:
        activity.doing("measuring this machine: 2 of 5 batch sizes (once for this shape)")
        assert terminal.getvalue().startswith("\r") and "measuring this machine: 2 of 5 batch" in terminal.getvalue()
    for line in re.split(r"\r|\x1b\[K", terminal.getvalue()):
        assert len(line) <= 39
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_the_time_stands_before_what_may_be_cut_off(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    activity = Activity(stream=terminal, patience=1)
    monkeypatch.setattr(subject.threading.Thread, "start", lambda self: None)
    now = [100.0]
    monkeypatch.setattr(subject.time, "monotonic", lambda: now[0])
    activity.doing("measuring: 1 of 5 (once)")
    now[0] = 107.0
    activity.doing("measuring: 2 of 5 (once)")
    assert "measuring: 2 of 5, 7 s (once)" in terminal.getvalue()
    activity.doing("loading torch")  # another thing has its own time
    assert terminal.getvalue().rstrip("\x1b[K").endswith("loading torch")


def test_sentences_stay_above_the_line(terminal: Terminal) -> None:
    with Activity(stream=terminal, patience=100) as activity:
        activity.doing("loading torch")
        activity.say("2 layers of 128")
        after = terminal.getvalue().rpartition("2 layers of 128\n")
        assert after[0].endswith("\r\x1b[K") and "loading torch" in after[2]


def test_long_sentences_break_between_words_below_their_subject(terminal: Terminal) -> None:
    with Activity(stream=terminal) as activity:
        activity.say("model    689k parameters: 2 layers, 128 wide, 2 heads")
        activity.say("data/300k is where the tokens of it lie, every one")
        activity.say("x" * 60)
    assert terminal.getvalue().splitlines() == [
        "model    689k parameters: 2 layers, 128",
        "         wide, 2 heads",
        "data/300k is where the tokens of it lie,",
        "every one",
        "x" * 60,
    ]
    stream = io.StringIO()
    Activity(stream=stream).say("model    " + "wide " * 60)
    assert stream.getvalue() == "model    " + "wide " * 60 + "\n"


def test_elsewhere_one_plain_line_says_what_takes_long() -> None:
    stream = io.StringIO()
    with Activity(stream=stream, patience=0.01) as activity:
        activity.doing("measuring this machine: 1 of 5 batch sizes")
        wait_until(stream, "1 of 5")
        activity.doing("measuring this machine: 2 of 5 batch sizes")
        activity.doing("trying torch.compile: about 30 s")
        wait_until(stream, "compile")
    assert stream.getvalue() == "measuring this machine: 1 of 5 batch sizes\ntrying torch.compile: about 30 s\n"


def test_what_is_quick_is_no_line_and_quiet_says_nothing() -> None:
    stream = io.StringIO()
    with Activity(stream=stream, patience=100) as activity:
        activity.doing("starting")
        activity.doing("loading torch")
    assert stream.getvalue() == ""
    with Activity(stream=stream, quiet=True, patience=0) as activity:
        activity.doing("starting")
        activity.say("a sentence")
        time.sleep(0.15)
    assert stream.getvalue() == ""


def on_a_terminal(program: str, columns: int = 80, **environment: str) -> str:
    """What a terminal of so many columns is sent by a program of Python's."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    shown = b""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=environ | {"TERM": "xterm"} | environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    ) as process:
        os.close(slave)
        while True:
            ready, _, _ = select.select([master], [], [], 0.2)
            if ready:
                try:
                    part = os.read(master, 1 << 16)
                except OSError:  # nobody has the other side any more
                    break
                shown += part
            elif process.poll() is not None:
                break
    os.close(master)
    return shown.decode("utf-8", "replace")


# torch's place is taken by a finder that leaves: what was shown was shown before torch's seconds
BEFORE_TORCH = """
import sys
class Leaves:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            sys.stderr.write("<torch>"); sys.stderr.flush(); import os; os._exit(0)
sys.meta_path.insert(0, Leaves())
from pylm.cli import run
sys.exit(run(sys.argv[1:] or {words!r}))
"""


def test_there_is_a_sign_of_life_before_torch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a little text, and a little more of it. " * 300)
    words = ["train", str(tmp_path / "text.txt")]
    program = f"import os; os.chdir({str(tmp_path)!r})\n" + BEFORE_TORCH.format(words=words)
    shown = on_a_terminal(program, PYLM_CACHE=str(tmp_path / "cache"))
    before, _, _ = shown.partition("<torch>")
    assert "<torch>" in shown and "starting" in before and "loading torch" in before
    assert "tokenize" in before  # the bar, between the two
    assert not (tmp_path / "runs").exists()


def test_nothing_heavy_is_imported_before_the_first_sign() -> None:
    program = (
        "import sys\nfrom pylm.cli.frame import activity\n"
        "def doing(self, text):\n"
        "    print(sorted({'torch', 'numpy', 'pydantic', 'pylm._rust', 'rich'} & sys.modules.keys())); sys.exit(0)\n"
        "activity.Activity.doing = doing\n"
        "from pylm.cli import run\nsys.exit(run(['train', 'x.txt']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_a_note_is_never_written_into_a_bar() -> None:
    program = (
        "import time\nfrom pylm.cli.frame.progress import Progress\n"
        "with Progress('tokenize', unit='bytes', total=4e6) as p:\n"
        "    p(1e6); time.sleep(0.2)\n"
        "    p.say('no --tokenizer: ' + 'building a vocabulary ' * 6 + '[bold]')\n"
        "    p(2e6); time.sleep(0.2)\n"
    )
    shown = on_a_terminal(program)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    (line,) = [line for line in re.split("[\r\n]+", plain) if "no --tokenizer" in line]
    assert line == "no --tokenizer: " + "building a vocabulary " * 6 + "[bold]"


def test_elsewhere_a_note_is_a_line() -> None:
    stream = io.StringIO()
    with Progress("tokenize", stream=stream) as progress:
        progress.say("a note")
    with Progress("tokenize", stream=stream, quiet=True) as progress:
        progress.say("another")
    assert stream.getvalue() == "a note\n"
