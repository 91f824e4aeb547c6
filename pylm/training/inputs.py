"""What a run trains on and is judged by: tokenized, opened and measured before anything is planned or written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pylm.data.open import loader_of, source_of, split_of, tokenizer_of
from pylm.errors import ConfigError, DataError, PylmError, UsageError
from pylm.training.events import Event, Note, NoValidation, Tokenized, Tokenizing
from pylm.training.world import ALONE, World
from pylm.wording import call, param

if TYPE_CHECKING:
    from pylm.config.schema import Config
    from pylm.data import Loader
    from pylm.data.identity import Identity
    from pylm.tokenizer import Tokenizer
    from pylm.training.backend import Backend
    from pylm.training.request import Request

__all__ = ["TrainingData", "loader", "open_data", "refuse_too_small", "sampling_tokenizer", "tokenize", "tokens_of",
           "vocab_size"]  # fmt: skip

NO_WINDOW = "hold no window"  # how the loader says that there are too few tokens
LARGEST_CONTEXT = 1 << 20  # that is proposed


@dataclass(frozen=True)
class TrainingData:
    """The data of a run, opened: it holds a window at the least."""

    identity: Identity  # without a validation split where that holds no window
    tokens: int
    windows: int  # of an epoch


def open_data(
    config: Config, identity: Identity, named: str | None = None, on_event: Callable[[Event], None] = lambda event: None
) -> TrainingData:
    """Open what a run is trained on and judged by; refuse what holds no window.

    Args:
        config: of the run, with its context length.
        identity: of its data.
        named: what the caller called the data, such as the text that was tokenized.
        on_event: told why nothing is validated on.
    """
    refuse_too_small(config, config.model.context_length, named)
    first = loader(config, 1)
    if identity.validation is None:
        on_event(NoValidation("there is no validation split: nothing is evaluated, and no checkpoint is the best"))
    elif (small := _held_back(config, identity)) is not None:
        fits = "" if small.tokens < 3 else f"{param('context_length', _fitting(small.tokens))}, or "
        if config.data.val is not None:
            hint = f"{fits}leave {param('val')} out, or name more text with it"
            raise DataError(f"data.val {config.data.val} {small}", hint)
        held = f"the text held back for it {small} ({fits}more text, brings it back)"
        on_event(NoValidation(f"training without validation: {held}"))
        identity = dataclasses.replace(identity, validation=None)
    return TrainingData(identity, first.tokens, first.windows)


@dataclass(frozen=True)
class _TooSmall:
    tokens: int
    context_length: int

    def __str__(self) -> str:
        return f"is {self.tokens:,} tokens, and a window of {self.context_length:,} takes one more than that"


def _fitting(tokens: int) -> int:
    """Return the largest power of two that a window of so many tokens can have."""
    return 1 << min((tokens - 1).bit_length() - 1, LARGEST_CONTEXT.bit_length() - 1)


def refuse_too_small(config: Config, context_length: int, named: str | None = None) -> None:
    """Refuse data that holds not one window, in the words of whoever named it."""
    source = source_of(config)
    for name in source if isinstance(source, Mapping) else [source]:
        try:
            loader_of(name, config, 1, context_length=context_length)
        except DataError as error:
            if NO_WINDOW not in error.message:
                raise
            small = _TooSmall(_tokens(name, "train"), context_length)
            text = named if named is not None and not isinstance(source, Mapping) else name
            more = "name a longer text"
            if small.tokens > 2:
                fits = param("context_length", _fitting(small.tokens))
                more = f"{fits} trains on it; more text is better"
            raise DataError(f"{text} is too small to train on: it {small}", more) from None


def _held_back(config: Config, identity: Identity) -> _TooSmall | None:
    """Say why nothing can be validated on; None where something can."""
    folder, split = split_of(config, identity)
    context = config.model.context_length
    try:
        loader_of(folder, config, 1, split=split, strided=False)
    except DataError as error:
        if NO_WINDOW not in error.message:
            raise
        return _TooSmall(_tokens(folder, split), context)
    return None


def _tokens(folder: str, split: str) -> int:
    """Return how many tokens a split has; one or none are not told apart."""
    from pylm.data import Loader

    try:
        return Loader(folder, 1, 1, split=split).tokens
    except DataError as error:
        if NO_WINDOW not in error.message:
            raise
        return 1


def loader(config: Config, batch_size: int, backend: Backend | None = None, world: World = ALONE) -> Loader:
    """Return what gives this process's share of batches of the run's data, in memory that the backend likes."""
    allocate = None if backend is None else backend.allocate
    return loader_of(source_of(config), config, batch_size, allocate=allocate, rank=world.rank, world=world.size)


def tokens_of(config: Config) -> int:
    """Return how many tokens there are to train on."""
    return loader_of(source_of(config), config, 1, context_length=1).tokens


def vocab_size(config: Config, identity: Identity) -> int:
    """Return the tokens of the vocabulary: the tokenizer's, or what was given."""
    size = identity.vocab_size or config.model.vocab_size
    if size is None:
        raise ConfigError(
            f"{config.data.path} does not say how many tokens its vocabulary has",
            f"put its tokenizer.json beside it, or give {param('vocab_size')}",
        )
    return size


def sampling_tokenizer(config: Config) -> Tokenizer | None:
    """Return the tokenizer that samples are written with; None where nothing needs one, or none is to be had."""
    if config.train.sample_every is None:
        return None
    tokenizer = tokenizer_of(source_of(config))
    if tokenizer is None and config.train.sample_every != "auto":
        raise UsageError(
            f"{source_of(config)} has no tokenizer.json to write samples with", f"leave {param('sample_every')} out"
        )
    return tokenizer


def tokenize(
    request: Request, config: Config, most: Callable[[], int] | None, on_event: Callable[[Event], None]
) -> None:
    """Make the text a folder of tokens, as `pylm tokenize` would: what is there already is kept.

    Args:
        request: whose text it is.
        config: names the tokenizer and the share of validation, else the size of the vocabulary that is built from it.
        most: asked how many are of use where there is much text.
        on_event: told how far it has come.
    """
    from pylm.data.for_training import prepare_for_training
    from pylm.data.sources import default_folder

    vocabulary, data = config.model.vocab_size, config.data

    def progress(
        done: float, total: float | None = None, *, phase: str | None = None, unit: str | None = None, note: str = ""
    ) -> None:
        on_event(Tokenizing(phase, done, total, unit, note))

    progress(0)
    try:
        prepared = prepare_for_training(
            request.text, vocabulary, most, progress=progress, say=lambda text: on_event(Note(text)),
            tokenizer=data.tokenizer, val=data.val_share, clean=data.clean,
        )  # fmt: skip
    except PylmError as error:
        folder = default_folder(request.text)
        if not (folder / "manifest.json").is_file():
            raise
        size = {} if vocabulary is None else {"vocab_size": vocabulary}
        again = call("tokenize", *request.names, **size, force=True)
        there = call("train", data=folder)
        raise DataError(error.marked[0], f"{there} trains on what is there; {again} makes them anew") from None
    on_event(Tokenized(request.names, prepared.folder, prepared.found))
