"""Writing to stderr never ends what is being done."""

from __future__ import annotations

import errno
import io
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from pylm.cli.frame.enduring import STREAMS, enduring_stderr, open_streams
from pylm.runs import View


def broken_pipe() -> io.TextIOWrapper:
    read, write = os.pipe()
    os.close(read)
    return open(write, "w", buffering=1, encoding="utf-8")


def test_a_pipe_that_nobody_reads_swallows_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with broken_pipe() as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        with pytest.raises(BrokenPipeError):
            print("x", file=sys.stderr)
        with enduring_stderr():
            for _ in range(3):
                print("x", file=sys.stderr)
                click.echo("y", err=True)
                View(3).remark("z")
            os.write(pipe.fileno(), b"past Python")
        assert sys.stderr is pipe


def test_no_descriptor_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def next_free() -> int:
        free = os.open(os.devnull, os.O_RDONLY)
        os.close(free)
        return free

    with broken_pipe() as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        free = next_free()
        with enduring_stderr():
            print("x", file=sys.stderr)
        assert next_free() == free


def test_what_is_read_arrives(capsys: Any) -> None:
    with enduring_stderr():
        click.echo("one", err=True)
        sys.stderr.writelines(["two\n", "three\n"])
        assert not sys.stderr.isatty() and sys.stderr.encoding.lower() == "utf-8"
    assert capsys.readouterr().err == "one\ntwo\nthree\n"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EPIPE])
def test_a_terminal_that_is_gone_and_a_full_disk_are_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sys, "stderr", Gone())
    with enduring_stderr():
        print("x", file=sys.stderr, flush=True)


def test_a_closed_stderr_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with enduring_stderr():
        assert sys.stderr is None


def test_an_error_of_the_work_is_none_of_ours(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), enduring_stderr():
        (tmp_path / "none").read_text()


def test_streams_that_the_caller_closed_are_open_to_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STREAMS:
        monkeypatch.setattr(sys, name, None)
    with open_streams():
        assert sys.stdin is None and not sys.stderr.isatty() and print("x") is None
        click.echo("y", err=True)
    assert sys.stdin is sys.stdout is sys.stderr is None


# what a shell leaves of `pylm … <&- >&- 2>&-`: no file may get those numbers, which libraries write to
CLOSED = """
import os, sys
for number in {closed}:
    os.close(number)
os.execv(sys.executable, [sys.executable, "-c", {child!r}, {to!r}])
"""
CHILD = """
import os, sys
from pylm.cli.frame.enduring import open_streams
with open_streams():
    file = open(sys.argv[1], "w")
    os.write(1, b"past Python")
    os.write(2, b"past Python")
    print("said"); print("said", file=sys.stderr)
    file.write(repr(file.fileno() > 2))
    file.close()
"""


@pytest.mark.parametrize("closed", [(1, 2), (0, 1, 2), (2,), (1,)])
def test_no_file_gets_the_number_of_a_stream(tmp_path: Path, closed: tuple[int, ...]) -> None:
    to = tmp_path / "file"
    line = [sys.executable, "-c", CLOSED.format(closed=closed, child=CHILD, to=str(to))]
    assert subprocess.run(line, capture_output=True, check=False).returncode == 0
    assert to.read_text() == "True"


def test_training_goes_on_without_any_stream(tmp_path: Path) -> None:
    (tmp_path / "my.txt").write_text("the cat sat on the mat. " * 300)
    words = [
        "train",
        "my.txt",
        "--out",
        "r",
        "--max-steps",
        "2",
        "--n-layers",
        "1",
        "--n-heads",
        "2",
        "--d-model",
        "16",
    ]
    words += ["--context-length", "16", "--device", "cpu", "--compile", "false", "--micro-batch", "2"]
    shell = f"exec {shlex.quote(sys.executable)} -m pylm {shlex.join(words)} <&- >&- 2>&-"
    environ = {**os.environ, "PYLM_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, env=environ, check=False)
    assert done.returncode == 0 and (tmp_path / "r/checkpoints/step_2").is_dir()
