"""A new run from another's weights: its shape where nobody gives one, and what has to be the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from pylm.config.given import Given
    from pylm.config.schema import Model as Shape
    from pylm.data.identity import Identity
    from pylm.training.backend import Backend

# What the weights do not depend on, or what is changed on purpose to go on from them, as a longer context is
FREE = {"vocab_size", "context_length", "rope_theta", "window", "dropout", "attention", "init_std", "zero_init"}


def with_shape(given: Given, name: str) -> Given:
    """The command line with the shape of a checkpoint where nobody gives one; the vocabulary is the data's."""
    from pylm.checkpoint import find
    from pylm.config.cascade import DEFAULT

    path = find(name)
    shape, _ = _opened(path)
    resolved = given.resolve()
    for key, value in shape.model_dump(exclude={"vocab_size"}).items():
        if resolved.origin(f"model.{key}") == DEFAULT:
            given = given.with_default(f"model.{key}", value, f"--init-from {path}")
    return given


def initialise(backend: Backend, shape: Shape, name: str, identity: Identity, say: Callable[[str], None]) -> None:
    """Take a checkpoint's weights for a new run; an error where it is another model, or speaks another tokenizer."""
    from pylm.checkpoint import find, verify

    path = find(name)
    if (path / "manifest.json").exists():
        verify(path)
    theirs, weights = _opened(path)
    found = _tokenizer(path)
    if found is not None and identity.tokenizer is not None and found != identity.tokenizer:
        raise CheckpointError(
            f"{path} speaks the tokenizer {found[:12]}…, the data {identity.tokenizer[:12]}…",
            f"tokenize the data with it: pylm tokenize SOURCE --tokenizer {path}",
        )
    mine = shape.model_dump(exclude=FREE)
    wrong = [f"{key} {mine[key]} is {value} there" for key, value in theirs.model_dump(exclude=FREE).items()
             if mine[key] != value]  # fmt: skip
    if wrong:
        raise ConfigError(
            f"the weights of {path} are of another model: {', '.join(wrong)}",
            "leave the shape out, and it is the checkpoint's",
        )
    backend.load(weights, None)
    say(f"weights of {path}; optimizer, schedule and data are fresh")


def _opened(path: Path) -> tuple[Shape, Any]:
    """The shape and the weights in a folder."""
    from pylm.checkpoint import open_weights
    from pylm.model.names import read

    return read(open_weights(path))


def _tokenizer(path: Path) -> str | None:
    """The identity of the tokenizer that the weights were trained with, None where nothing says it."""
    from pylm.tokenizer import Tokenizer

    return Tokenizer.load(str(path)).identity if (path / "tokenizer.json").exists() else None
