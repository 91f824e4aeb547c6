"""The checkpoints of a soup: opened, every byte checked while they are summed, refused where they are of two models."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pylm.checkpoint import Adapted, Checkpoint, Tensor, Weights, find, open_weights, verify
from pylm.checkpoint import read as read_checkpoint
from pylm.config.cascade import resolve
from pylm.config.schema import Config
from pylm.config.schema import Model as Shape
from pylm.data.open import tokenizer_of
from pylm.errors import CheckpointError, PylmError
from pylm.model.floats import FLOATS
from pylm.model.layouts import read_json, shape_of
from pylm.model.names import read
from pylm.soups import adapters
from pylm.wording import call

__all__ = ["Parent", "checking", "in_order", "opened", "refuse_unlike"]

OURS = "pylm's"
# What a model computes does not depend on these once it is trained
FREE = {"dropout", "attention", "init_std", "zero_init"}
MARKED = 1 << 12  # bytes of each tensor that tell other programs' folders apart without reading all of them


@dataclass(frozen=True)
class Parent:
    """A checkpoint, by the name that was given for it."""

    name: str
    folder: Path
    checkpoint: Checkpoint | None  # None for a folder of Hugging Face's layout
    layout: str  # whose names its tensors have
    shape: Shape
    tokenizer: str | None  # its identity; None where nothing says it
    weights: Mapping[str, Tensor]

    @cached_property
    def identity(self) -> str:
        """The hash of the weights; of a folder of Hugging Face's layout every byte is read for it."""
        return (self.checkpoint or Weights(self.folder)).identity

    @cached_property
    def mark(self) -> str:
        """The identity, where a manifest says it; else a hash of the first bytes of each tensor."""
        if self.checkpoint is not None:
            return self.identity
        digest = hashlib.blake2b()
        for name, tensor in sorted(self.weights.items()):
            digest.update(name.encode() + bytes(tensor.data[:MARKED]))
        return digest.hexdigest()

    @property
    def step(self) -> int:
        """Steps taken; 0 where nobody says."""
        return 0 if self.checkpoint is None else self.checkpoint.step

    @property
    def is_adapter(self) -> bool:
        """Say whether it holds what is added to the weights of a base."""
        return self.checkpoint is not None and "adapter" in self.checkpoint.state

    def config(self) -> Config | None:
        """Return the configuration of the run that it comes from, where it comes from one."""
        if self.checkpoint is None:
            return None
        return resolve(files=[self.folder / "config.yaml"], environ={}).config


def opened(names: Sequence[str]) -> list[Parent]:
    """Return the checkpoints, whose files have the sizes of their manifests; `checking` hashes them."""
    return [_opened(name, find(name)) for name in names]


@contextmanager
def checking(parents: Sequence[Parent]) -> Iterator[Callable[[], None]]:
    """Hash all files of the parents meanwhile, and yield what waits for that and raises where one is damaged.

    Damage is told before any other error, which may come of it.
    """
    with ThreadPoolExecutor(min(len(parents), os.cpu_count() or 1)) as pool:
        found: list[Future[object]] = [pool.submit(_read_all, parent) for parent in parents]

        def sound() -> None:
            for each in found:
                each.result()

        try:
            yield sound
        except PylmError:
            sound()
            raise


def in_order(parents: Iterable[tuple[Parent, float]]) -> list[tuple[Parent, float]]:
    """Return checkpoints and their shares in an order that is theirs: the one they were named in is nothing to it."""
    given = list(parents)
    marks = Counter(parent.mark for parent, _ in given)

    def key(each: tuple[Parent, float]) -> tuple[str, str, float, str]:
        parent, share = each
        # two folders that begin alike may still differ, and only then are they read before anything is summed
        return parent.mark, parent.identity if marks[parent.mark] > 1 else "", share, parent.name

    return sorted(given, key=key)


def _read_all(parent: Parent) -> str:
    if parent.checkpoint is not None:
        verify(parent.folder, remembers=True)
    return parent.identity


def _opened(name: str, folder: Path) -> Parent:
    weights = open_weights(folder)
    if isinstance(weights, Adapted):
        return _opened_adapter(name, weights)
    if (folder / "manifest.json").exists() or (folder / "config.yaml").exists():
        checkpoint = read_checkpoint(folder)
        try:
            shape, _ = read(weights)
        except PylmError:
            verify(folder)  # damage explains it better
            raise
        known = checkpoint.state.get("tokenizer")
        return Parent(name, folder, checkpoint, OURS, shape, known, weights.weights())
    layout, shape = shape_of(read_json(folder / "config.json"))
    tokenizer = tokenizer_of(str(folder))
    known = None if tokenizer is None else tokenizer.identity
    return Parent(name, folder, None, layout, shape, known, weights.weights())


def _opened_adapter(name: str, opened: Adapted) -> Parent:
    if not (opened.path / "config.yaml").exists():
        raise CheckpointError(
            f"{name} is an adapter in another program's form, of which no soup is made",
            f"merge each with its base first: {call('adapter', name, out='merged')}",
        )
    checkpoint = verify(opened.path, remembers=True)  # small, and its tensors say what is compared
    shape, _ = read(opened.base)
    known = checkpoint.state.get("tokenizer")
    return Parent(name, opened.path, checkpoint, OURS, shape, known, checkpoint.weights())


def refuse_unlike(parents: Sequence[Parent]) -> None:
    """Refuse checkpoints of two models, and name the first difference."""
    adapters.refuse_mixed(parents)
    first = parents[0]
    for other in parents[1:]:
        for what, mine, theirs in _compared(first, other):
            if mine != theirs:
                raise CheckpointError(
                    f"{first.name} and {other.name} make no soup: {what} is {mine} in one and {theirs} in the other",
                    "a soup is of checkpoints that went on from the same weights",
                )


def _compared(one: Parent, two: Parent) -> Iterator[tuple[str, Any, Any]]:
    """Yield what has to be the same, with both values, from the general to the particular."""
    yield "the layout", one.layout, two.layout
    if one.is_adapter:
        yield from adapters.compared(one, two)
    yield "the tokenizer", _short(one.tokenizer), _short(two.tokenizer)
    for key in (key for key in type(one.shape).model_fields if key not in FREE):
        yield key, getattr(one.shape, key), getattr(two.shape, key)
    if one.checkpoint is not None and two.checkpoint is not None:
        mine, theirs = one.checkpoint.texts(), two.checkpoint.texts()
        for name in sorted(mine.keys() | theirs.keys()):
            yield name, _hashed(mine.get(name, "").encode()), _hashed(theirs.get(name, "").encode())
    for name in sorted(one.weights.keys() ^ two.weights.keys()):
        yield f"the tensor {name}", _there(name, one), _there(name, two)
    for name, tensor in one.weights.items():
        other = two.weights[name]
        yield f"the type of {name}", tensor.dtype, other.dtype
        if not adapters.is_factor(name):  # adapters of other ranks make a soup
            yield f"the shape of {name}", list(tensor.shape), list(other.shape)
        if tensor.dtype not in FLOATS:
            yield f"{name}, of whole numbers,", _hashed(tensor.data), _hashed(other.data)


def _there(name: str, parent: Parent) -> str:
    return "there" if name in parent.weights else "missing"


def _short(identity: str | None) -> str:
    return "unknown" if identity is None else f"{identity[:12]}…"


def _hashed(data: bytes | memoryview) -> str:
    return f"{hashlib.blake2b(data).hexdigest()[:12]}…"
