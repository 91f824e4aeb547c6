"""What a run trains on and is judged by: found, opened and measured before anything is planned or written."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import ConfigError, DataError, PylmError, UsageError

if TYPE_CHECKING:
    from pylm.config.schema import Config
    from pylm.data import Loader
    from pylm.data.identity import Identity
    from pylm.training.backend import Backend

Say = Callable[[str], None]
NO_WINDOW = "hold no window"  # how the loader says that there are too few tokens
LARGEST_CONTEXT = 1 << 20  # that is proposed


@dataclass(frozen=True)
class TrainingData:
    """The data of a run, opened: it holds a window at the least."""

    identity: Identity  # without a validation split where that holds no window
    first: Loader  # of one sequence at a time
    remark: str | None  # what is to be said of it


def open_data(config: Config, named: str | None = None) -> TrainingData:
    """Open what a run is trained on and judged by; refuse what holds no window.

    Args:
        config: of the run, with its context length.
        named: what the user called the data, such as the text that was tokenized.
    """
    from pylm.data.identity import identify

    source = config.data.mix or config.data.path
    assert source is not None
    identity = identify(source, config.data.val)
    refuse_too_small(config, config.model.context_length, named)
    first = loader(config, 1)
    if identity.validation is None:
        return TrainingData(
            identity, first, "there is no validation split: nothing is evaluated, and no checkpoint is the best"
        )
    if (found := _held_back(config, identity)) is None:
        return TrainingData(identity, first, None)
    fits = "" if found.tokens < 3 else f"--context-length {_fitting(found.tokens)}, or "
    if config.data.val is not None:
        raise DataError(f"data.val {config.data.val} {found}", f"{fits}leave --val out, or name more text with it")
    remark = f"training without validation: the text held back for it {found} ({fits}more text, brings it back)"
    return TrainingData(dataclasses.replace(identity, validation=None), first, remark)


@dataclass(frozen=True)
class _TooSmall:
    tokens: int
    context_length: int

    def __str__(self) -> str:
        return f"is {self.tokens:,} tokens, and a window of {self.context_length:,} takes one more than that"


def _fitting(tokens: int) -> int:
    """The largest power of two that a window of so many tokens can have."""
    return 1 << min((tokens - 1).bit_length() - 1, LARGEST_CONTEXT.bit_length() - 1)


def refuse_too_small(config: Config, context_length: int, named: str | None = None) -> None:
    """Refuse data that holds not one window, in the words of whoever named it."""
    from pylm.data import Loader

    data = config.data
    source = data.mix or data.path
    assert source is not None
    for name in source if isinstance(source, dict) else [source]:
        try:
            Loader(name, context_length, 1, window=data.window, stride=data.stride)
        except DataError as error:
            if NO_WINDOW not in error.message:
                raise
            found = _TooSmall(_tokens(name, "train"), context_length)
            text = named if named is not None and not isinstance(source, dict) else name
            more = "name a longer text"
            if found.tokens > 2:
                more = f"--context-length {_fitting(found.tokens)} trains on it; more text is better"
            raise DataError(f"{text} is too small to train on: it {found}", more) from None


def _held_back(config: Config, identity: Identity) -> _TooSmall | None:
    """Why nothing can be validated on, None where something can."""
    from pylm.data import Loader
    from pylm.evaluation.validation import split_of

    folder, split = split_of(config, identity)
    context = config.model.context_length
    try:
        Loader(folder, context, 1, split=split, window=config.data.window)
    except DataError as error:
        if NO_WINDOW not in error.message:
            raise
        return _TooSmall(_tokens(folder, split), context)
    return None


def _tokens(folder: str, split: str) -> int:
    """How many tokens a split has; one or none are not told apart."""
    from pylm.data import Loader

    try:
        return Loader(folder, 1, 1, split=split).tokens
    except DataError as error:
        if NO_WINDOW not in error.message:
            raise
        return 1


def loader(
    config: Config, batch_size: int, backend: Backend | None = None, context_length: int | None = None
) -> Loader:
    """Batches of the run's data."""
    from pylm.data import Loader

    data = config.data
    source = data.mix or data.path
    assert source is not None
    return Loader(
        source,
        context_length or config.model.context_length,
        batch_size,
        seed=config.train.seed,
        window=data.window,
        stride=data.stride,
        allocate=None if backend is None else backend.allocate,
    )


def vocab_size(config: Config, identity: Identity) -> int:
    """Tokens of the vocabulary: the tokenizer's, or what was given."""
    found = identity.vocab_size or config.model.vocab_size
    if found is None:
        raise ConfigError(
            f"{config.data.path} does not say how many tokens its vocabulary has",
            "put its tokenizer.json beside it, or give --vocab-size",
        )
    return found


def tokenizer_of(config: Config, identity: Identity) -> Any:
    """The tokenizer that samples are written with; None where nothing needs one, or none is there to be had."""
    from pylm.tokenizer import Tokenizer

    data = config.data.mix or config.data.path
    if config.train.sample_every is None:
        return None
    if "tokenizer.json" not in identity.texts:
        if config.train.sample_every == "auto":
            return None
        raise UsageError(f"{data} has no tokenizer.json to write samples with", "leave --sample-every out")
    name = next(iter(data)) if isinstance(data, dict) else data
    assert name is not None
    folder = Path(name)
    return Tokenizer.load(str(folder if folder.is_dir() else folder.parent))


def tokenized(files: Sequence[str], vocabulary: int | None, say: Say, quiet: bool) -> str:
    """The folder of a text's tokens, which `pylm tokenize` would have written: what is there already is kept.

    Args:
        files: the sources.
        vocabulary: tokens of the vocabulary that is built from them; None: by their amount.
        say: told what a user wants to read.
        quiet: whether no bar is drawn.
    """
    from pylm.cli.frame.progress import Progress
    from pylm.data.prepare import Training, default_folder, prepare

    training = None if vocabulary is None else Training(vocab_size=vocabulary)
    words = shlex.join([*files, *([] if vocabulary is None else ["--vocab-size", str(vocabulary)])])
    try:
        with Progress("tokenize", unit="bytes", quiet=quiet) as progress:
            done = prepare(files, training=training, for_training=True, progress=progress, say=progress.say)
    except PylmError as error:
        folder = default_folder(files)
        if not (folder / "manifest.json").is_file():
            raise
        again = f"pylm tokenize {words} --force makes them anew"
        raise DataError(error.message, f"pylm train --data {folder} trains on what is there; {again}") from None
    if not done.found:
        say(f"{' '.join(files)} is tokenized: {done.folder}")
    return str(done.folder)
