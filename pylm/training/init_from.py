"""A new run from another's weights: its shape where nobody gives one, and what has to be the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.data.open import tokenizer_of
from pylm.errors import CheckpointError, ConfigError
from pylm.training.events import Event, Initialised
from pylm.wording import call, param

if TYPE_CHECKING:
    from pylm.config.cascade import Resolved
    from pylm.config.schema import Model as Shape
    from pylm.data.identity import Identity
    from pylm.training.backend import Backend
    from pylm.training.request import Request

# What the weights do not depend on, or what is changed on purpose to go on from them, as a longer context is
FREE = {"vocab_size", "context_length", "rope_theta", "window", "dropout", "attention", "init_std", "zero_init"}


def with_shape(resolved: Resolved, request: Request) -> Resolved:
    """Return the configuration with the shape of the checkpoint that a run begins with, where nobody gives another.

    The vocabulary is the data's.
    """
    from pylm.checkpoint import find

    if request.init_from is None or request.depth is not None or resolved.config.model.n_layers is not None:
        return resolved
    path = find(request.init_from)
    shape, _ = _opened(path)
    values = {f"model.{key}": value for key, value in shape.model_dump(exclude={"vocab_size"}).items()}
    return resolved.completed(values, param("init_from", path))


def initialise(
    backend: Backend, shape: Shape, name: str, identity: Identity, on_event: Callable[[Event], None]
) -> None:
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
            f"tokenize the data with it: {call('tokenize', 'SOURCE', tokenizer=path)}",
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
    on_event(Initialised(path))


def _opened(path: Path) -> tuple[Shape, Any]:
    """Return the shape and the weights in a folder."""
    from pylm.checkpoint import open_weights
    from pylm.model.names import read

    return read(open_weights(path))


def _tokenizer(path: Path) -> str | None:
    """Return the identity of the tokenizer that the weights were trained with; None where nothing says it."""
    tokenizer = tokenizer_of(str(path))
    return None if tokenizer is None else tokenizer.identity
