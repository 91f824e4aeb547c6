"""Low-rank adapters (Hu et al., 2021): what is adapted, what the factors begin as, and a base with them added.

    y = W x + b + (alpha / rank) B A x        A [rank, in], B [out, rank]

The factors of a module go by its name: `blocks.0.mlp.up.lora_a` and `.lora_b`. The linear of queries, keys and values
is adapted as one: its A is that of all three, and its B holds their rows. A table is a linear of one-hot vectors: its A
is [rank, vocabulary], its B [width, rank]. No framework is needed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pylm.config.schema import Finetune
from pylm.config.schema import Model as Shape
from pylm.errors import CheckpointError, ConfigError, did_you_mean
from pylm.model import parameters
from pylm.model.floats import FLOATS, from_bf16
from pylm.model.names import Stored, Tensor
from pylm.wording import param

__all__ = [
    "LINEARS",
    "TABLES",
    "Adapter",
    "applied",
    "factors",
    "in_model",
    "narrowed",
    "saved",
    "start",
    "to_numpy",
    "to_tensor",
]

LINEARS = ("attention.qkv", "attention.out", "mlp.gate", "mlp.up", "mlp.down")  # of a block
TABLES = ("embed", "head")
OWN_WORDS = 0x5DEECE66D  # what the seed is mixed with: the base may have been drawn from the same one

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Adapter:
    """What an adapter is of, beside its factors.

    Args:
        rank: of the factors.
        alpha: their product counts alpha / rank.
        dropout: share of an adapter's inputs that is dropped while it learns.
        targets: which linears of a block, and which tables.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: tuple[str, ...] = LINEARS

    @property
    def scale(self) -> float:
        """What the product of the factors counts."""
        return self.alpha / self.rank

    @classmethod
    def of(cls, finetune: Finetune, shape: Shape) -> Adapter:
        """Return the adapter that a configuration asks for."""
        targets = _targets(finetune.lora_targets, shape)
        return cls(finetune.lora_rank, finetune.lora_alpha, finetune.lora_dropout, targets)

    def modules(self, shape: Shape) -> Iterator[str]:
        """Yield the names of the modules that are adapted, in the order in which their factors are drawn."""
        assert shape.n_layers is not None
        yield from (table for table in TABLES if table in self.targets)
        for layer in range(shape.n_layers):
            yield from (f"blocks.{layer}.{linear}" for linear in LINEARS if linear in self.targets)

    def sizes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all factors, by name."""
        whole = parameters.parameters(shape)
        found: dict[str, tuple[int, ...]] = {}
        for module in self.modules(shape):
            rows, columns = whole[f"{module}.weight"].shape
            out, into = (columns, rows) if module == "embed" else (rows, columns)
            found[f"{module}.lora_a"], found[f"{module}.lora_b"] = (self.rank, into), (out, self.rank)
        return found


def _targets(asked: tuple[str, ...] | None, shape: Shape) -> tuple[str, ...]:
    """Return which linears and tables a configuration means, in our order; a word may leave its half of a block out."""
    there = tuple(linear for linear in LINEARS if linear != "mlp.gate" or shape.mlp == "swiglu")
    if asked is None:
        return there
    known = {name: one for one in (*there, *TABLES) for name in (one, one.rpartition(".")[2])}
    for word in asked:
        if word not in known:
            shown = ", ".join(one.rpartition(".")[2] for one in (*there, *TABLES))
            raise ConfigError(
                f"{param('lora_targets')}: this model has no {word}",
                did_you_mean(word, list(known)) or f"it has {shown}",
            )
        if known[word] in TABLES and shape.tied:
            raise ConfigError(
                f"{param('lora_targets')}: {word} is embedding and head at once in this model, whose head is tied: "
                "an adapter of the one would change the other",
                "leave it out; the rows of new tokens learn all the same",
            )
    if not asked:
        raise ConfigError(f"{param('lora_targets')} is empty: nothing would learn", "leave it out for every linear")
    return tuple(one for one in (*there, *TABLES) if one in {known[word] for word in asked})


def start(adapter: Adapter, shape: Shape, seed: int) -> dict[str, Array]:
    """Return the factors as they begin, by name, in float32: their product is zero, so the model is the base.

    A linear's A is uniform within 1 / √in and its B zero; a table's A is zero and its B normal. They are drawn from
    the seed alone, the same for every framework.
    """
    words = np.random.RandomState((seed ^ OWN_WORDS) & 0xFFFFFFFF)
    found: dict[str, Array] = {}
    for name, size in adapter.sizes(shape).items():
        module, _, kind = name.rpartition(".")
        table, count = module == "embed", math.prod(size)
        if kind == "lora_a" and not table:
            drawn = 2 * parameters.uniform(words, count) - 1
            found[name] = (drawn / np.float32(math.sqrt(size[1]))).reshape(size).astype(np.float32)
        elif kind == "lora_b" and table:
            found[name] = parameters.normal(words, count).reshape(size)
        else:
            found[name] = np.zeros(size, np.float32)
    return found


def factors(tensors: Mapping[str, Stored]) -> dict[str, tuple[Array, Array]]:
    """Return A and B in float32 by the module that they adapt."""
    found = {}
    for name in tensors:
        module, _, kind = name.rpartition(".")
        if kind == "lora_a":
            if f"{module}.lora_b" not in tensors:
                raise CheckpointError(f"the adapter holds {name} without its lora_b")
            found[module] = (to_numpy(tensors[name]), to_numpy(tensors[f"{module}.lora_b"]))
    return found


def applied(
    base: Mapping[str, Stored], tensors: Mapping[str, Stored], scale: float, rows: range | None = None
) -> dict[str, Stored]:
    """Return the tensors of a base with an adapter added, in float32 where one is; the others share the base's bytes.

    Args:
        base: by our names.
        tensors: the adapter's: factors, and under the name of a table with `.rows` those of new tokens.
        scale: what the product of the factors counts.
        rows: the ids of new tokens; a table that ends before them grows.
    """
    found = dict(base)
    for module, (a, b) in factors(tensors).items():
        weight = f"{module}.weight"
        if weight not in base:
            raise CheckpointError(f"the adapter is of {module}, which the base does not have")
        change = a.T @ b.T if module == "embed" else b @ a
        if change.shape != tuple(base[weight].shape):
            raise CheckpointError(
                f"the adapter of {module} is for {list(change.shape)}, the base's is {list(base[weight].shape)}"
            )
        change *= np.float32(scale)
        found[weight] = to_tensor(np.add(change, to_numpy(base[weight]), out=change))
    for name in (name for name in tensors if name.endswith(".rows")):
        table = in_model(name)
        found[table] = _with_rows(name, found[table], tensors[name], rows or range(0))
    return found


def _with_rows(name: str, table: Stored, new: Stored, rows: range) -> Tensor:
    held = to_numpy(table)
    if tuple(new.shape) != (len(rows), held.shape[1]) or rows.start > len(held):
        raise CheckpointError(f"the adapter holds {name} of shape {list(new.shape)} for {len(rows)} tokens")
    grown = np.empty((max(len(held), rows.stop), held.shape[1]), np.float32)
    grown[: len(held)] = held
    grown[rows.start : rows.stop] = to_numpy(new)
    return to_tensor(grown)


def saved(name: str) -> str:
    """Return how an adapter calls what learns of a parameter: of a table single rows."""
    return f"{name.removesuffix('.weight')}.rows" if name.endswith(".weight") else name


def in_model(name: str) -> str:
    """Return the parameter that `saved` gave this name."""
    return f"{name.removesuffix('.rows')}.weight" if name.endswith(".rows") else name


def to_numpy(tensor: Stored) -> Array:
    """Return a stored tensor of floats as float32."""
    data = memoryview(tensor.data).cast("B")
    if tensor.dtype == "BF16":
        flat = from_bf16(np.frombuffer(data, FLOATS["BF16"]))
    elif tensor.dtype in FLOATS:
        flat = np.frombuffer(data, FLOATS[tensor.dtype]).astype(np.float32, copy=False)
    else:
        raise CheckpointError(f"a tensor of type {tensor.dtype} takes no adapter")
    return flat.reshape(tensor.shape)


def narrowed(tensor: Stored, dtype: str) -> Stored:
    """Return a float32 tensor rounded once to another type of floats, half of a step to the even neighbour."""
    if tensor.dtype == dtype:
        return tensor
    wide = to_numpy(tensor)
    if dtype == "BF16":
        bits = np.ascontiguousarray(wide).view(np.uint32)
        narrow: Array = ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype("<u2")
    else:
        narrow = wide.astype({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype])
    return Tensor(dtype, wide.shape, narrow.reshape(-1).view(np.uint8).data)


def to_tensor(array: Array) -> Tensor:
    """Return an array of floats as a float32 tensor."""
    return Tensor("F32", array.shape, np.ascontiguousarray(array, np.float32).reshape(-1).view(np.uint8).data)
