"""The data of a configuration, opened: the one place that makes a Loader of one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.data.folder import read_manifest
from pylm.errors import PylmError, PylmWarning, UsageError

if TYPE_CHECKING:
    from pylm.config.schema import Config
    from pylm.data.identity import Identity
    from pylm.data.loader import Loader
    from pylm.tokenizer import Tokenizer
    from pylm.tokenizer.backend import Lengths

__all__ = ["Source", "byte_lengths_of", "loader_of", "source_of", "split_of", "tokenizer_of"]

Source = str | Mapping[str, float]  # a folder of shards or a file of tokens, or several with their weights


def source_of(config: Config) -> Source:
    """Return what a configuration trains on: `data.mix`, else `data.path`."""
    source = config.data.mix or config.data.path
    if source is None:
        raise UsageError("the configuration names no data", "set data.path or data.mix")
    return source


def loader_of(
    source: Source,
    config: Config,
    batch_size: int,
    *,
    split: str = "train",
    seed: int | None = None,
    context_length: int | None = None,
    window: str | None = None,
    strided: bool = True,
    allocate: Callable[[tuple[int, int], str], Any] | None = None,
    rank: int = 0,
    world: int = 1,
) -> Loader:
    """Return the loader of `source`, which is read as a configuration says.

    Args:
        source: `source_of(config)`, or where the validation split is.
        config: Gives what is None here: `train.seed`, `model.context_length`, `data.window`.
        batch_size: Sequences of a batch.
        split: `train` or `val`.
        seed: What the order depends on.
        context_length: Tokens of a window.
        window: `contiguous` or `packed`.
        strided: Whether windows lie `data.stride` apart, as training reads them; else each token stands in one window.
        allocate: Makes the memory of the ring, see `Loader`.
        rank: This process, of those that share each batch.
        world: How many they are.
    """
    from pylm.data.loader import Loader

    return Loader(
        source,
        config.model.context_length if context_length is None else context_length,
        batch_size,
        split=split,
        seed=config.train.seed if seed is None else seed,
        window=config.data.window if window is None else window,
        stride=config.data.stride if strided else None,
        allocate=allocate,
        rank=rank,
        world=world,
    )


def split_of(config: Config, identity: Identity) -> tuple[str, str]:
    """Return where the validation split lies, and what it is called there."""
    assert identity.validation is not None
    return identity.validation, "val" if config.data.val is None else "train"


def byte_lengths_of(path: str) -> Lengths | None:
    """Return how many bytes each id of a folder or file of tokens stands for, see `Tokenizer.byte_lengths`.

    None where no tokenizer that can be read lies beside it, or another one than its manifest names: nothing is guessed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PylmWarning)  # what others make of the tokenizer changes no bytes
        try:
            tokenizer = tokenizer_of(path)
        except PylmError:  # such as a package that only it needs: ids alone can be trained and evaluated on
            return None
    if tokenizer is None:
        return None
    manifest = read_manifest(Path(path))
    if manifest is not None and manifest.get("tokenizer") != tokenizer.identity:
        return None
    return tokenizer.byte_lengths()


def tokenizer_of(source: Source) -> Tokenizer | None:
    """Load the tokenizer that lies beside data, or return None where none does."""
    from pylm.tokenizer import Tokenizer

    for path in map(Path, source if isinstance(source, Mapping) else [source]):
        folder = path if path.is_dir() else path.parent
        if (folder / "tokenizer.json").is_file():
            return Tokenizer.load(str(folder))
    return None
