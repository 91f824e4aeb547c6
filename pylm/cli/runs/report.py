"""`pylm report`: one page about a run."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command
from pylm.cli.frame.completion import complete_runs


@command("report", example="pylm report runs/a\npylm report runs/a --redact --out a.html")
@click.argument("run", required=False, metavar="[RUN]", shell_complete=complete_runs)
@click.option("--out", metavar="FILE", help="The page.  [default: RUN/report.html]")
@click.option("--redact", is_flag=True, show_default=False, help="Leave out names, folders and texts of the data.")
def report(run: str | None, out: str | None, redact: bool) -> None:
    """Write one page about a run, the newest where none is named, which opens without a network.

    It has the curves, the time by phase, what the model wrote on its way, evaluations, incidents, the configuration
    with the origin of each value, the identity of data and tokenizer, the machine, and the command that repeats it.
    """
    from pylm.runs.report import report as write

    click.echo(write(run, out, redact))
