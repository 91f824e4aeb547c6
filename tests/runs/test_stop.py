"""The first signal asks, the second leaves: what is said, with which code, and whom it must not take along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from pylm.runs import SignalStop

TWICE = """
import os, signal, sys
{before}
from pylm.runs import SignalStop
with SignalStop() as stop:
    stop.last_words = lambda: {words}
    try:
        for _ in range(2):
            os.kill(os.getpid(), signal.{number})
    except KeyboardInterrupt:
        print("lives on", stop())
        sys.exit(5)
print("not reached")
"""


def twice(
    number: str = "SIGINT", words: str = "'step_2 is kept'", before: str = ""
) -> subprocess.CompletedProcess[str]:
    code = TWICE.format(number=number, words=words, before=before)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_the_second_signal_leaves_at_once_and_says_what_is_kept(number: str, code: int) -> None:
    done = twice(number)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == "\nstopping after this step; again stops at once\n\nstep_2 is kept\n"


def test_a_batch_system_may_ask_as_often_as_it_likes() -> None:
    done = twice("SIGUSR1")
    assert (done.returncode, done.stdout) == (0, "not reached\n")
    assert done.stderr == "\nstopping after this step\n"


def test_one_of_several_that_does_not_speak_leaves_in_silence() -> None:
    code = TWICE.format(number="SIGTERM", words="'step_2 is kept'", before="").replace(
        "SignalStop()", "SignalStop(str, False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")


def test_last_words_that_fail_keep_nobody() -> None:
    done = twice(words="1 / 0")
    assert done.returncode == 130 and done.stderr.endswith("\nleft at once\n")


def test_nobody_reading_is_no_reason_to_stay() -> None:
    done = twice(before="read, write = os.pipe(); os.dup2(write, 2); os.close(read)")
    assert done.returncode == 130


@pytest.mark.parametrize("before", ["sys.ps1 = '>>> '", "import types; sys.modules['ipykernel'] = types"])
def test_a_notebook_outlives_the_second_signal(before: str) -> None:
    done = twice(before=before)
    assert (done.returncode, done.stdout) == (5, "lives on True\n")


def test_outside_of_the_main_thread_nothing_is_listened_to() -> None:
    handler = signal.getsignal(signal.SIGINT)
    found: list[Any] = []

    def work() -> None:
        with SignalStop() as stop:
            found.append((stop(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, handler)]


def test_the_handlers_of_before_are_put_back() -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with SignalStop() as stop:
        assert signal.getsignal(signal.SIGTERM) != handler
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop() and stop.exit_code == 75
    assert signal.getsignal(signal.SIGTERM) == handler
