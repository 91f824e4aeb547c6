"""Adapters of one base: the average of what they do is an adapter whose factors are theirs beside each other.

    Σ shareᵢ · scaleᵢ · Bᵢ Aᵢ = scale · [share₁ · scale₁ / scale · B₁, …] [A₁; …]

The rank is the sum of theirs, and the scale the largest of them. Only the columns of B are multiplied; where all
scales are alike, by the share alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm.errors import CheckpointError
from pylm.soups.arithmetic import Summed
from pylm.wording import call

if TYPE_CHECKING:
    from pylm.checkpoint import Tensor
    from pylm.soups.arithmetic import Coefficients
    from pylm.soups.parents import Parent

__all__ = ["Beside", "compared", "held_of", "is_factor", "refuse_mixed", "refuse_on_sphere", "state_of", "tensors_of"]


@dataclass(frozen=True)
class Beside:
    """One factor of an adapter: those of the parents beside each other, in the rank."""

    name: str
    parents: Sequence[Parent]
    coefficients: Coefficients
    progress: Callable[[int], object]  # called with the bytes of each part

    dtype = "F32"

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape, in which the rank is the sum of the parents'."""
        shapes = [tensor.shape for tensor in self._tensors]
        rank = sum(shape[1 if self._is_b else 0] for shape in shapes)
        return (shapes[0][0], rank) if self._is_b else (rank, shapes[0][1])

    @property
    def _is_b(self) -> bool:
        return self.name.endswith(".lora_b")

    @property
    def _tensors(self) -> list[Tensor]:
        return [parent.weights[self.name] for parent in self.parents]

    def parts(self) -> Iterator[Any]:
        """Yield the bytes: the rows of each A as they are, or the columns of each B times what they count."""
        whole = np.concatenate([self._counted(parent, factor) for parent, factor in self._factors()], int(self._is_b))
        yield np.ascontiguousarray(whole).data
        self.progress(whole.nbytes)

    def _factors(self) -> Iterator[tuple[Parent, float]]:
        whole = _scale_of_all(self.parents)
        shares = self.coefficients(self._tensors, self.name)
        for parent, share in zip(self.parents, shares, strict=True):
            yield parent, share * (_scale(parent) / whole) if self._is_b else 1.0

    def _counted(self, parent: Parent, factor: float) -> np.ndarray[Any, Any]:
        tensor = parent.weights[self.name]
        values = np.frombuffer(tensor.data, "<f4").reshape(tensor.shape)
        if factor != 1:
            with np.errstate(over="ignore", invalid="ignore"):
                values = (values * np.float64(factor)).astype("<f4")
        if not np.isfinite(values).all():
            raise CheckpointError(f"{parent.name} holds numbers in {self.name} that are not finite", "leave it out")
        return values


def is_factor(name: str) -> bool:
    """Say whether a tensor of an adapter is one of two whose product is added; the others are rows of new tokens."""
    return name.endswith((".lora_a", ".lora_b"))


def tensors_of(
    parents: Sequence[Parent], coefficients: Coefficients, progress: Callable[[int], object]
) -> dict[str, Beside | Summed]:
    """Return the tensors of the soup: factors beside each other, and the average of the rows of new tokens."""
    return {
        name: (Beside if is_factor(name) else Summed)(name, parents, coefficients, progress)
        for name in parents[0].weights
    }


def state_of(parents: Sequence[Parent]) -> dict[str, Any]:
    """Return what the state of the soup says of the adapter; its base lies where the first one's does."""
    rank = sum(held_of(parent)["rank"] for parent in parents)
    return {**held_of(parents[0]), "rank": rank, "alpha": _scale_of_all(parents) * rank, "dropout": 0.0}


def held_of(parent: Parent) -> Mapping[str, Any]:
    """Return what the state of an adapter says of it."""
    assert parent.checkpoint is not None
    held: Mapping[str, Any] = parent.checkpoint.state["adapter"]
    return held


def _scale(parent: Parent) -> float:
    held = held_of(parent)
    return float(held["alpha"] / held["rank"])


def _scale_of_all(parents: Sequence[Parent]) -> float:
    """Return what the products of the soup count: as the largest of the parents', for one may be zero."""
    return max(map(_scale, parents)) or 1.0


def compared(one: Parent, two: Parent) -> Iterator[tuple[str, Any, Any]]:
    """Yield what has to be the same of two adapters before their models are looked at: the base."""
    mine, theirs = held_of(one), held_of(two)
    yield "the base", f"{mine['base']['weights'][:12]}…", f"{theirs['base']['weights'][:12]}…"
    for what, key in (("the new tokens", "rows"), ("vocab_size", "vocabulary"), ("what is adapted", "targets")):
        yield what, mine[key], theirs[key]


def refuse_mixed(parents: Sequence[Parent]) -> None:
    """Refuse an adapter beside a checkpoint of all weights."""
    if len(by_kind := {parent.is_adapter: parent.name for parent in parents}) == 2:
        raise CheckpointError(
            f"{by_kind[True]} is an adapter, and {by_kind[False]} holds all weights of a model",
            f"merge the adapter with its base first: {call('adapter', by_kind[True], out='merged')}",
        )


def refuse_on_sphere(method: str, parents: Sequence[Parent]) -> None:
    """Refuse the averages of directions for adapters: those of factors are not those of what the factors do."""
    if method in ("slerp", "karcher") and parents[0].is_adapter:
        name = parents[0].name
        raise CheckpointError(
            f"{name} is an adapter, and {method} of two adapters' factors is not that of what they do",
            f"merge each with its base first: {call('adapter', name, out='merged')}",
        )
