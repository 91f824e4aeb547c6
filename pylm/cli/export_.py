"""`pylm export`: a checkpoint as other programs read it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.printing import print_json, say

EXAMPLE = """pylm export runs/a --to hf --out mine
pylm export runs/a/step_500 --to mlx --dtype bf16 --out mine-mlx
pylm export runs/a --to gguf --quantize q8_0 --out mine-gguf"""


@command("export", example=EXAMPLE)
@click.argument("checkpoint", metavar="CHECKPOINT", shell_complete=complete_runs)
@click.option("--to", type=click.Choice(["hf", "mlx", "nanochat", "torch", "gguf"]), required=True,
              help="Whose files; see below.")  # fmt: skip
@click.option("--out", required=True, metavar="DIR", help="The folder to make, which must not be there yet.")
@click.option("--dtype", type=click.Choice(["auto", "fp32", "fp16", "bf16"]), default="auto",
              help="Of the weights; auto keeps them as they are.")  # fmt: skip
@click.option("--quantize", type=click.Choice(["none", "q8_0", "q4_0"]), default="none",
              help="Matrices in 8 or 4 bits, for gguf.")  # fmt: skip
@click.option("--force-pre", metavar="NAME", help="A pre-tokenizer of llama.cpp, where none of its own is exact.")
@click.option("--certify/--no-certify", default=None, show_default=False,
              help="Compare with the program that loads it.  [default: up to 350M parameters]")  # fmt: skip
@click.option("--push", metavar="ORG/NAME", help="Print the lines that upload it.")
@json_option
def export_(checkpoint: str, as_json: bool, **options: Any) -> None:
    """Write a checkpoint as other programs read it.

    hf is a folder for transformers, vLLM and llama.cpp's converter; mlx the same for mlx-lm, whose classes lack some
    of what the layouts have; nanochat the same for transformers' class of nanochat and no other; torch is a ckpt.pt
    as nanoGPT writes it; gguf is a folder with model.gguf for llama.cpp, and a Modelfile for Ollama beside it.

    The folder is there whole or not at all. Nothing is uploaded.
    """
    from pylm.cli.frame.progress import Progress
    from pylm.config.units import counted, format_bytes
    from pylm.interchange.certificate import lines
    from pylm.interchange.outgoing import export

    with Progress("export", unit="bytes", quiet=as_json) as progress:
        made = export(
            checkpoint,
            progress=lambda done, total: progress(done, total, phase="export", unit="bytes"),
            told=lambda phase, done, total: progress(done, total, phase=phase, unit=""),
            say=say if as_json else progress.say,
            **options,
        )
    if as_json:
        print_json({**asdict(made), "path": str(made.path)})
        return
    size = format_bytes(sum(made.files.values()))
    whole = f"{made.path}: {made.layout} for {made.to}, {counted(len(made.files), 'file')}, {size}"
    click.echo("\n".join([*lines(made.compared), whole, *made.upload]))
