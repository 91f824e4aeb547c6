"""`pylm bench track`: what this machine makes of a text in five minutes."""

from __future__ import annotations

import signal
import sys
from dataclasses import asdict

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json, say
from pylm.cli.frame.types import DURATION


@command(example="pylm bench track my.txt --time 60s")
@click.argument("file", metavar="FILE")
@click.option("--time", type=DURATION, default="300s", help="From the text to the saved model.")
@json_option
def track(file: str, time: float, as_json: bool) -> None:
    """Train on a text for a time, as pylm train does without options, and score what was held back.

    A hundredth of FILE, a UTF-8 text whose documents <|endoftext|> separates, is held back and scored in bits per byte.
    docs/track.md has the rules and what other machines reached.
    """
    from pylm.track import measure

    # else the training that it started goes on without it, and gigabytes stay in the temporary folder
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    entry = measure(file, time, say=say)
    if as_json:
        print_json(asdict(entry))
        return
    click.echo(
        f"{entry.bits_per_byte:.4f} bits per byte of {entry.held_out_bytes:,} that were held back, after "
        f"{entry.seconds:.1f} s; xz -9 reaches {entry.xz_bits_per_byte:.4f}"
    )
    click.echo(f"{entry.parameters:,} parameters, trained on {entry.tokens:,} tokens, on {entry.machine}")
