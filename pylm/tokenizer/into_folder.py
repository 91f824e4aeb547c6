"""Training a tokenizer into a folder: an interrupted training leaves what the same call goes on from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pylm.errors import Interrupted
from pylm.tokenizer import folder
from pylm.tokenizer.tokenizer import Tokenizer
from pylm.tokenizer.train import TrainOptions, train
from pylm.tokenizer.unfinished import lockable

__all__ = ["train_into"]


def train_into(
    out: Path,
    sources: Any,
    vocab_size: int,
    options: Mapping[str, Any],
    *,
    with_ranks: bool = False,
) -> tuple[Tokenizer, dict[str, Any]]:
    """Train a tokenizer and write its folder, whole or not at all; a tokenizer that was there is replaced.

    Returns the tokenizer, and what is worth saying about its training.

    Args:
        out: The folder.
        sources: See TrainOptions, as for `vocab_size` and `options`.
        vocab_size: Ids in all.
        options: The other fields of TrainOptions, but for `state`.
        with_ranks: Whether tiktoken ranks are written beside tokenizer.json.
    """
    folder.refuse_to_replace(out)
    state = out.parent / f".{out.name}.training"
    resumable = options.get("model") in (None, "bpe")
    with _kept_if_interrupted(state):
        wanted = TrainOptions.checked(sources, vocab_size, {**options, "state": str(state) if resumable else None})
        parts = train(wanted)
    tokenizer = Tokenizer(parts.backend, parts.config, parts.files)
    files = tokenizer.files()
    if with_ranks:
        files[folder.RANKS] = tokenizer.to_ranks()
    folder.write(out, files)
    _remove(state)
    return tokenizer, parts.facts


@contextmanager
def _kept_if_interrupted(state: Path) -> Iterator[None]:
    """Keep the state of a training that was interrupted, and no other."""
    existed = state.is_dir()
    try:
        yield
    except KeyboardInterrupt:
        if (state / "counts").is_file():
            raise Interrupted("interrupted", "the same command goes on from there") from None
        _remove(state)
        raise
    except Exception:
        if not existed:  # what an earlier run left is worth more than a mistyped option
            _remove(state)
        raise


def _remove(state: Path) -> None:
    """Remove a training's state, unless another training has it by now."""
    if lockable(state / "lock"):
        shutil.rmtree(state, ignore_errors=True)
