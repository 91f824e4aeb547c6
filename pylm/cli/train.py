"""`pylm train`: tokens to a trained model."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pylm.cli.frame.command import json_option
from pylm.cli.frame.configured import configured
from pylm.cli.frame.training_options import training_options
from pylm.wording import in_options

if TYPE_CHECKING:
    from pylm.config.given import Given

SEVERAL = "training on several devices: not yet"
SPOKEN = 1.0  # seconds that the other processes of a launcher wait for the first
EXAMPLE = """pylm train my.txt
pylm train --data data/mine --preset tiny --max-time 10m
pylm train --config mine.yaml --out runs/mine --resume auto"""


@configured("train", example=EXAMPLE)
@training_options(
    out="Folder of the run.  [default: runs/<preset>-<date>-<time>]",
    resume="Go on from a checkpoint, exactly; auto, or nothing: the run's newest.",
    allow_inexact="Resume on a machine where the result cannot be the same to the bit.",
)
@click.option(
    "--profile",
    is_flag=False,
    flag_value="5",
    metavar="[STEPS]",
    type=click.IntRange(1, 1000),
    help="Write RUN/profile: a trace of so many steps, 5 unless given, and a table by kernel.",
)
@click.option(
    "--on-incident", metavar="'PROGRAM ARGUMENT…'", help="Run it when a step or a tracker fails, without a shell."
)
@json_option
def train(
    given: Given,
    files: tuple[str, ...],
    data: str | None,
    out: str | None,
    resume: str | None,
    init_from: str | None,
    depth: int | None,
    allow_inexact: bool,
    profile: int | None,
    on_incident: str | None,
    as_json: bool,
) -> None:
    """Train a language model, or go on with one.

    FILE is text, as pylm tokenize takes it, or the name of a dataset: it is tokenized into data/, and a size is picked
    for this machine and a run of minutes. Every key of the configuration is an option too: --learning-rate 1e-3,
    --max-steps 500, --n-layers 8.

    Ctrl-C and SIGTERM finish the step, save, and print the line that goes on from there.
    """
    from pylm.cli.frame.activity import Activity
    from pylm.cli.frame.narrator import Narrator

    _refuse_several()
    with Activity(quiet=as_json) as activity, Narrator(activity) as narrator:
        activity.doing("starting")
        from pylm.runs import SignalStop
        from pylm.training.request import Request
        from pylm.training.run import train as run_training

        folder = Path(out) if out else None
        request = Request(given, files, data, folder, resume, init_from, depth, allow_inexact, tuple(sys.argv[1:]),
                          on_incident=on_incident, profile=profile)  # fmt: skip
        run_training(request, narrator, stop=SignalStop(in_options), wants_step=narrator.wants_step)
    narrator.print_ended(as_json)


def _refuse_several() -> None:
    """Leave where a launcher started one process a device; the first process alone says why."""
    from pylm.errors import UsageError

    world, rank = (os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK"))
    if not world.isdigit() or int(world) < 2:
        return
    if rank.isdigit() and int(rank):
        time.sleep(SPOKEN)  # a launcher ends all of its processes once one has left
        raise click.exceptions.Exit(2)
    raise UsageError(SEVERAL, "start it once, without the launcher: pylm train … --device cuda:0")
