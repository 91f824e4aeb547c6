"""What is planned: a configuration, complete but for what only the machine decides, and the text that it is for.

Nothing is written and no text is tokenized. Of a text that is not yet tokenized the amount alone is known, and what
follows from it is said to be estimated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.config.shape import complete
from pylm.data.identity import identify
from pylm.data.open import loader_of, source_of, split_of, tokenizer_of
from pylm.errors import DataError, UsageError
from pylm.training import inherited, init_from, inputs, resume
from pylm.training.continued import configuration as continued_configuration
from pylm.training.continued import stored_configuration
from pylm.training.hooks import SAMPLE_TOKENS
from pylm.training.size import Size, is_open
from pylm.training.trained import trained_by
from pylm.wording import call, param

if TYPE_CHECKING:
    from collections.abc import Callable

    from pylm.config.cascade import Resolved
    from pylm.config.schema import Config
    from pylm.config.schema import Model as Shape
    from pylm.data.identity import Identity
    from pylm.training.events import Event
    from pylm.training.request import Request
    from pylm.training.trained import Trained

__all__ = ["Facts", "Subject", "subject_of", "windows_held_back"]

HELD_BACK = 0.01  # of a text, for validation: pylm.prepare's default
# bytes of a token: of English 3.9 at a vocabulary of 4,096, 4.6 at 50,304; of other scripts and of code fewer
BYTES_PER_TOKEN = 2.3
BYTES_PER_BIT = 0.15


@dataclass(frozen=True)
class Facts:
    """What is known of the text."""

    vocab_size: int
    tokens: int  # to train on; 0 where no text was named
    held_back: int  # windows to validate on
    shard_bytes: int = 0  # on the disk, there or still to be written
    tokenized: bool = True
    samples: bool = True  # a tokenizer is at hand that samples can be written with


@dataclass(frozen=True)
class Subject:
    """What is planned."""

    resolved: Resolved
    shape: Shape
    facts: Facts
    notes: tuple[str, ...] = ()  # what was derived or assumed, in sentences
    done: tuple[int, float] = (0, 0.0)  # steps and seconds that lie behind a run that goes on
    new: range | None = None  # rows of tokens that the run adds to the vocabulary

    @property
    def trained(self) -> Trained:
        """What of the model learns."""
        return trained_by(self.shape, self.config.finetune, self.new)

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.resolved.config

    @property
    def windows(self) -> int:
        """The windows of an epoch."""
        stride = self.config.data.stride or self.shape.context_length
        return max((self.facts.tokens - 1) // stride, 1)


def subject_of(request: Request, on_event: Callable[[Event], None]) -> Subject:
    """Return what a request asks to plan; refuse what could not be trained."""
    request.check()
    request = request.with_sources()
    checkpoint = resume.find_checkpoint(request.resume, request.out, on_event)
    if checkpoint is not None:
        resolved = continued_configuration(checkpoint, stored_configuration(checkpoint), request)
        facts, _ = _of_data(resolved.config)
        done = checkpoint.step, float(checkpoint.state["progress"]["seconds"])
        return Subject(resolved, complete(resolved.config.model, facts.vocab_size), facts, done=done)
    resolved, named = _given(request)
    resolved = init_from.with_shape(inherited.with_training(resolved, request), request)
    resolved = resolved.completed({"sample.max_tokens": SAMPLE_TOKENS}, "samples while training")
    size = Size(resolved, request, on_event)
    facts, notes = _facts(resolved, named, size.vocab_size if is_open(resolved, request) else None)
    if is_open(resolved, request):
        resolved, why = size.of_text(resolved, facts.tokens or _wanted(resolved), facts.vocab_size)
        notes = (*notes, why.text)
    config = resolved.config
    if facts.tokenized and facts.tokens:
        inputs.refuse_too_small(config, config.model.context_length, request.named)
        facts = dataclasses.replace(facts, held_back=_held_back(config))
    elif facts.tokens:
        held = int(facts.tokens * HELD_BACK) // config.model.context_length
        if facts.tokens <= config.model.context_length:
            notes = (*notes, f"training refuses text that does not fill a window of {config.model.context_length:,}")
        facts = dataclasses.replace(facts, held_back=held)
    return Subject(resolved, complete(config.model, facts.vocab_size), facts, notes)


def _given(request: Request) -> tuple[Resolved, tuple[Any, ...]]:
    """Return the configuration that was given, and the text that it is for where that is not tokenized yet."""
    from pylm.data.sources import default_folder

    given = request.configuration()
    if request.named is not None:
        folder = default_folder(request.text)
        if not (folder / "manifest.json").is_file():
            return given.resolve(), request.text
        given = given.with_default("data.path", str(folder), request.named)
    return given.resolve(), ()


def _facts(resolved: Resolved, text: tuple[Any, ...], most: Callable[[], int] | None) -> tuple[Facts, tuple[str, ...]]:
    """Return what is known of the text that a run is for, and what of it is estimated."""
    config = resolved.config
    if text:
        return _of_text(text, config, most)
    if config.data.mix is not None or config.data.path is not None:
        return _of_data(config)
    train, vocab_size = config.train, config.model.vocab_size
    if vocab_size is None:
        raise UsageError(
            "neither a text nor the size of a vocabulary was named",
            f"{call('plan', 'my.txt')}, {call('plan', data='DIR')}, or {param('vocab_size')} and {param('max_tokens')}",
        )
    if train.max_tokens is None and train.max_steps is None:
        why = "max_epochs counts a text" if train.max_epochs is not None else "nothing says how long the run is"
        raise UsageError(
            f"without a text to train on {why}", f"{param('max_tokens', '100M')}, or {param('max_steps', 1000)}"
        )
    held = 1 << 20  # windows: as many as anybody evaluates
    return Facts(vocab_size, 0, held, samples=False), ("no text was named: it is taken to have a validation split",)


def _wanted(resolved: Resolved) -> int:
    """Return the tokens of a run whose text nobody named."""
    train = resolved.config.train
    return train.max_tokens or max((train.max_steps or 1) * (train.batch_tokens or 1 << 14), 1)


def _of_text(text: tuple[Any, ...], config: Config, most: Callable[[], int] | None) -> tuple[Facts, tuple[str, ...]]:
    """Return what the amount of a text says."""
    from pylm.data.for_training import amount_of_text
    from pylm.data.streaming.stream_of import called

    if any(isinstance(one, str) and one == "-" for one in text):
        raise UsageError("a text on stdin can be read once", f"{call('tokenize', '-', out='DIR')} first")
    text_bytes, vocab_size = amount_of_text(text, config.model.vocab_size, most, config.data.tokenizer)
    if not text_bytes:
        raise DataError("there is no text to train on", "the sources hold no document that is not empty")
    each = BYTES_PER_TOKEN + BYTES_PER_BIT * math.log2(vocab_size)
    tokens = max(int(text_bytes / each), 1)
    note = (
        f"{' '.join(map(called, text))} is not tokenized yet: about {tokens:,} tokens of {each:.1f} bytes each, "
        f"by a vocabulary of {vocab_size:,}"
    )
    return Facts(vocab_size, tokens, 0, tokens * (2 if vocab_size <= 1 << 16 else 4), tokenized=False), (note,)


def _of_data(config: Config) -> tuple[Facts, tuple[str, ...]]:
    """Return what a folder of tokens says."""
    source = source_of(config)
    vocab_size = inputs.vocab_size(config, identify(source, config.data.val))
    names = list(source) if isinstance(source, Mapping) else [source]
    size = sum(_bytes(Path(name)) for name in names)
    return Facts(vocab_size, inputs.tokens_of(config), 0, size, samples=tokenizer_of(source) is not None), ()


def _held_back(config: Config) -> int:
    """Return how many windows there are to validate on."""
    held = inputs.open_data(config, identify(source_of(config), config.data.val)).identity
    return 0 if held.validation is None else windows_held_back(config, held)


def windows_held_back(config: Config, identity: Identity) -> int:
    """Return how many windows a validation split has."""
    folder, split = split_of(config, identity)
    return loader_of(folder, config, 1, split=split, strided=False).windows


def _bytes(path: Path) -> int:
    return sum(each.stat().st_size for each in (path.glob("*.bin") if path.is_dir() else [path]))
