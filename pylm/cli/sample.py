"""`pylm sample`: text from a trained model."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from pylm.cli.configured import Given, configured
from pylm.cli.frame import json_option
from pylm.cli.types import COUNT

if TYPE_CHECKING:
    from pylm.generation import Session

EXAMPLE = """pylm sample --prompt "Once upon a time" --max-tokens 100
pylm sample --checkpoint runs/x/step_500 --prompts-file prompts.txt --n 4 --output made.jsonl
pylm sample --checkpoint best --interactive --preset creative"""


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which model writes and what computes it; `open_model` takes them."""
    for option in (
        click.option("--threads", type=COUNT, default="0", help="Threads of the CPU; 0 is one a core."),
        click.option(
            "--quantize",
            type=click.Choice(["none", "bf16", "int8", "int4"]),
            default="none",
            help="Keep the weights smaller, and write faster, on the C++ engine.",
        ),
        click.option(
            "--dtype", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", help="auto: fp32 on a CPU."
        ),
        click.option("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps."),
        click.option(
            "--backend",
            type=click.Choice(["auto", "torch", "native", "mlx"]),
            default="auto",
            help="auto: the C++ engine on a CPU, where it serves the model; MLX on a Mac that has it; else torch.",
        ),
        click.option("--tokenizer", metavar="T", help="For a checkpoint that carries none."),
        click.option(
            "--checkpoint", metavar="CHECKPOINT", help="Run, step or folder.  [default: the newest run's best]"
        ),
    ):
        function = option(function)
    return function


def open_model(options: dict[str, Any]) -> Session:
    """Open what `engine_options` named, and say what it is."""
    from pylm.generation.load import open_session

    session = open_session(**options)
    click.echo(f"{os.path.relpath(session.name)}: {session.engine.name}", err=True)
    return session


@configured("sample", "sample", example=EXAMPLE)
@engine_options
@click.option("--prompt", "prompts", multiple=True, help="Text to go on from; repeatable.  [default: a text's start]")
@click.option("--prompts-file", metavar="FILE", help="A prompt a line, or jsonl with the key prompt; - is stdin.")
@click.option("--output", metavar="FILE", help="Write there: a JSON object a line for .jsonl, else the texts.")
@click.option("--stop", "stops", multiple=True, help="Text that ends a sample and is left out of it; repeatable.")
@click.option("--interactive", is_flag=True, show_default=False, help="Read prompts from the terminal, one by one.")
@click.option("--return-prompt", is_flag=True, show_default=False, help="Begin each text with its prompt.")
@click.option("--speculate", is_flag=True, show_default=False, help="Guess ahead from what stands there, and check.")
@click.option("--no-cache", is_flag=True, show_default=False, help="Read everything again for each token (torch).")
@click.option("--logprobs", type=int, metavar="N", help="Each token's, and the N likeliest, into --json or a .jsonl.")
@json_option
def sample(
    given: Given,
    prompts: tuple[str, ...],
    prompts_file: str | None,
    output: str | None,
    stops: tuple[str, ...],
    interactive: bool,
    return_prompt: bool,
    speculate: bool,
    no_cache: bool,
    logprobs: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Write text with a trained model, as it is made.

    The checkpoint is a run of pylm train or a folder of Hugging Face's layout. Every key of the configuration's section
    sample is an option: --temperature, --top-k, --top-p, --min-p, --max-tokens, --n, --seed, --repetition-penalty …;
    --preset creative, balanced, precise or greedy sets several. The same seed gives the same text.
    """
    from pylm.cli.console import Console, with_preset
    from pylm.cli.writing import Output, read_prompts, refuse_together, write_samples

    refuse_together(interactive, bool(prompts), prompts_file, output, as_json, logprobs)
    if stops:
        given = given.with_default("sample.stop", list(stops), "--stop")
    settings = with_preset(given).resolve().config.sample
    texts = read_prompts(prompts, prompts_file)
    with Output.open(output, as_json, logprobs is not None, return_prompt) as out:
        session = open_model({**options, "cache": not no_cache})
        if interactive:

            def answer(line: str) -> None:
                write_samples(session, [line], console.settings, out, speculate=speculate)

            console = Console(settings, answer)
            console.run()
        else:
            write_samples(session, texts, settings, out, speculate=speculate, likeliest=logprobs or 0)
