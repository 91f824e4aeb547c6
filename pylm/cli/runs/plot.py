"""`pylm plot`: metrics of runs as a picture."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command
from pylm.cli.frame.completion import complete_runs

AXES = ("steps", "tokens", "time", "flops")
EXAMPLE = """pylm plot runs/a
pylm plot runs/a runs/b --metrics val_loss --x tokens --out losses.svg
pylm plot a b --metrics loss,grad_norm --smooth 0.9 --out curves.html
pylm plot a wandb:ID tb:logs trackio:PROJECT losses.csv --out all.svg"""


@command("plot", example=EXAMPLE)
@click.argument("runs", nargs=-1, metavar="[RUN…]", shell_complete=complete_runs)
@click.option("--run-id", "ids", multiple=True, metavar="ID", show_default=False,
              help="A run by the id that it has at W&B: wandb:ID in short.")  # fmt: skip
@click.option("--metrics", default="loss,val_loss", metavar="A,B", help="Names of metrics.jsonl, such as grad_norm.")
@click.option("--x", default="steps", metavar="|".join(AXES), help="The lower axis; of a CSV file its column of steps.")
@click.option("--smooth", type=float, default=0.0, help="How much of the average each point keeps, such as 0.9.")
@click.option("--log", is_flag=True, show_default=False, help="Make the values' axis logarithmic.")
@click.option("--out", metavar="F.svg|png|html", help="The picture.  [default: RUN/loss.svg; of several plot.svg]")
def plot(
    runs: tuple[str, ...], ids: tuple[str, ...], metrics: str, x: str, smooth: float, log: bool, out: str | None
) -> None:
    """Draw metrics of runs, the newest where none is named, over one another; those of other tools too.

    Every spike of one step is seen, however long the run: of each column of pixels the first, lowest, highest and last
    point are drawn. What is not finite is marked at the top, and no line goes across. A run that was resumed is one
    line; where it was, is marked, and what was taken back there is drawn faintly.
    """
    from pylm.runs.plot import plot as draw
    from pylm.runs.readers.opening import names_of

    click.echo(draw(names_of(runs, ids), [name.strip() for name in metrics.split(",")], x, smooth, log, out))
