"""Ranks that leave, are killed, or are told to: what starts again, what is said, and the one code of all.

The ranks are programs of a line, and the oracle is what a shell says of a process: its exit code.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pylm.errors import PylmError, UsageError
from pylm.training.launch import agent as subject
from pylm.training.launch.agent import run_agent
from pylm.training.launch.codes import LOST, can_start_again, code_of_all, ended_by
from pylm.training.launch.store import meeting

# torch leaves the files open into which it writes what ranks say
pytestmark = pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning")

HEAD = """
import os, signal, sys, time
rank, start = int(os.environ["RANK"]), int(os.environ["TORCHELASTIC_RESTART_COUNT"])
def note(text):
    with open(f"{os.environ['NOTES']}/{start}.{rank}", "a") as file: file.write(text)
def die(number):
    os.kill(os.getpid(), number); time.sleep(9)
"""


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NOTES", str(tmp_path))
    monkeypatch.setenv("TORCHELASTIC_SIGNALS_TO_HANDLE", "")
    monkeypatch.setattr(subject, "SETTLING", 0.3)
    said: list[str] = []

    def launch(program: str, max_restarts: int = 1, saving: int = 3) -> tuple[int, list[str], dict[str, str]]:
        command = [sys.executable, "-ISc", HEAD + program]
        try:
            code = run_agent(command, 2, meeting(None)[0], max_restarts=max_restarts, say=said.append, saving=saving)
        finally:
            notes = {file.name: file.read_text() for file in sorted(tmp_path.iterdir())}
        return code, said, notes

    return launch


def interrupt(number: signal.Signals, once: str) -> None:
    """Send a signal to this process once both ranks have noted something."""
    notes = Path(os.environ["NOTES"])

    def send() -> None:
        while sum(once in file.read_text() for file in notes.iterdir()) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


def test_what_all_do_well_is_done_once(launched: Any) -> None:
    code, said, notes = launched("note(os.environ['WORLD_SIZE'] + os.environ['LOCAL_RANK'])")
    assert (code, said, notes) == (0, [], {"0.0": "20", "0.1": "21"})


@pytest.mark.parametrize("code", [1, 2, 3, 75, 130])
def test_a_rank_that_leaves_with_a_sentence_is_not_started_again(launched: Any, code: int) -> None:
    found, said, notes = launched(f"note('.'); sys.stderr.write('error: so\\n'); sys.exit({code} if rank else {LOST})")
    assert (found, said, notes) == (code, ["rank 1: error: so"], {"0.0": ".", "0.1": "."})


def test_what_the_first_rank_has_said_itself_is_not_said_again(launched: Any) -> None:
    assert launched("sys.exit(2)") == (2, [], {})


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_rank_is_started_again_with_all_others(launched: Any, number: signal.Signals) -> None:
    code, said, notes = launched(f"note('.'); start or (rank and die({number}) or time.sleep(9))")
    assert code == 0 and notes == {"0.0": ".", "0.1": ".", "1.0": ".", "1.1": "."}
    assert said == [f"rank 1 was ended by {number.name}: all start again from the last checkpoint (1 of 1 new starts)"]


def test_those_that_lost_a_rank_are_started_again_with_it(launched: Any) -> None:
    code, _, notes = launched(f"note('.'); start or (rank and die(9) or sys.exit({LOST}))")
    assert code == 0 and len(notes) == 4


def test_a_rank_that_is_stopped_does_not_hold_up_the_new_start(launched: Any) -> None:
    began = time.monotonic()
    code, _, notes = launched(f"note('.'); start or (rank and die(signal.SIGSTOP) or sys.exit({LOST}))")
    assert code == 0 and len(notes) == 4 and time.monotonic() - began < 3  # it hears no SIGTERM, which has 3 s


def test_what_is_said_of_a_first_rank_that_is_stopped_is_passed_on(launched: Any) -> None:
    second = f"sys.stderr.write('error: rank 0 hangs'), sys.exit({LOST})"
    code, said, _ = launched(f"start or (rank or die(signal.SIGSTOP)); start or ({second})")
    assert code == 0 and said[0] == "rank 1: error: rank 0 hangs" and len(said) == 2


def test_a_rank_that_is_killed_again_and_again_is_given_up(launched: Any) -> None:
    with pytest.raises(PylmError, match="rank 1 was ended by SIGKILL, and 1 new starts did not help") as error:
        launched("rank and die(9); time.sleep(9)")
    assert error.value.exit_code == 1 and "goes on from the last checkpoint" in str(error.value.hint)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_reaches_each_rank_once_and_the_code_is_theirs(launched: Any, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    interrupt(number, "ready")
    program = f"signal.signal({int(number)}, lambda *_: (note('saved'), sys.exit(75))); note('ready '); time.sleep(9)"
    assert launched(program) == (75, [], {"0.0": "ready saved", "0.1": "ready saved"})
    assert signal.getsignal(number) == before


def test_a_second_signal_reaches_each_rank_too(launched: Any) -> None:
    interrupt(signal.SIGINT, "ready")
    interrupt(signal.SIGINT, "saving")
    hear = "lambda *_: note('saving ') if not heard and not heard.append(1) else (note('gone'), os._exit(130))"
    program = f"heard = []; signal.signal(2, {hear}); note('ready '); [time.sleep(0.05) for _ in range(200)]"
    began = time.monotonic()
    assert launched(program) == (130, [], {"0.0": "ready saving gone", "0.1": "ready saving gone"})
    assert time.monotonic() - began < 3  # nobody waits for what is not saved


@pytest.mark.parametrize(("rank", "code"), [("0", 75), ("1", 75), ("", None)])
def test_one_that_does_not_leave_after_a_signal_is_killed(launched: Any, rank: str, code: int | None) -> None:
    deaf = f"'{rank}' in os.environ['RANK'] and signal.SIG_IGN or (lambda *_: sys.exit(75))"
    program = f"signal.signal(15, {deaf}); note('.'); time.sleep(30)"
    interrupt(signal.SIGTERM, "")
    if code is not None:  # the other has left once all was saved
        assert launched(program, saving=1)[0] == code
        return
    with pytest.raises(PylmError, match="rank 0 was ended by SIGKILL: it had not left 1 s after SIGTERM"):
        launched(program, saving=1)


def test_a_signal_before_anything_was_trained_is_the_code_of_a_shell(launched: Any) -> None:
    interrupt(signal.SIGTERM, "")
    assert launched("note('.'); time.sleep(9)")[:2] == (128 + signal.SIGTERM, [])


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says who listens where")
def test_the_store_listens_on_loopback_only() -> None:
    handler, machines = meeting(None)
    where = handler.next_rendezvous().bootstrap_store_info
    assert where is not None and (where.master_addr, machines) == ("127.0.0.1", 1)
    table = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    listening = [fields[1] for fields in table if fields[3] == "0A" and fields[1].endswith(f":{where.master_port:04X}")]
    assert listening == [f"0100007F:{where.master_port:04X}"]  # as the kernel writes 127.0.0.1


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is taken") as error:
            meeting(f"127.0.0.1:{port},b")
    assert f'nodes="127.0.0.1:{port + 1},…"' in str(error.value.hint)


@pytest.mark.parametrize("nodes", ["", ",", ":1,b", "a:x", "a:0", "a:99999,b"])
def test_nodes_that_are_none_are_refused(nodes: str) -> None:
    with pytest.raises(UsageError, match="names no machine"):
        meeting(nodes)


@pytest.mark.parametrize(
    ("codes", "again", "code", "words"),
    [
        ({0: LOST, 1: -9}, True, 1, "rank 1 was ended by SIGKILL"),
        ({0: LOST, 1: LOST}, True, 1, "rank 0 lost the others"),
        ({0: 75, 1: 75}, False, 75, "rank 0 left with 75"),
        ({0: LOST, 1: 2, 2: 3}, False, 2, "rank 0 lost the others"),
        ({0: 0, 1: -11}, True, 1, "rank 1 was ended by SIGSEGV"),
        ({0: 0, 1: 0}, False, 0, None),
    ],
)
def test_codes_of_ranks_come_to_one(codes: dict[int, int], again: bool, code: int, words: str | None) -> None:
    assert (can_start_again(codes), code_of_all(codes)) == (again, code)
    assert words is None or ended_by(codes) == words
