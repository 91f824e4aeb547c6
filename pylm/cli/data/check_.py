"""`pylm data check`: what a tuning would make of a dataset of examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_runs, complete_sources
from pylm.cli.frame.printing import print_json
from pylm.cli.frame.types import COUNT
from pylm.config.units import counted

if TYPE_CHECKING:
    from pylm.data.chat.checking import Checked
    from pylm.tokenizer import Tokenizer

EXAMPLE = """pylm data check chat.jsonl
pylm data check chat.jsonl --checkpoint runs/a --template chatml --examples 10
pylm data check smoltalk --tokenizer tok --context-length 2048"""
BAR = 40  # characters of the longest bar


@command("check", example=EXAMPLE)
@click.argument("dataset", metavar="F.jsonl|DATASET", shell_complete=complete_sources)
@click.option(
    "--checkpoint",
    metavar="CHECKPOINT",
    shell_complete=complete_runs,
    help="The model that is to be tuned.  [default: the newest run's best]",
)
@click.option("--tokenizer", metavar="T", help="A tokenizer, in place of a model's.")
@click.option("--template", metavar="chatml|plain|own|FILE", help="[default: own, else chatml for messages]")
@click.option("--overflow", metavar="cut-prompt|drop|error", default="cut-prompt", help="What is too long.")
@click.option("--context-length", type=COUNT, help="Tokens of a window.  [default: the model's]")
@click.option("--examples", type=COUNT, default="3", help="How many to show.")
@json_option
def check_(
    dataset: str,
    checkpoint: str | None,
    tokenizer: str | None,
    template: str | None,
    overflow: str,
    context_length: int | None,
    examples: int,
    as_json: bool,
) -> None:
    """Show what of each example is learned, how long they are, and what is wrong with them; exit 3 if anything is.

    What is learned stands in colour, or between [[ and ]] where there are no colours.
    """
    from pylm.data.chat.checking import check
    from pylm.errors import CheckError

    reader, context = _reader(checkpoint, tokenizer)
    found = check(
        dataset,
        reader,
        template=template,
        overflow=overflow,
        context_length=context_length or context,
        examples=examples,
    )
    if as_json:
        print_json(vars(found))
    else:
        click.echo("\n".join(_lines(found, context_length or context)))
    if fault := _fault(found):
        raise CheckError(fault, "mend these examples, or leave them out")


def _reader(checkpoint: str | None, tokenizer: str | None) -> tuple[Tokenizer, int | None]:
    """Return the tokenizer that examples are read by, and the context of its model where there is one."""
    from pylm.checkpoint import find, open_weights
    from pylm.data.open import tokenizer_of
    from pylm.errors import CheckpointError, UsageError
    from pylm.model import names
    from pylm.tokenizer import Tokenizer

    if tokenizer is not None:
        if checkpoint is not None:
            raise UsageError("--checkpoint and --tokenizer both name a tokenizer", "give one of them")
        return Tokenizer.load(tokenizer), None
    path = find(checkpoint)
    found = tokenizer_of(str(path))
    if found is None:
        raise CheckpointError(f"{path} carries no tokenizer", "name one with --tokenizer")
    return found, names.read(open_weights(path))[0].context_length


def _lines(found: Checked, context: int | None) -> Iterator[str]:
    from pylm.cli.frame.checked import figures, histogram, shown

    yield from shown(found)
    yield from figures(found, context)
    yield from histogram(found, context, BAR)


def _fault(found: Checked) -> str | None:
    """Return what is wrong in one sentence."""
    count = found.counts["examples"]
    if found.faulty:
        return f"{found.faulty:,} of {count:,} examples cannot be learned: {found.faults[0]}"
    if unlearned := found.counts["all_masked"]:
        return f"nothing would be learned of {unlearned:,} of {count:,} examples: no token of them counts"
    if count == found.counts["dropped"]:
        return f"every answer is too long for the context, of {counted(count, 'example')}"
    return None
