"""The tokenizer of text for which none was named: trained on the text itself, as large as it pays."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm import _rust
from pylm.data.sources import Opened
from pylm.data.streaming.files import Reading
from pylm.errors import PylmError, TokenizerError, UsageError
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer
    from pylm.tokenizer.report import Report

__all__ = ["Training", "check_tokenizer", "default_vocab_size", "own_tokenizer"]

SMALLEST_VOCABULARY = 272
FEW_TOKENS = 4096  # no model is too small for so many
BYTE_TOKENS = 256  # every vocabulary has one for each byte


@dataclass(frozen=True)
class Training:
    """The tokenizer to train where none is given; what is None is chosen by the amount of text.

    Where that gives many tokens, `most` is asked for how many are of use: it may take a second to find out.
    """

    vocab_size: int | None = None
    model: str | None = None
    pattern: str | None = None
    specials: tuple[str, ...] = ()
    most: Callable[[], int] | None = None

    @property
    def wishes(self) -> dict[str, Any]:
        """Return what was asked for, which job.json keeps: so the same request finds the tokenizer that it made."""
        asked = {key: value for key, value in vars(self).items() if value not in (None, ()) and key != "most"}
        return {**asked, "specials": list(self.specials)} if self.specials else asked


def default_vocab_size(text_bytes: int, most: Callable[[], int] | None = None) -> int:
    """Return the power of two below 4·sqrt(bytes): 4,096 for a megabyte, 32,768 from 70 MB on.

    A vocabulary pays while its rarest tokens are still seen often enough to be learned; the number of tokens that
    are seen n times grows with about the root of the text. Where that is many, `most` says how many are of use.
    """
    root = 4 * math.sqrt(max(text_bytes, 1))
    size = min(32768, max(SMALLEST_VOCABULARY, 1 << int(math.log2(root))))
    return size if most is None or size <= FEW_TOKENS else min(size, most())


def own_tokenizer(
    text: Opened,
    reading: Reading,
    text_bytes: int,
    folder: Path,
    training: Training,
    *,
    threads: int,
    keep: bool,
    progress: Report | None,
    say: Callable[[str], None],
) -> tuple[Tokenizer, bool]:
    """Return the tokenizer that an earlier run trained for this folder, else a new one; and whether it is new.

    Args:
        text: The text.
        reading: How it is read.
        text_bytes: How much text there is.
        folder: Of the shards, which carries its tokenizer.
        training: What is asked of it.
        threads: 0 for as many as there are cores.
        keep: Whether the folder's own tokenizer serves where it was trained as asked.
        progress: Called about five times a second.
        say: Told the size that was chosen.
    """
    from pylm.tokenizer import Tokenizer
    from pylm.tokenizer.train import TrainOptions, train_on

    if keep and (folder / "tokenizer.json").exists() and _rust.shards_training(folder) == training.wishes:
        return Tokenizer.load(folder), False
    options: dict[str, Any] = {
        "model": training.model,
        "pattern": training.pattern,
        "specials": training.specials or None,
        "progress": progress,
        "threads": threads,
        **reading.options,
    }

    def trained(vocab_size: int) -> Tokenizer:
        parts = train_on(text, TrainOptions.checked(text.files, vocab_size, options))
        return Tokenizer(parts.backend, parts.config, parts.files)

    if training.vocab_size is not None:
        return trained(training.vocab_size), True
    size = default_vocab_size(text_bytes, training.most)
    amount = f"{text_bytes / 1e6:,.1f} MB" if text_bytes >= 1e6 else f"{text_bytes / 1e3:,.1f} kB"
    say(f"no {param('tokenizer')}: building a vocabulary of {size:,} tokens from this text of {amount}")
    try:
        return trained(size), True
    except TokenizerError as error:
        # short or uniform text has fewer merges to give, and the trainer says how many
        possible = re.search(r"vocabulary of ([\d,]+) (?:or less|at most)", f"{error.message} {error.hint}")
        most = int(possible[1].replace(",", "")) if possible else 0
        if not BYTE_TOKENS < most < size:
            raise
        size = most
    say(f"the text has no more to give: a vocabulary of {size:,} tokens")
    return trained(size), True


def check_tokenizer(
    tok: Tokenizer, folder: Path, allow_special: Sequence[str], force: bool, say: Callable[[str], None]
) -> None:
    """Refuse a tokenizer that cannot serve, and say what may surprise of one that can."""
    if tok.eot is None:
        say("this tokenizer has no token that ends a document: nothing stands between one document and the next")
    if not force:
        _refuse_foreign(folder, tok)
    for name in allow_special:
        if name not in tok.specials:
            known = ", ".join(tok.specials) or "it has none"
            raise UsageError(f"{name!r} is no special token of this tokenizer", f"its special tokens: {known}")


def _refuse_foreign(folder: Path, tok: Tokenizer) -> None:
    """Keep a tokenizer.json that no run of ours wrote: it may be the only copy of somebody's."""
    path = folder / "tokenizer.json"
    if (folder / "job.json").exists() or not path.exists():
        return
    from pylm.tokenizer import Tokenizer

    try:
        there: str | None = Tokenizer.load(path).identity
    except PylmError:
        there = None
    if there != tok.identity:
        raise UsageError(
            f"{folder} holds another tokenizer.json, which shards there would replace",
            f"choose another {param('out')}, encode with it by {param('tokenizer', folder)}, "
            f"or give {param('force', True)}",
        )
