"""Which parameters share a rate, a decay and a rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pylm.config.schema import Train

__all__ = ["Group", "groups"]


@dataclass(frozen=True)
class Group:
    """Names of parameters that are stepped alike; `rate` is their share of the schedule's learning rate."""

    rule: str
    rate: float
    decay: float
    names: tuple[str, ...]


def groups(parameters: Mapping[str, Any], train: Train) -> list[Group]:
    """Sort the parameters, which have `ndim`, into groups, in an order that depends on nothing but their names.

    Vectors (gains, biases, lambdas) never decay. Muon takes the matrices of the blocks, but not the tables in them: a
    table's row is a token's own, and its gradient is no map from a space to another. Nor an adapter's factors: what
    maps is their product.
    """
    rates = {
        "embed": train.embed_lr or train.peak,
        "head": train.head_lr or train.peak,
        "scalar": train.scalar_lr or train.peak,
        "matrix": train.peak,
        "factor": train.peak,
    }
    names: dict[tuple[str, float, float], list[str]] = {}
    for name in sorted(parameters):
        kind = _kind(name, parameters[name])
        rule = "muon" if train.optimizer == "muon" and kind == "matrix" else "adamw"
        rate = rates[kind] / train.peak
        # decay goes by the schedule alone: a table of a hundred times the rate must not vanish as much faster
        decay = 0.0 if kind == "scalar" else train.weight_decay / rate
        names.setdefault((rule, rate, decay), []).append(name)
    return [Group(rule, rate, decay, tuple(members)) for (rule, rate, decay), members in sorted(names.items())]


def _kind(name: str, parameter: Any) -> str:
    if parameter.ndim < 2:
        return "scalar"
    if name.endswith((".lora_a", ".lora_b")):
        return "factor"
    if name.endswith(("embed.weight", "position.weight", "value.weight")):
        return "embed"
    return "head" if name == "head.weight" else "matrix"
