"""`pylm tokenizer`: train one on your own text, look at one, use one, compare several."""

from __future__ import annotations

from pylm.cli.frame.command import group

SUBCOMMANDS = {
    "compare": ("pylm.cli.tokenizer.compare:compare", "Compare tokenizers on your text."),
    "decode": ("pylm.cli.tokenizer.decode:decode", "Turn ids into text; without ID, those on stdin."),
    "encode": ("pylm.cli.tokenizer.encode:encode", "Turn text into ids; without TEXT, stdin."),
    "info": ("pylm.cli.tokenizer.info:info", "Say what a tokenizer is."),
    "train": ("pylm.cli.tokenizer.train:train", "Train a tokenizer on text."),
}


@group(table=SUBCOMMANDS)
def tokenizer() -> None:
    """Train a tokenizer on your own text, look at one, use one, compare several."""
