"""A new run from another's weights: its shape where nobody gives one, and what has to be the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pylm.data.open import tokenizer_of
from pylm.errors import CheckpointError, ConfigError
from pylm.model.growing import grown
from pylm.tokenizer.grown import grown as with_tokens
from pylm.training.events import Event, Initialised
from pylm.wording import call, param

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.config.cascade import Resolved
    from pylm.config.schema import Model as Shape
    from pylm.model.lora import Adapter
    from pylm.training.backend import Backend
    from pylm.training.request import Request
    from pylm.training.session import Beginning

__all__ = ["begun_with", "initialise", "new_rows", "restarted", "with_shape"]

# What the weights do not depend on, or what is changed on purpose to go on from them, as a longer context is
FREE = {"vocab_size", "context_length", "rope_theta", "window", "dropout", "attention", "init_std", "zero_init"}


def with_shape(resolved: Resolved, request: Request) -> Resolved:
    """Return the configuration with the shape of the checkpoint that a run begins with, where nobody gives another.

    The vocabulary is the data's.
    """
    from pylm.generation.load import folder_of

    if request.init_from is None or request.depth is not None or resolved.config.model.n_layers is not None:
        return resolved
    path = folder_of(request.init_from)
    shape, _ = _opened(path)
    values = {f"model.{key}": value for key, value in shape.model_dump(exclude={"vocab_size"}).items()}
    return resolved.completed(values, param("init_from", path))


def restarted(request: Request) -> Request:
    """Return the request of a run that was killed before its first checkpoint with the one that it began with."""
    if request.resume != "auto" or request.out is None:
        return request
    begun = begun_with(request.out)
    if not begun:
        return request
    return replace(request, init_from=begun["checkpoint"], new_tokens=tuple(begun.get("new_tokens", ())))


def new_rows(request: Request, checkpoint: Checkpoint | None) -> range | None:
    """Return the rows of tokens that the weights which a run began with did not have; None where there are none."""
    if checkpoint is not None:
        rows = checkpoint.state.get("init_from", {}).get("new_rows")
        return None if rows is None else range(*rows)
    if not request.new_tokens:
        return None
    from pylm.generation.load import folder_of

    tokenizer = tokenizer_of(str(folder_of(request.init_from)))
    assert tokenizer is not None
    return range(tokenizer.vocab_size, tokenizer.vocab_size + len(request.new_tokens))


def initialise(
    backend: Backend, shape: Shape, begin: Beginning, request: Request, folder: Path, on_event: Callable[[Event], None]
) -> dict[str, Any]:
    """Take a checkpoint's weights for a new run, and its optimizer where that is kept.

    Returns what the run's checkpoints say of it: what was taken of whom, and of an adapter what it is for. It is an
    error where that is another model, speaks another tokenizer, or is no longer what the run began with.
    """
    from pylm.checkpoint import verify
    from pylm.generation.load import folder_of

    assert request.init_from is not None
    path, identity = folder_of(request.init_from), begin.data.identity
    checkpoint = verify(path) if (path / "manifest.json").exists() else None
    theirs, weights = _opened(path)
    found = _tokenizer(path, request.new_tokens)
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
    keeps = begin.config.train.optimizer_state == "keep"
    taken: dict[str, Any] = {
        "checkpoint": str(path),
        "weights": None if checkpoint is None else checkpoint.identity,
        "step": None if checkpoint is None else checkpoint.step,
        "optimizer_state": begin.config.train.optimizer_state,
        "train": _inherited(begin.resolved, path),
    }
    rows = shape.vocab_size or 0
    if begin.config.finetune.dataset is not None and (begin.new or theirs.vocab_size != rows):
        weights = cast(Any, grown(weights, rows, begin.new or range(rows, rows)))
    if begin.new is not None:
        taken |= {"new_tokens": list(request.new_tokens), "new_rows": [begin.new.start, begin.new.stop]}
    if request.resume is not None:  # nothing but its configuration stands of what it took
        begun = begun_with(folder)
        if begun.get("weights") != taken["weights"]:
            raise CheckpointError(
                f"{path} is another checkpoint now than the one that {folder} began with",
                f"without {param('resume')} and with another {param('out')}, a new run begins with it",
            )
        taken = begun
    adapter = backend.adapter
    if adapter is None:
        backend.load(weights, checkpoint.optimizer() if keeps and checkpoint else None)
    elif keeps:
        raise ConfigError(
            f"{param('optimizer_state', 'keep')}: no optimizer has moments for an adapter that is new",
            f"leave it out, or {param('method', 'full')}",
        )
    else:
        backend.load_base(weights)
    on_event(Initialised(path, keeps, taken["train"]))
    return {"init_from": taken} | ({} if adapter is None else {"adapter": _on_base(adapter, path, begin.new, rows)})


def _on_base(adapter: Adapter, base: Path, new: range | None, vocabulary: int) -> dict[str, Any]:
    """Return what a checkpoint says of an adapter: what it is, and for which weights."""
    from pylm.checkpoint import open_weights

    place = {"path": str(base.resolve()), "weights": open_weights(base).identity}
    rows = None if new is None else [new.start, new.stop]
    return {**asdict(adapter), "targets": list(adapter.targets), "vocabulary": vocabulary, "rows": rows, "base": place}


def _inherited(resolved: Resolved, path: Path) -> dict[str, Any]:
    """Return the keys of training that are a checkpoint's, with their values."""
    of_it = [key for key, origin in resolved.origins.items() if origin == param("init_from", path)]
    return {
        name: getattr(resolved.config.train, name)
        for section, _, name in (key.partition(".") for key in of_it)
        if section == "train"
    }


def begun_with(folder: Path) -> dict[str, Any]:
    """Return what a run's folder says that it began with; nothing where it says nothing."""
    try:
        begun = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["init_from"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return begun if isinstance(begun, dict) and isinstance(begun.get("checkpoint"), str) else {}


def _opened(path: Path) -> tuple[Shape, Any]:
    """Return the shape and the weights in a folder."""
    from pylm.checkpoint import open_weights
    from pylm.model.names import read

    return read(open_weights(path))


def _tokenizer(path: Path, new: Sequence[str]) -> str | None:
    """Return the identity of the weights' tokenizer, with the tokens that are new; None where nothing says it."""
    tokenizer = tokenizer_of(str(path))
    return None if tokenizer is None else (with_tokens(tokenizer, new) if new else tokenizer).identity
