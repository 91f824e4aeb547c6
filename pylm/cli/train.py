"""`pylm train`: tokens to a trained model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.cli.frame.command import json_option
from pylm.cli.frame.configured import configured
from pylm.cli.frame.launching import launch_options
from pylm.cli.frame.training_options import training_options, watching_options
from pylm.wording import in_options

if TYPE_CHECKING:
    from pylm.config.given import Given

EXAMPLE = """pylm train my.txt
pylm train --data data/mine --preset tiny --max-time 10m
pylm train --config mine.yaml --out runs/mine --resume auto
pylm train --data data/mine --preset gpt2-124m --gpus 8"""


@configured("train", example=EXAMPLE)
@training_options(
    out="Folder of the run.  [default: runs/<preset>-<date>-<time>]",
    resume="Go on from a checkpoint, exactly; auto, or nothing: the run's newest.",
    allow_inexact="Resume on a machine where the result cannot be the same to the bit.",
)
@watching_options
@launch_options
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
    **launching: Any,
) -> None:
    """Train a language model, or go on with one.

    FILE is text, as pylm tokenize takes it, or the name of a dataset: it is tokenized into data/, and a size is picked
    for this machine and a run of minutes. Every key of the configuration is an option too: --learning-rate 1e-3,
    --max-steps 500, --n-layers 8.

    Ctrl-C and SIGTERM finish the step, save, and print the line that goes on from there.
    """
    from pylm.cli.frame.activity import Activity
    from pylm.cli.frame.launching import first_speaks, start_several
    from pylm.cli.frame.narrator import Narrator
    from pylm.training.request import Request

    folder = Path(out) if out else None
    request = Request(given, files, data, folder, resume, init_from, depth, allow_inexact, tuple(sys.argv[1:]),
                      on_incident=on_incident, profile=profile)  # fmt: skip
    start_several(request, **launching)
    with first_speaks() as speaks, Activity(quiet=as_json or not speaks) as activity, Narrator(activity) as narrator:
        activity.doing("starting")
        from pylm.runs import SignalStop
        from pylm.training.launch.rank import train as train_rank

        train_rank(request, narrator, stop=SignalStop(in_options, speaks), wants_step=narrator.wants_step)
    if speaks:
        narrator.print_ended(as_json)
