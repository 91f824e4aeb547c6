"""Text to shards on behalf of `pylm train`, whose hints are whole lines: it has none of the options of tokenizing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.data.own_tokenizer import Training, default_vocab_size
from pylm.data.prepare import Prepared, ShardOptions, prepare_text
from pylm.data.sources import Sources, default_folder, opened
from pylm.data.storing import say_terms
from pylm.data.streaming.stream_of import named
from pylm.errors import PylmError
from pylm.wording import call, in_options, param

if TYPE_CHECKING:
    from pylm.tokenizer.report import Report

__all__ = ["amount_of_text", "prepare_for_training"]

# what hints of tokenizing name, the best first: the parameter, what follows it (a word as a shell reads it), and what
# stands for a value that a hint leaves open
NAMED: tuple[tuple[str, str, str | bool | None], ...] = (
    ("invalid", " replace", "replace"),
    ("field", r""" ((?:'[^']*'|"[^"]*"|[^\s;,'"])+)""", None),
    ("skip_bad", "", True),
    ("column", "", "COLUMN"),
    ("split", "", "STRING"),
)


def prepare_for_training(
    sources: Sequence[Any],
    vocab_size: int | None = None,
    most_tokens: Callable[[], int] | None = None,
    progress: Report | None = None,
    say: Callable[[str], None] = lambda _: None,
    *,
    tokenizer: str | None = None,
    val: float | None = None,
    clean: str | Mapping[str, Any] | None = None,
) -> Prepared:
    """Write shards of text into its default folder, or return those that stand there.

    Args:
        sources: See `prepare`.
        vocab_size: Of the tokenizer; by the amount of text if not given.
        most_tokens: Asked how many are of use where there is much text.
        progress: Called about five times a second.
        say: Called with sentences that a user wants to read.
        tokenizer: What `Tokenizer.load` takes; one is trained on the text if not given.
        val: The share of documents kept for validation; as `pylm tokenize` does if not given.
        clean: Rules or options by which the text is cleaned first, as for `prepare`; it is not if not given.
    """
    training = Training(vocab_size, most=most_tokens) if tokenizer is None else tokenizer
    options = ShardOptions(clean=clean) if val is None else ShardOptions(val=val, clean=clean)
    folder = default_folder(sources)
    with _whole_lines(sources, folder):
        text = Sources.of(sources)
        say_terms(sources, say)
        return prepare_text(text, folder, training, options, progress, say)


def amount_of_text(
    sources: Sequence[Any],
    vocab_size: int | None = None,
    most_tokens: Callable[[], int] | None = None,
    tokenizer: str | None = None,
) -> tuple[int, int]:
    """Return the bytes of a text that is not tokenized yet, and the size of the vocabulary that it would get."""
    folder = default_folder(sources)
    with _whole_lines(sources, folder), opened(Sources.of(sources), None) as text:
        text_bytes, _ = text.look()
    if tokenizer is not None:
        from pylm.tokenizer import Tokenizer

        return text_bytes, Tokenizer.load(tokenizer).vocab_size
    return text_bytes, vocab_size or default_vocab_size(text_bytes, most_tokens)


@contextmanager
def _whole_lines(sources: Sequence[Any], folder: Path) -> Iterator[None]:
    """Give the two lines that do the same, where a hint names a parameter that training does not have."""
    try:
        yield
    except PylmError as error:
        message, marked = error.marked
        hint = in_options(marked or "")
        spelled = ((re.escape(in_options(param(name))) + rest, name, value) for name, rest, value in NAMED)
        matches = ((re.search(pattern, hint), name, value) for pattern, name, value in spelled)
        first = next(((match, name, value) for match, name, value in matches if match), None)
        if first is None:
            raise
        match, name, value = first
        tokenized = call(
            "tokenize",
            *(named(each) or "SOURCE" for each in sources),
            **{name: shlex.split(match[1])[0] if value is None else value},
        )
        lines = f"{tokenized}, then {call('train', data=folder)}"
        if value in ("COLUMN", "STRING") and "; " in hint:  # what there is to choose from
            lines += f"; {hint.split('; ', 1)[1]}"
        raise type(error)(message, lines) from None
