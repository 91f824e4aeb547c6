"""`pylm soup`: one checkpoint of several."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.printing import print_json, say

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint

EXAMPLE = """pylm soup runs/a runs/b runs/c --out runs/soup
pylm soup runs/a runs/b --method weighted --weights 2,1 --out runs/soup
pylm soup runs/* --method greedy --data data/mine --out runs/soup
pylm soup runs/a --method ema --t 0.9 --out runs/smooth"""
METHODS = ["mean", "weighted", "greedy", "slerp", "ema", "karcher"]


def _numbers(_ctx: click.Context, _param: click.Parameter, value: str | None) -> list[float] | None:
    """Return the numbers of `1,2,1`."""
    try:
        return None if value is None else [float(each) for each in value.split(",")]
    except ValueError:
        raise click.BadParameter(f"{value} is no list of numbers such as 1,2,1") from None


@command("soup", example=EXAMPLE)
@click.argument("checkpoints", nargs=-1, required=True, metavar="CHECKPOINT…", shell_complete=complete_runs)
@click.option("--out", required=True, metavar="DIR", help="The checkpoint's folder, which must not be there yet.")
@click.option("--method", type=click.Choice(METHODS), default="mean", help="How they are averaged; see below.")
@click.option("--weights", callback=_numbers, metavar="1,2,1", help="How much of each, for weighted and karcher.")
@click.option("--t", type=float, help="The way from the first to the second, for slerp [0.5]; the decay, for ema.")
@click.option("--data", metavar="DIR|FILE", help="What judges, for greedy.  [default: the runs' validation split]")
@json_option
def soup_(checkpoints: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Average the weights of checkpoints that went on from the same ones, such as runs that ended on other data.

    mean and weighted are sums; slerp (two) and karcher keep to the sphere. greedy begins with the best and takes each
    further one that makes the average strictly better on one half of the validation documents; it reports the other
    half. ema goes over the checkpoints of one run, in order.

    The order of the checkpoints does not matter. Sums are in fp64, rounded once. The result is a CHECKPOINT that knows
    what it was made of.
    """
    from pylm.cli.frame.progress import Progress
    from pylm.soups.call import soup

    with Progress("soup", unit="bytes", quiet=as_json) as progress:
        made = soup(checkpoints, progress=progress, say=say if as_json else progress.say, **options)
    if as_json:
        print_json({"checkpoint": str(made.path), "step": made.step, **made.state["soup"]})
    else:
        click.echo("\n".join(_lines(made)))


def _lines(made: Checkpoint) -> Iterator[str]:
    """Yield what the command prints: what it was made of, and what greedy found."""
    from pylm.cli.frame.table import table
    from pylm.config.units import counted

    about = made.state["soup"]
    yield from table([("checkpoint", "step", "share"), *((each["path"], f"{each['step']:,}", f"{each['share']:.4f}")
                                                        for each in about["parents"])])  # fmt: skip
    if "reported" in about:
        half, apart = about["reported"], about["reported"]["difference"]
        yield (
            f"{about['data']}: loss {half['loss']:.4f} on the {half['documents']:,} documents that decided nothing, "
            f"the best single one {half['best_single']:.4f} ({apart['value']:+.4f}, 95 %: {apart['low']:+.4f} to "
            f"{apart['high']:+.4f})"
        )
    yield f"{made.path}: {about['method']} of {counted(len(about['parents']), 'checkpoint')}"
