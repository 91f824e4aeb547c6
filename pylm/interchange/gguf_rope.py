"""How rotary positions are scaled, as GGUF says it: linear and yarn by numbers, llama3 by a factor for each pair."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pylm.config.schema import Model as Shape
from pylm.errors import CheckpointError
from pylm.model.scaling import scaled_frequencies

__all__ = ["FACTORS", "check_factors", "factors_of", "misfits", "scaling_in", "scaling_out", "short"]

Factors = npt.NDArray[np.float32]
FACTORS = "rope_freqs.weight"  # by how much llama.cpp slows each pair down
STATED = "pylm.rope_scaling"  # the numbers of llama3, which the factors do not tell
PUBLISHED = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_positions": 8192.0}  # of Llama 3.1 and 3.2
FIXED = {"beta_fast": 32.0, "beta_slow": 1.0}  # yarn's, which llama.cpp reads for other architectures only


def misfits(shape: Shape, architecture: str) -> Iterator[str]:
    """Yield what llama.cpp's architecture does not have of how a shape scales its positions."""
    scaling = shape.rope_scaling or {}
    kind = scaling.get("type")
    if kind == "llama3" and architecture != "llama":
        yield "rope_scaling llama3"
    if kind == "yarn":
        wanted = {**FIXED, "original_max_positions": float(int(scaling["original_max_positions"]))}
        yield from (
            f"rope_scaling {name} {scaling[name]}"
            for name, value in wanted.items()
            if scaling.get(name, value) != value
        )


def scaling_out(shape: Shape, architecture: str) -> dict[str, Any]:
    """Return the fields of a file that say how positions are scaled."""
    scaling = shape.rope_scaling
    if scaling is None:
        return {}
    if scaling["type"] == "llama3":
        return {STATED: json.dumps(scaling)}
    at = f"{architecture}.rope.scaling."
    fields = {f"{at}type": scaling["type"], f"{at}factor": float(scaling["factor"])}
    if scaling["type"] == "yarn":
        fields[f"{at}original_context_length"] = int(scaling["original_max_positions"])
    if "attention_factor" in scaling:
        fields[f"{at}attn_factor"] = float(scaling["attention_factor"]) / _magnitude(float(scaling["factor"]))
    return fields


def factors_of(shape: Shape) -> Factors | None:
    """Return by how much each pair of dimensions turns slower, for llama3; None where fields say all."""
    if shape.rope_scaling is None or shape.rope_scaling["type"] != "llama3":
        return None
    assert shape.head_dim
    plain = shape.rope_theta ** (-np.arange(0, shape.head_dim, 2) / shape.head_dim)
    return np.asarray(plain / np.array(scaled_frequencies(shape)[0]), np.float32)


def scaling_in(own: Mapping[str, Any], stated: str | None, factors: Factors | None) -> dict[str, Any] | None:
    """Return how the positions of a file are scaled.

    Args:
        own: the fields of its architecture.
        stated: the numbers of llama3, where the file states them.
        factors: those of each pair, where it holds any.
    """
    kind = own.get("rope.scaling.type", "linear")  # llama.cpp's default
    factor = short(own.get("rope.scaling.factor", own.get("rope.scale_linear", 1.0)) or 1.0)
    if factors is not None and np.any(factors != 1):
        if "rope.scaling.type" in own and kind != "none":
            raise CheckpointError(f"its positions are scaled by {kind} and by {FACTORS}: one of the two is read")
        return {"type": "llama3", "factor": short(factors.max()), **PUBLISHED} if stated is None else json.loads(stated)
    if kind == "none" or (kind == "linear" and factor == 1):
        return None
    if kind not in ("linear", "yarn"):
        raise CheckpointError(f"its positions are scaled by {kind}: linear, yarn and llama3 are read")
    return {"type": kind, "factor": factor, **(_yarn(own, factor) if kind == "yarn" else {})}


def check_factors(shape: Shape, factors: Factors | None) -> None:
    """Raise where the factors of a file are not those of the numbers that were taken for theirs."""
    wanted = factors_of(shape)
    if wanted is not None and (factors is None or factors.shape != wanted.shape or not _near(factors, wanted)):
        raise CheckpointError(f"its {FACTORS} scales positions otherwise than llama3 with {shape.rope_scaling}")


def _near(one: Factors, other: Factors) -> bool:
    return bool(np.allclose(one, other, rtol=1e-3))  # others work them out in float32


def _yarn(own: Mapping[str, Any], factor: float) -> dict[str, float]:
    """Return yarn's numbers; llama.cpp's converter puts some of them where only other architectures look."""
    numbers = {"original_max_positions": float(own.get("rope.scaling.original_context_length", own["context_length"]))}
    if (share := own.get("rope.scaling.yarn_attn_factor")) is not None:
        numbers["attention_factor"] = short(share)
    elif (share := own.get("rope.scaling.attn_factor", 1.0)) != 1.0:
        numbers["attention_factor"] = short(share * _magnitude(factor))
    for name, value in FIXED.items():
        if (stated := own.get(f"rope.scaling.yarn_{name}", value)) != value:
            numbers[name] = short(stated)
    return numbers


def _magnitude(factor: float) -> float:
    """Return what llama.cpp multiplies cosines and sines with by itself."""
    return 1.0 + 0.1 * math.log(factor)


def short(number: float) -> float:
    """Return the number that a field in float32 was made of: 1e-05 and not 9.99999974e-06."""
    return float(str(np.float32(number)))
