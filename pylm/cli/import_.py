"""`pylm import`: a checkpoint of ours, made of a model of another program."""

from __future__ import annotations

from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json, say

EXAMPLE = """pylm import path/to/folder --out mine
pylm import out/ckpt.pt --tokenizer gpt2 --vocab-size 50257 --out mine
pylm import hub:ORG/NAME --out mine"""


@command("import", example=EXAMPLE)
@click.argument("source", metavar="DIR|FILE|hub:ID")
@click.option("--out", required=True, metavar="DIR", help="The checkpoint's folder, which must not be there yet.")
@click.option("--tokenizer", metavar="T", help="For a source that carries none.")
@click.option("--vocab-size", type=click.IntRange(1), metavar="N",
              help="Rows of the vocabulary to keep, where the last are padding.")  # fmt: skip
@json_option
def import_(source: str, as_json: bool, **options: Any) -> None:
    """Make a checkpoint of a model of another program, weight by weight as it was.

    DIR is a folder in Hugging Face's layout (GPT-2, Llama, Mistral, Qwen, nanochat), FILE a .gguf file or a .pt of
    nanoGPT, nanochat, microgpt, nash-llm or buildingLLMFromScratch. hub:ORG/NAME is fetched, and every file verified.
    A pickle is opened in a process of its own, which takes tensors and plain values.

    The result is a CHECKPOINT: pylm sample, pylm eval and pylm train --init-from take it.
    """
    from pylm.cli.frame.progress import Progress
    from pylm.interchange.incoming import import_ as import_model

    with Progress("import", unit="bytes", quiet=as_json) as progress:
        made = import_model(source, progress=progress, say=say if as_json else progress.say, **options)
    if as_json:
        print_json({"checkpoint": str(made.path), "step": made.step, **made.state["imported"]})
    else:
        click.echo(f"{made.path}: from {made.state['imported']['format']}")
