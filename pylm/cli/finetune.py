"""`pylm finetune`: a trained model and examples to a tuned one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.command import json_option
from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.configured import configured
from pylm.cli.frame.launching import launch_options
from pylm.cli.frame.narrator import Narrator
from pylm.cli.frame.training_options import watching_options
from pylm.cli.frame.types import SHARE
from pylm.wording import in_options

if TYPE_CHECKING:
    from pylm.config.given import Given

EXAMPLE = """pylm finetune --dataset chat.jsonl
pylm finetune --checkpoint runs/a --dataset pairs.jsonl --method lora --out runs/tuned
pylm finetune --out runs/tuned --resume
pylm finetune --dataset chat.jsonl --gpus 2"""
KEYS = {
    "dataset": "finetune.dataset", "method": "finetune.method", "template": "finetune.template",
    "freeze": "finetune.freeze", "val": "data.val_share", "val_dataset": "finetune.val_dataset",
}  # fmt: skip


@configured("finetune", example=EXAMPLE)
@click.option(
    "--checkpoint",
    metavar="CHECKPOINT",
    shell_complete=complete_runs,
    help="What is tuned.  [default: the newest run's best]",
)
@click.option("--dataset", metavar="F", help="Examples: jsonl, json, csv, parquet, a dataset by name, hub:ORG/NAME.")
@click.option("--method", help="full, lora, or dpo and dpo-lora, which take pairs of answers.  [default: full]")
@click.option("--template", help="chatml, plain or a file.  [default: the checkpoint's, else chatml for messages]")
@click.option("--freeze", help="What stays as it is: embeddings, layers:0-5, norms, head; several with commas.")
@click.option("--val", type=SHARE, help="Share of the examples that is held out.  [default: 0.05]")
@click.option("--val-dataset", metavar="F", help="Other examples that are held out instead.")
@click.option("--out", type=click.Path(), help="Folder of the run.  [default: runs/<name>-tuned-<date>-<time>]")
@click.option(
    "--resume",
    is_flag=False,
    flag_value="auto",
    metavar="[auto|CHECKPOINT]",
    shell_complete=complete_runs,
    help="Go on from a checkpoint, exactly; auto, or nothing: the run's newest.",
)
@click.option("--allow-inexact", is_flag=True, show_default=False, help="Go on where it cannot be the same to the bit.")
@watching_options
@launch_options
@json_option
def finetune(
    given: Given,
    checkpoint: str | None,
    out: str | None,
    resume: str | None,
    allow_inexact: bool,
    profile: int | None,
    on_incident: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Tune a trained model on examples, or go on with that: the result is a run.

    An example is {"prompt", "completion"}, {"messages"}, {"instruction", "input", "output"}, {"text"} or {"text",
    "label"}; the answer alone is learned. Two epochs unless a length is given; the learning rate is a fifth of that
    which the checkpoint was trained with, and falls to zero. Every key of the configuration is an option too.
    """
    from pylm.cli.frame.activity import Activity
    from pylm.cli.frame.launching import first_speaks, start_several
    from pylm.training.request import Request

    folder, argv, dataset = Path(out) if out else None, tuple(sys.argv[1:]), options["dataset"]
    for name, key in KEYS.items():
        if (value := options.pop(name)) is not None:
            given = given.with_default(key, value, f"--{name.replace('_', '-')}")
    start_several(Request(given, data=dataset, out=folder, resume=resume, argv=argv), **options)
    with first_speaks() as speaks, Activity(quiet=as_json or not speaks) as activity, Narrator(activity) as narrator:
        activity.doing("starting")
        from pylm.finetuning.request import Tuning
        from pylm.finetuning.run import finetune as tune
        from pylm.runs import SignalStop

        asked = Tuning(given, checkpoint, folder, resume, allow_inexact, argv, on_incident, profile)
        tune(asked, narrator, stop=SignalStop(in_options, speaks), wants_step=narrator.wants_step)
    if speaks:
        narrator.print_ended(as_json)
