"""`pylm sample`: text from a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.command import json_option
from pylm.cli.frame.configured import configured
from pylm.cli.frame.console import PRESET_NAMES
from pylm.cli.frame.opening import engine_options, open_model

if TYPE_CHECKING:
    from pylm.config.given import Given

EXAMPLE = """pylm sample --prompt "Once upon a time" --max-tokens 100
pylm sample --checkpoint runs/x/step_500 --prompts-file prompts.txt --n 4 --output made.jsonl
pylm sample --checkpoint best --interactive --preset creative"""

PRESETS = (PRESET_NAMES, "How freely it draws: creative is the freest, greedy takes the likeliest.")


@configured("sample", "sample", example=EXAMPLE, presets=PRESETS)
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
    from pylm.cli.frame.console import Console, with_preset
    from pylm.cli.frame.writing import Output, read_prompts, refuse_together, write_samples

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
            out.shows_prompt = False
            console.run()
        else:
            write_samples(session, texts, settings, out, speculate=speculate, likeliest=logprobs or 0)
