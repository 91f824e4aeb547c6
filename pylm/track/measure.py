"""An entry of the track: cut the text, train on it under the clock as a user would, score what was held back."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from pylm.errors import PylmError, UsageError
from pylm.host import processor_name
from pylm.track.held_out import cut, documents
from pylm.track.score import bits_per_byte, xz_bits_per_byte
from pylm.wording import call, in_options, param

__all__ = ["Entry", "Trained", "measure", "trained"]

REHEARSED = 1.0  # seconds of training in the rehearsal
LARGEST_SHARE = 0.8  # of the time may go by without training


@dataclass(frozen=True)
class Trained:
    """A model, and the seconds from the text file to it."""

    checkpoint: Path
    seconds: float
    tokens: int
    parameters: int


@dataclass(frozen=True)
class Entry:
    """How far a machine came: the held-out text's bits per byte, those of xz, and what it took."""

    bits_per_byte: float
    xz_bits_per_byte: float
    seconds: float  # from the text file to the saved model
    tokens: int  # that it was trained on
    parameters: int
    held_out_bytes: int
    machine: str


def measure(
    text: str | os.PathLike[str], time: float = 300.0, *, say: Callable[[str], None] = lambda text: None
) -> Entry:
    """Train on a text for a time and return how well the model foresees what was held back.

    The clock starts with the text file and covers the tokenizer, the shards, compiling, training and saving. A
    hundredth of the text, by whole documents, is held back first, and scored afterwards. See docs/track.md.

    Args:
        text: a UTF-8 file, its documents separated by <|endoftext|>.
        time: seconds from the text to the saved model.
        say: told what is being done.
    """
    if not Path(text).is_file():
        raise UsageError(f"{os.fspath(text)}: no such file", "name a plain text, such as my.txt")
    with tempfile.TemporaryDirectory(prefix="pylm-track-") as scratch:
        train, held = cut(Path(text), Path(scratch))
        say(f"{train.stat().st_size:,} bytes to train on, {held.stat().st_size:,} held back")
        model = trained(train, time, Path(scratch), say=say)
        say("scoring what was held back")
        return Entry(
            bits_per_byte=bits_per_byte(model.checkpoint, held),
            xz_bits_per_byte=xz_bits_per_byte(train, held),
            seconds=model.seconds,
            tokens=model.tokens,
            parameters=model.parameters,
            held_out_bytes=sum(map(len, documents(held))),
            machine=machine(),
        )


def machine() -> str:
    """Return the processor, its cores, and what the kernels use of it."""
    from pylm import _native

    return f"{processor_name()}, {os.cpu_count()} cores, {' '.join(_native.cpu_info()['features'])}"


def trained(
    train: Path,
    seconds: float,
    folder: Path,
    *,
    python: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Trained:
    """Run `pylm train TEXT` so that it is done after so many seconds, and return the model.

    `max_time` counts the steps alone: a rehearsal with one second of them, outside the clock and with caches of its
    own, says how long everything else takes on this text.

    Args:
        train: the text.
        seconds: from its first byte to the saved model.
        folder: for the runs and their caches.
        python: the interpreter, whose pylm it is.
        environment: variables for it beside this process's own.
        say: told what is being done.
    """
    say("a rehearsal, outside the clock: how long all but the steps takes")
    began = monotonic()
    rehearsal = _run(python, train, REHEARSED, folder / "rehearsal", environment)
    beside = monotonic() - began - rehearsal["seconds"]
    if beside > LARGEST_SHARE * seconds:
        enough = param("time", f"{round(2 * beside / LARGEST_SHARE) + 1}s")
        raise UsageError(f"reading the text and saving the model alone takes {beside:.0f} s", f"{enough} is enough")
    say(f"training: {seconds:.0f} s from the text to the model, {seconds - beside:.0f} s of them for steps")
    began = monotonic()
    made = _run(python, train, seconds - beside, folder / "run", environment)
    spent = monotonic() - began
    return Trained(folder / "run" / made["run"], spent, made["tokens"], made["parameters"])


def _run(
    python: str, train: Path, seconds: float, folder: Path, environment: Mapping[str, str] | None
) -> dict[str, Any]:
    folder.mkdir()
    typed = in_options(call("train", train.resolve(), max_time=f"{seconds:.1f}s", json=True))
    command = [python, "-m", *shlex.split(typed)]
    variables = {**os.environ, **(environment or {}), "PYLM_CACHE": str(folder.resolve() / "cache")}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        complaint = re.search(r"error: (.+)(?:\nhint: (.+))?", done.stderr)
        message, hint = complaint.groups() if complaint else (f"training ended with {done.returncode}", None)
        raise PylmError(message, hint)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
