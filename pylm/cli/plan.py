"""`pylm plan`: what a training will take, before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pylm.cli.frame.command import json_option
from pylm.cli.frame.configured import configured
from pylm.cli.frame.printing import print_json
from pylm.cli.frame.training_options import training_options
from pylm.wording import in_options

if TYPE_CHECKING:
    from pylm.config.given import Given

EXAMPLE = """pylm plan my.txt
pylm plan --data data/mine --preset llama-110m --gpus 8
pylm plan --preset gpt2-124m --vocab-size 50304 --max-tokens 1B --no-probe"""


@configured("train", example=EXAMPLE)
@training_options(
    out="Folder of the run, whose disk is looked at.  [default: runs]",
    resume="Plan what is left of a run.",
    allow_inexact="As pylm train takes it; it changes nothing.",
)
@click.option("--gpus", type=int, metavar="N", help="Devices that share each step, here or elsewhere.")
@click.option("--probe/--no-probe", default=True, help="Take some steps here to tell how long it takes.")
@json_option
def plan(
    given: Given,
    files: tuple[str, ...],
    data: str | None,
    out: str | None,
    resume: str | None,
    init_from: str | None,
    depth: int | None,
    allow_inexact: bool,
    gpus: int | None,
    probe: bool,
    as_json: bool,
) -> None:
    """Say what a training will take, and whether it fits here: memory, disk, compute and time.

    It takes what pylm train takes, writes nothing, and tokenizes no text. Where the training does not fit, changes with
    which it does are named, and the exit code is 3. Without a text, --vocab-size and --max-tokens say what is needed.
    """
    from pylm.cli.frame.activity import Activity
    from pylm.cli.frame.narrator import Narrator
    from pylm.errors import CheckError
    from pylm.training.estimate.make import plan as make_plan
    from pylm.training.estimate.words import lines_of, words_of
    from pylm.training.request import Request

    request = Request(given, files, data, Path(out) if out else None, resume, init_from, depth, allow_inexact)
    with Activity(quiet=as_json) as activity, Narrator(activity) as narrator:
        activity.doing("starting")
        made = make_plan(request, gpus=gpus, probe=probe, on_event=narrator)
    if as_json:
        print_json(made.told(in_options).as_dict())
    else:
        click.echo(in_options("\n".join(lines_of(made))))
    if not made.fits:
        raise CheckError("; ".join(made.why_not), words_of(made.changes, made.why_not))
