"""A step as a process of its own, which ends when whoever started it is gone.

A process gives its memory back, survives nothing of the step before it, and may be killed without the recipe's. It is
started as `python -m pylm.recipes.child FD WORDS…`: the words are those of a command line and pass no shell; FD is the
end of a pipe whose other end only the driver has. Where that closes, the step is asked to end as SIGTERM asks, so that
a training saves first.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pylm.errors import UsageError

__all__ = ["refuse_programs", "run_step"]

RUNS_PROGRAM = "on-incident"  # the option that does
LOOKED = 0.2  # seconds between two looks at the log
TAIL = 4096
GRACE = 120.0  # seconds for a step that was asked to end


def run_step(
    words: Sequence[str], *, folder: Path, log: Path, answer: Path, lock: int | None = None,
    told: Callable[[str], object] = lambda line: None,
) -> int:  # fmt: skip
    """Run a command and return its exit code; a step that is interrupted is asked to end, and waited for.

    Args:
        words: of the command line, without `pylm`.
        folder: where it runs: no pylm.yaml of the caller's is beside it.
        log: the file that gets what it says.
        answer: the file that gets what it prints.
        lock: a file that it holds with us.
        told: called with the newest line of the log.
    """
    refuse_programs(words, "a step")
    ours, theirs = os.pipe()
    passed = (ours,) if lock is None else (ours, lock)
    line = [sys.executable, "-m", "pylm.recipes.child", str(ours), *words]
    with log.open("ab") as said, answer.open("wb") as printed:
        child = subprocess.Popen(
            line, cwd=folder, env=_environment(), stdin=subprocess.DEVNULL, stdout=printed, stderr=said,
            pass_fds=passed, start_new_session=True,
        )  # fmt: skip
    os.close(ours)
    try:
        return _watched(child, log, told)
    except BaseException:
        child.terminate()
        try:
            child.wait(GRACE)
        except BaseException:  # asked again, or it does not end
            child.kill()
            child.wait()
        raise
    finally:
        os.close(theirs)


def refuse_programs(words: Iterable[str], where: str) -> None:
    """Refuse words that name a program to be run: a recipe may be anybody's, and so may what it stands in."""
    for word in words:
        if word.startswith("-") and word.lstrip("-").replace("_", "-").startswith(RUNS_PROGRAM):
            hint = "leave it out: ~/.config/pylm/user.yaml may have it, for every training"
            raise UsageError(f"{where} has {RUNS_PROGRAM}, which runs a program: no recipe may", hint)


def _watched(child: subprocess.Popen[bytes], log: Path, told: Callable[[str], object]) -> int:
    """Wait for it, and tell its newest line now and then."""
    known = _last_line(log)  # of what an earlier go said
    while True:
        try:
            return child.wait(LOOKED)
        except subprocess.TimeoutExpired:
            if (newest := _last_line(log)) and newest != known:
                known = newest
                told(newest)


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - TAIL, 0))
        lines = file.read().decode("utf-8", "replace").split("\n")
    return lines[-2].strip() if len(lines) > 1 else ""


def _environment() -> dict[str, str]:
    """Return ours without the keys of the configuration: they would change what no fingerprint sees."""
    kept = {name: value for name, value in os.environ.items() if not (name.startswith("PYLM_") and "__" in name)}
    if "PYLM_CACHE" in kept:
        kept["PYLM_CACHE"] = os.path.abspath(kept["PYLM_CACHE"])
    return kept


def _end_with(pipe: int) -> None:
    """Ask this process to end once nobody holds the other end of a pipe; end it where that does not."""
    while os.read(pipe, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(int(sys.argv[1]),), daemon=True).start()
    sys.argv = ["pylm", *sys.argv[2:]]
    runpy.run_module("pylm", run_name="__main__", alter_sys=True)
