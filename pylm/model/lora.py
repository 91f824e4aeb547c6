"""Low-rank adapters (Hu et al., 2021): what is adapted, what the factors begin as, and a base with them added.

    y = W x + b + (alpha / rank) B A x        A [rank, in], B [out, rank]

The factors of a module go by its name: `blocks.0.mlp.up.lora_a` and `.lora_b`. The linear of queries, keys and values
is adapted as one: its A is that of all three, and its B holds their rows. A table is a linear of one-hot vectors: its A
is [rank, vocabulary], its B [width, rank]. No framework is needed here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pylm.config.schema import Finetune
from pylm.config.schema import Model as Shape
from pylm.errors import CheckpointError, ConfigError, did_you_mean
from pylm.model import parameters
from pylm.model.names import Stored, Tensor
from pylm.wording import param

__all__ = ["LINEARS", "TABLES", "Adapter", "applied", "factors", "start", "to_numpy"]

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
        rows: ids of tokens that the base never saw, whose rows of the tables learn as they are.
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: tuple[str, ...] = LINEARS
    rows: tuple[int, ...] = ()

    @property
    def scale(self) -> float:
        """What the product of the factors counts."""
        return self.alpha / self.rank

    @classmethod
    def of(cls, finetune: Finetune, shape: Shape, rows: tuple[int, ...] = ()) -> Adapter | None:
        """Return the adapter that a configuration asks for, None where its method is another."""
        if finetune.method != "lora":
            return None
        targets = _targets(finetune.lora_targets, shape)
        return cls(finetune.lora_rank, finetune.lora_alpha, finetune.lora_dropout, targets, rows)

    def as_json(self) -> dict[str, Any]:
        """Return what a state holds of it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Adapter:
        """Return what `as_json` gave."""
        lists = {name: tuple(held[name]) for name in ("targets", "rows")}
        return cls(held["rank"], held["alpha"], held["dropout"], **lists)

    def modules(self, shape: Shape) -> Iterator[str]:
        """Yield the names of the modules that are adapted, in the order in which their factors are drawn."""
        assert shape.n_layers is not None
        yield from (table for table in TABLES if table in self.targets)
        for layer in range(shape.n_layers):
            yield from (f"blocks.{layer}.{linear}" for linear in LINEARS if linear in self.targets)

    def sizes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all that learns, by name."""
        whole, found = parameters.parameters(shape), {}
        for module in self.modules(shape):
            rows, columns = whole[f"{module}.weight"].shape
            out, into = (columns, rows) if module == "embed" else (rows, columns)
            found[f"{module}.lora_a"], found[f"{module}.lora_b"] = (self.rank, into), (out, self.rank)
        for table in self.tables(shape):
            found[f"{table}.rows"] = (len(self.rows), whole[f"{table}.weight"].shape[1])
        return found

    def tables(self, shape: Shape) -> tuple[str, ...]:
        """Return the tables of which single rows learn."""
        return () if not self.rows else ("embed",) if shape.tied else TABLES


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
                f"{param('lora_targets')}: this model has no {word}", did_you_mean(word, list(known)) or f"it has {shown}"
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
    the seed alone, the same for every framework. The rows of new tokens are the base's to give.
    """
    words = np.random.RandomState((seed ^ OWN_WORDS) & 0xFFFFFFFF)
    found: dict[str, Array] = {}
    for name, size in adapter.sizes(shape).items():
        module, _, kind = name.rpartition(".")
        if kind == "rows":
            continue
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
    base: Mapping[str, Stored], tensors: Mapping[str, Stored], scale: float, rows: tuple[int, ...] = ()
) -> dict[str, Stored]:
    """Return the tensors of a base with an adapter added, in float32 where one is; the others share the base's bytes.

    Args:
        base: by our names.
        tensors: the adapter's: factors, and rows of tables.
        scale: what the product of the factors counts.
        rows: the ids that the rows are of; a table that ends before them grows.
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
        found[weight] = _tensor(to_numpy(base[weight]) + np.float32(scale) * change)
    for table in TABLES:
        if f"{table}.rows" in tensors:
            found[f"{table}.weight"] = _with_rows(found[f"{table}.weight"], to_numpy(tensors[f"{table}.rows"]), rows)
    return found


def _with_rows(table: Stored, new: Array, ids: tuple[int, ...]) -> Tensor:
    held = to_numpy(table)
    if len(new) != len(ids) or new.shape[1] != held.shape[1]:
        raise CheckpointError(f"the adapter holds rows of shape {list(new.shape)} for {len(ids)} tokens")
    grown = np.zeros((max(len(held), max(ids, default=-1) + 1), held.shape[1]), np.float32)
    grown[: len(held)] = held
    grown[list(ids)] = new
    return _tensor(grown)


def to_numpy(tensor: Stored) -> Array:
    """Return a stored tensor of floats as float32."""
    data = memoryview(tensor.data).cast("B")
    if tensor.dtype == "BF16":
        flat = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif tensor.dtype in ("F64", "F32", "F16"):
        flat = np.frombuffer(data, {"F64": "<f8", "F32": "<f4", "F16": "<f2"}[tensor.dtype]).astype(np.float32, copy=False)
    else:
        raise CheckpointError(f"a tensor of type {tensor.dtype} takes no adapter")
    return flat.reshape(tensor.shape)


def _tensor(array: Array) -> Tensor:
    return Tensor("F32", array.shape, memoryview(np.ascontiguousarray(array, np.float32).reshape(-1).view(np.uint8)))
