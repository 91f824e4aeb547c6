"""What a rank elsewhere writes is shown, what the launcher is asked reaches it, and a code is everybody's."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pylm.training.launch import relay as subject
from pylm.training.launch.codes import LOST
from pylm.training.launch.relay import asked_to_leave, launcher, left_by_themselves, run_as_told, tell

RANK = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved"), sys.exit(75)))
print("a page of ünicode", file=sys.stderr, flush=True)
pathlib.Path(sys.argv[1]).touch()
time.sleep(20)
"""


def leaves_with(code: int) -> list[str]:
    return [sys.executable, "-c", f"import sys; print('said'); sys.exit({code})"]


def test_what_the_first_rank_writes_is_shown_and_nothing_of_the_others(tmp_path: Path, capsys: Any) -> None:
    with launcher(tmp_path / "runs" / "x") as here:
        assert here.folder.parent == tmp_path / "runs" and not here.begun()
        ended = here.attend(lambda: run_as_told(leaves_with(0), os.environ, here.folder, 0), lambda: None)
        assert ended == 0 and here.begun()
        assert run_as_told(leaves_with(0), os.environ, here.folder, 1) == 0
        tell(here.folder, "rank 1 is gone")
        assert left_by_themselves(here.folder) == b"" and asked_to_leave(here.folder) == 0
    assert capsys.readouterr() == ("said\n", "rank 1 is gone\n")
    assert not list((tmp_path / "runs").iterdir())


def test_half_a_line_waits_for_its_other_half(tmp_path: Path, capsys: Any) -> None:
    with launcher(tmp_path / "x") as here:
        with (here.folder / "out").open("ab") as out:
            out.write("one\nzwö".encode()[:-1])
            out.flush()
            here.show()
            assert capsys.readouterr().out == "one\n"
            out.write("zwö\n".encode()[-2:])
    assert capsys.readouterr().out == "zwö\n"


def test_what_the_launcher_is_asked_reaches_a_rank_which_saves(tmp_path: Path, capsys: Any) -> None:
    command = [sys.executable, "-c", RANK, str(tmp_path / "ready")]
    codes = []
    with launcher(tmp_path / "x") as here:
        rank = threading.Thread(target=lambda: codes.append(run_as_told(command, os.environ, here.folder, 0)))
        rank.start()
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        rank.join(9)
        assert codes == [75] and left_by_themselves(here.folder) == b"\x4b"
        assert asked_to_leave(here.folder) == 128 + signal.SIGTERM
        with pytest.raises(SystemExit) as left:  # the second time
            here.pass_on(signal.SIGINT)
        assert left.value.code == 130
    assert capsys.readouterr() == ("saved\n", "a page of ünicode\n")


def test_a_rank_that_was_asked_before_it_could_save_was_not_lost(tmp_path: Path) -> None:
    with launcher(tmp_path / "x") as here:
        (here.folder / "begun").write_bytes(b"\1")
        codes: list[int] = []
        command = [sys.executable, "-c", "import time; time.sleep(20)"]
        rank = threading.Thread(target=lambda: codes.append(run_as_told(command, os.environ, here.folder, 0)))
        rank.start()
        time.sleep(0.1)
        here.pass_on(signal.SIGUSR1)
        rank.join(9)
        assert codes == [128 + signal.SIGUSR1] and left_by_themselves(here.folder) == bytes(codes)


def test_a_sentence_that_the_first_does_not_say_is_shown(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(subject, "SETTLING", 0)
    says = [sys.executable, "-c", "import sys; sys.exit('error: no such file')"]
    with launcher(tmp_path / "x") as here:
        assert run_as_told(says, os.environ, here.folder, 3) == 1
    assert capsys.readouterr() == ("", "rank 3: error: no such file\n")
    with launcher(tmp_path / "x") as here:
        monkeypatch.setattr(subject, "SETTLING", 1)
        other = threading.Thread(target=run_as_told, args=(says, os.environ, here.folder, 3))
        other.start()
        assert run_as_told(says, os.environ, here.folder, 0) == 1
        other.join(9)
    assert capsys.readouterr() == ("", "error: no such file\n")


@pytest.mark.parametrize(("code", "told"), [(3, b"\3"), (LOST, b"")])
def test_a_code_of_its_own_is_told_and_a_lost_rank_has_none(tmp_path: Path, code: int, told: bytes) -> None:
    with launcher(tmp_path / "x") as here:
        assert run_as_told(leaves_with(code), os.environ, here.folder, 0) == code
        assert left_by_themselves(here.folder) == told


def test_where_no_rank_was_started_a_signal_waits_for_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(subject, "PATIENCE", 0.1)
    waited = []

    def late() -> None:
        waited.append(1)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as left, launcher(tmp_path / "x") as here:
        here.attend(lambda: time.sleep(20), late)
    assert left.value.code == 130 and waited == [1] and signal.getsignal(signal.SIGINT) is before


def test_what_starting_raises_is_raised(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError("no room")

    with launcher(tmp_path / "x") as here, pytest.raises(OSError, match="no room"):
        here.attend(fail, lambda: None)
