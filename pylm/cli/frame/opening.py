"""Which model writes: the options of sample and chat that name it, and what is said of runs that have no model yet."""

from __future__ import annotations

import os
from collections.abc import Callable
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
    from pylm.checkpoint import steps
    from pylm.generation.load import open_session
    from pylm.runs.unsaved import how_far, in_training, runs_in, when_it_saves

    named = options["checkpoint"]
    try:
        session = open_session(**options, say=say)
    except CheckpointError as error:
        runs = [Path(named)] if named else runs_in(RUNS)
        run = next(in_training(runs), None)
        if run is None or (not named and any(map(steps, runs))):  # then the error is about one that has a checkpoint
            raise
        raise CheckpointError(how_far(run), when_it_saves(run)) from error
    if named is None:
        for run in in_training(runs_in(RUNS)):
            say(f"{how_far(run)}; this is an older run:")
    say(f"{os.path.relpath(session.name)}: {session.engine.name}")
    return session
