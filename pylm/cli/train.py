"""`pylm train`: tokens to a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pylm.cli.completion import complete_runs
from pylm.cli.configured import configured
from pylm.cli.frame import json_option, print_json

if TYPE_CHECKING:
    from pylm.cli.configured import Given

EXAMPLE = """pylm train my.txt
pylm train --data data/mine --preset tiny --max-time 10m
pylm train --config mine.yaml --out runs/mine --resume auto"""


@configured("train", example=EXAMPLE)
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--data", "data", metavar="DIR", help="Folder that pylm tokenize wrote, or a file of tokens.")
@click.option("--out", type=click.Path(), help="Folder of the run.  [default: runs/<preset>-<date>-<time>]")
@click.option(
    "--resume",
    metavar="auto|CHECKPOINT",
    shell_complete=complete_runs,
    help="Go on from a checkpoint, exactly; auto: the run's newest.",
)
@click.option(
    "--init-from", metavar="CHECKPOINT", shell_complete=complete_runs, help="Start anew from a checkpoint's weights."
)
@click.option("--depth", type=click.IntRange(1, 64), help="Derive shape, learning rate and batch from so many layers.")
@click.option(
    "--allow-inexact",
    is_flag=True,
    show_default=False,
    help="Resume on a machine where the result cannot be the same to the bit.",
)
@json_option
def train(
    given: Given,
    file: str | None,
    data: str | None,
    out: str | None,
    resume: str | None,
    init_from: str | None,
    depth: int | None,
    allow_inexact: bool,
    as_json: bool,
) -> None:
    """Train a language model, or go on with one.

    FILE is text: it is tokenized into data/, and a size is picked for this machine and a run of minutes. Every key of
    the configuration is an option too: --learning-rate 1e-3, --max-steps 500, --n-layers 8.

    Ctrl-C and SIGTERM finish the step, save, and print the line that goes on from there.
    """
    from pylm.cli.train_session import Asked, run_training

    def say(text: str) -> None:
        if not as_json:
            click.echo(text, err=True)

    asked = Asked(given, file, data, out, resume, init_from, depth, allow_inexact)
    ended = run_training(asked, say, quiet=as_json)
    if as_json:
        print_json(ended)
    else:
        click.echo(_closing(ended))


def _closing(ended: dict[str, Any]) -> str:
    from pylm.config.units import format_duration

    if ended["already"]:
        return f"{ended['run']} is finished already: {ended['why']}"
    loss = "" if ended["val_loss"] is None else f", validation loss {ended['val_loss']:.4f}"
    best = "" if ended["best_loss"] is None else f" (best {ended['best_loss']:.4f} at step {ended['best_step']:,})"
    return (
        f"trained {ended['step']:,} steps, {ended['tokens']:,} tokens in "
        f"{format_duration(ended['seconds'])}{loss}{best}; {ended['why']} → {ended['run']}"
    )
