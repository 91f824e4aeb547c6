"""`pylm tokenizer info`: what a tokenizer is."""

from __future__ import annotations

from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.printing import print_json
from pylm.cli.tokenizer.options import load, one_tokenizer


@command(example="pylm tokenizer info --tokenizer gpt2")
@one_tokenizer
@json_option
def info(name: str, as_json: bool, **how: Any) -> None:
    """Say what a tokenizer is."""
    loaded = load(name, **how)
    facts: dict[str, Any] = {
        "kind": loaded.backend.kind,
        "vocab_size": loaded.vocab_size,
        "dtype": str(loaded.encode_array("").dtype),
        "pattern": loaded.pattern,
        "specials": loaded.specials,
        "eot": loaded.eot,
        "chat_template": loaded.chat_template is not None,
        "native": loaded.native,
        "identity": loaded.identity,
    }
    why = getattr(loaded.backend, "why", "")
    if as_json:
        print_json({**facts, "why_not_native": why or None})
        return
    specials = facts.pop("specials")
    facts["specials"] = ", ".join(f"{token} {token_id}" for token, token_id in specials.items()) or "none"
    facts["eot"] = "none" if loaded.eot is None else f"{loaded.eot_token} {loaded.eot}"
    facts["pattern"] = loaded.pattern or "none"
    facts["chat_template"] = "yes" if loaded.chat_template else "none"
    facts["native"] = "yes" if loaded.native else f"no, the tokenizers package runs it ({why})"
    for key, value in facts.items():
        click.echo(f"{key:<14} {f'{value:,}' if isinstance(value, int) else value}")
