"""A tuning that is killed, again and again, in each of its phases.

Every attempt is a child that SIGKILL ends so many seconds after the n-th event of a kind; the last one is left alone.
Children are forked of a process that has imported everything and started no thread, so that an attempt costs what its
steps cost.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from pylm.runs import read_lines

__all__ = ["STEPS_OF_KILL", "left", "plan", "tuned"]

ROOT = Path(__file__).resolve().parents[2]
Kill = tuple[str, int, float]
# what a kill hits, in the order of a run: an event, by its name or the first word of its text, and the numbers of its
# kind after which it may be time. A resumed run counts from one.
PHASES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("reading", (1,)),
    ("Stepped", (1, 2, 3)),
    ("Stepped", (4, 6, 7)),  # among them are evaluations, samples and checkpoints
    ("judging", (1, 2)),
    ("Derived", (1,)),
)
STEPS_OF_KILL = 4  # that a run needs for each, so that there is always something left of it
LONGEST = 0.03  # seconds after the event
VOLATILE = {"seconds", "tokens_per_second", "phase", "mfu", "memory", "time"}


def plan(count: int, seed: int) -> list[Kill]:
    """Return kills, as many of each phase: the event, its number, and the seconds after it."""
    chance = random.Random(seed)
    order = sorted((PHASES[number % len(PHASES)] for number in range(count)), key=_place)
    # what is judged here is soon done, and nothing comes after it
    late = {event: 0.0 if event == "judging" else LONGEST for event, _ in PHASES}
    return [
        (event, chance.choice(numbers), chance.choice((0.0, chance.uniform(0, late[event]))))
        for event, numbers in order
    ]


def _place(phase: tuple[str, tuple[int, ...]]) -> tuple[int, int]:
    """Return when a run comes to a phase: what is killed in a later one never comes to an earlier one again."""
    return ("reading", "Derived", "Stepped", "judging").index(phase[0]), phase[1][0]


def tuned(call: dict[str, Any], kills: list[Kill]) -> list[int]:
    """Tune with the keywords of a call in another process, which kills end; return how each attempt ended."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.support.killed_tuning", json.dumps({"call": call, "kills": kills})]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    codes: list[int] = json.loads(done.stdout.splitlines()[-1])
    return codes


def left(folder: str | Path) -> dict[str, Any]:
    """Return all that a run leaves, without what time decides."""
    run = Path(folder)
    found: dict[str, Any] = {}
    for name in ("metrics", "samples", "evaluations"):
        lines = read_lines(run / f"{name}.jsonl")
        found[name] = [{key: value for key, value in line.items() if key not in VOLATILE} for line in lines]
    for file in sorted(run.glob("checkpoints/*/*.safetensors")):
        found[str(file.relative_to(run))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


class _Killer:
    """Hears events, and ends the process."""

    def __init__(self, event: str, number: int, after: float) -> None:
        self.event, self.left, self.after = event, number, after

    def __call__(self, event: Any) -> None:
        if self.event not in (type(event).__name__, getattr(event, "text", "").partition(" ")[0]):
            return
        self.left -= 1
        if self.left == 0 and not self.after:
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.left == 0:
            threading.Timer(self.after, os.kill, (os.getpid(), signal.SIGKILL)).start()


def _attempt(call: dict[str, Any], kill: Kill | None) -> int:
    import pylm

    if (pid := os.fork()) == 0:
        try:
            pylm.finetune(**call, on_event=(lambda event: None) if kill is None else _Killer(*kill))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _main(asked: dict[str, Any]) -> None:
    import pylm.evaluation.answered
    import pylm.finetuning.run
    import pylm.generation.native_engine
    import pylm.training.torch_backend.backend  # noqa: F401

    print(json.dumps([_attempt(asked["call"], kill) for kill in (*asked["kills"], None)]))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
