"""A tuning that is killed, again and again: `python -m tests.support.killed_tuning '{"call": {…}, "kills": [[…], …]}'`.

Every attempt is a child that SIGKILL ends so many seconds after the n-th event of a kind; the last one is left alone.
Prints the signals that ended them, as JSON. Children are forked of a process that has imported everything and started
no thread, so that an attempt costs what its steps cost.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import traceback
from typing import Any

# an event, and the number of its kind after which it is time; with what it is in the middle of then
PHASES: dict[str, tuple[str, tuple[int, ...]]] = {
    "reading examples": ("reading", (1,)),
    "before the first step": ("Derived", (1,)),
    "the first steps": ("Stepped", (1, 2, 3)),
    "steps and checkpoints": ("Stepped", (6, 9, 12)),
    "judging": ("Ended", (1,)),
}
LONGEST = 0.03  # seconds after the event


def plan(count: int, seed: int) -> list[tuple[str, int, float]]:
    """Return kills, of the phases in turn: the event, its number, and the seconds after it."""
    chance = random.Random(seed)
    phases = list(PHASES.values())
    order = [phases[number % len(phases)] for number in range(count)]
    return [
        (event, chance.choice(numbers), chance.choice((0.0, chance.uniform(0, LONGEST)))) for event, numbers in order
    ]


class _Killer:
    """Hears events, and ends the process."""

    def __init__(self, event: str, number: int, after: float) -> None:
        self.event, self.left, self.after = event, number, after

    def __call__(self, event: Any) -> None:
        names = (type(event).__name__, getattr(event, "text", "").split(" ")[0])
        self.left -= self.event in names
        if self.left == 0 and self.event in names:
            if not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Timer(self.after, os.kill, (os.getpid(), signal.SIGKILL)).start()


def attempt(call: dict[str, Any], kill: tuple[str, int, float] | None) -> int:
    """Tune in a child, which a kill ends; return its wait status."""
    import pylm

    if (pid := os.fork()) == 0:
        try:
            pylm.finetune(**call, on_event=(lambda event: None) if kill is None else _Killer(*kill))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(asked: dict[str, Any]) -> None:
    import pylm.evaluation.answered
    import pylm.finetuning.run
    import pylm.generation.native_engine
    import pylm.training.torch_backend.backend  # noqa: F401

    print(json.dumps([attempt(asked["call"], kill) for kill in (*asked["kills"], None)]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
