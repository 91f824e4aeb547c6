"""Writing to stderr never ends what is being done."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from pylm.cli.enduring import enduring_stderr
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
