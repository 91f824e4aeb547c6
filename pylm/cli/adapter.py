"""`pylm adapter`: an adapter merged with its base, or in the form that others load."""

from __future__ import annotations

from pathlib import Path

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.printing import print_json

EXAMPLE = """pylm adapter runs/tuned --out merged                # a checkpoint of all weights
pylm adapter runs/tuned --to peft --out peft        # PeftModel.from_pretrained(base, "peft")
pylm adapter runs/tuned --to mlx --out mlx          # mlx_lm.generate --adapter-path mlx
PYLM_BASE=runs/base pylm adapter peft --out merged  # of an adapter that others made"""


@command("adapter", example=EXAMPLE)
@click.argument("checkpoint", metavar="CHECKPOINT", shell_complete=complete_runs)
@click.option("--out", required=True, metavar="DIR", help="The folder to make, which must not be there yet.")
@click.option("--to", type=click.Choice(["merged", "peft", "mlx"]), default="merged", help="The form; see below.")
@json_option
def adapter(checkpoint: str, out: str, to: str, as_json: bool) -> None:
    """Write an adapter in another form: what `pylm finetune --method lora` trains, or a folder of PEFT's or mlx-lm's.

    merged adds it to its base in fp32 and rounds once to the base's type: a checkpoint that needs no base. peft and mlx
    are small folders that PEFT and mlx-lm load beside the base, which lies in Hugging Face's layout for them.

    An adapter finds its base where it was, or by the hash of its weights among the runs beside it; PYLM_BASE names one.
    """
    from pylm.finetuning.adapters import write

    made = write(checkpoint, Path(out), to)
    if as_json:
        print_json({"path": str(made), "form": to})
    else:
        click.echo(f"{made}: {'all weights, the adapter added' if to == 'merged' else f'an adapter for {to}'}")
