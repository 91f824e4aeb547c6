"""What is run when something goes wrong in a run: the caller's own program, told of it as JSON.

Which program is no key of the configuration. Whoever sends somebody a run, a recipe or a configuration would else have
them run it; it is an option, an argument of `pylm.train`, or stands in a file of the user's own.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pylm.config.yaml_file import read_yaml
from pylm.errors import ConfigError, UsageError
from pylm.runs.lines import plain

__all__ = ["Alarm", "program_of", "program_of_user"]

SECONDS = 30.0  # that it may take
WAITING = 16  # incidents while it runs; of more, nothing is run


def program_of(asked: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the program that is run on an incident, with its arguments; the user's own file has it where None.

    Args:
        asked: A list of arguments, or a line of them, which is cut at spaces and never given to a shell.
    """
    if asked is None:
        return program_of_user()
    try:
        words = shlex.split(asked) if isinstance(asked, str) else list(asked)
    except ValueError as error:
        raise UsageError(f"on_incident {asked!r} is no list of arguments: {error}", "close the quote") from None
    return _checked(words, "on_incident")


def program_of_user() -> tuple[str, ...] | None:
    """Return what the user's own file names: `on_incident` in ~/.config/pylm/user.yaml."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # where there is no home, no folder
    path = Path(home, "pylm", "user.yaml")
    if not path.is_file():
        return None
    values = read_yaml(path).values
    if strange := values.keys() - {"on_incident"}:
        raise ConfigError(f"{path} has {', '.join(sorted(strange))}", "it may have on_incident, and nothing else")
    words = _checked(values.get("on_incident"), f"{path}: on_incident")
    if "/" in words[0] and not os.path.isabs(words[0]):
        raise ConfigError(f"{path}: {words[0]} would be another program in each folder", "write its whole path")
    return words


def _checked(words: Any, where: str) -> tuple[str, ...]:
    """Return the words of a program that is there."""
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word for word in words):
        raise UsageError(f"{where} is no list of arguments", "such as [notify-send, pylm]")
    if shutil.which(words[0]) is None:
        raise UsageError(f"{where}: there is no program {words[0]}", "name one that can be run from here")
    return tuple(words)


class Alarm:
    """Runs the program once an incident, one at a time, in a thread; `failures` has the first thing that went wrong."""

    def __init__(self, program: Sequence[str], run: Path) -> None:
        """Wait for incidents."""
        self.failures: deque[str] = deque()
        self._program, self._run, self._failed = list(program), run, False
        self._incidents: queue.Queue[Mapping[str, Any] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name="pylm-on-incident", daemon=True)
        self._thread.start()

    def __call__(self, incident: Mapping[str, Any]) -> None:
        """Have the program told of an incident, without waiting for it."""
        try:
            self._incidents.put_nowait(incident)
        except queue.Full:
            self._fail(f"{WAITING} incidents wait for it, and more are not told")

    def finish(self) -> None:
        """Wait for what is told by now, as long as one may take."""
        try:
            self._incidents.put(None, timeout=SECONDS)
        except queue.Full:
            return
        self._thread.join(SECONDS)

    def _work(self) -> None:
        while (incident := self._incidents.get()) is not None:
            if why := self._tell(incident):
                self._fail(why)

    def _tell(self, incident: Mapping[str, Any]) -> str | None:
        """Run the program; return what went wrong."""
        told = {"run": str(self._run.resolve()), **incident}
        line = json.dumps(plain(told)).encode() + b"\n"
        about = {"PYLM_RUN": told["run"], "PYLM_INCIDENT": str(incident["kind"]), "PYLM_STEP": str(incident["step"])}
        try:
            done = subprocess.run(
                self._program, input=line, timeout=SECONDS, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                env={**os.environ, **about}, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"it was still running after {SECONDS:.0f} s, and was ended"
        except OSError as error:
            return str(error)
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        return None if done.returncode == 0 else f"it ended with {done.returncode}{': ' if last else ''}{''.join(last)}"

    def _fail(self, why: str) -> None:
        if not self._failed:
            self._failed = True
            self.failures.append(why)
