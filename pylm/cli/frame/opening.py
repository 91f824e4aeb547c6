"""Which model writes: the options of sample and chat that name it, and what is said of runs that have no model yet."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.printing import say
from pylm.cli.frame.types import COUNT
from pylm.errors import CheckpointError

if TYPE_CHECKING:
    from pylm.generation import Session

__all__ = ["engine_options", "open_model"]

RUNS = Path("runs")


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which model writes and what computes it; `open_model` takes them."""
    for option in (
        click.option("--threads", type=COUNT, default="0", help="Threads of the CPU; 0 is one a core."),
        click.option(
            "--quantize",
            type=click.Choice(["none", "bf16", "int8", "int4"]),
            default="none",
            help="Keep the weights smaller, and write faster, on the C++ engine.",
        ),
        click.option(
            "--dtype", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", help="auto: fp32 on a CPU."
        ),
        click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps."),
        click.option(
            "--backend",
            type=click.Choice(["auto", "torch", "native", "mlx"]),
            default="auto",
            help="auto: the C++ engine on a CPU, where it serves the model; MLX on a Mac that has it; else torch.",
        ),
        click.option("--tokenizer", metavar="T", help="For a checkpoint that carries none."),
        click.option(
            "--verify/--no-verify", default=True, help="Check the weights against their manifest, once a file."
        ),
        click.option(
            "--checkpoint",
            metavar="CHECKPOINT",
            shell_complete=complete_runs,
            help="Run, step or folder.  [default: the newest run's best]",
        ),
    ):
        function = option(function)
    return function


def open_model(options: dict[str, Any]) -> Session:
    """Open what `engine_options` named, and say what it is."""
    from pylm.generation.load import open_session

    named = options["checkpoint"]
    try:
        session = open_session(**options, say=say)
    except CheckpointError as error:
        waiting = list(_training([Path(named)] if named else _without_any_checkpoint()))
        if not waiting:
            raise
        raise CheckpointError(_how_far(waiting[0]), _what_to_do(waiting[0])) from error
    if named is None:
        for run in _training(RUNS.iterdir()):
            say(f"{_how_far(run)}; this is an older run:")
    say(f"{os.path.relpath(session.name)}: {session.engine.name}")
    return session


def _without_any_checkpoint() -> list[Path]:
    """Return the runs, where none of them has a checkpoint: where one has, the error is about that one."""
    from pylm.checkpoint import steps

    runs = list(RUNS.iterdir()) if RUNS.is_dir() else []
    return [] if any(map(steps, runs)) else runs


def _training(runs: Any) -> Iterator[Path]:
    """Return those of the folders that a process trains in and that have no checkpoint yet."""
    from pylm.checkpoint import steps

    for run in runs:
        if (run / "config.yaml").is_file() and not steps(run) and _is_held(run / ".lock"):
            yield run


def _is_held(lock: Path) -> bool:
    """Say whether a process holds the lock of a run."""
    try:
        with lock.open("rb") as file:
            os.kill(int(file.read(32)), 0)  # so that the lock is tried only where somebody may hold it
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except PermissionError:
        return True  # a process of somebody else's
    except (OSError, ValueError):
        return False


def _how_far(run: Path) -> str:
    from pylm.runs import read_lines

    steps = [int(record["step"]) for record in read_lines(run / "metrics.jsonl") if "step" in record]
    place = f"at step {steps[-1]:,}" if steps else "at its first steps"
    return f"{run} is training, {place}, and has saved no checkpoint yet"


def _what_to_do(run: Path) -> str:
    from pylm.config.cascade import resolve

    every = resolve(files=[run / "config.yaml"], environ={}).config.train.save_every
    first = f"the first comes at step {every:,}" if every else "it saves at its end"
    return f"{first}; Ctrl-C there saves at once, and pylm train --resume {run} goes on"
