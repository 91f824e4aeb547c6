"""Checkpoints of a few numbers: no model that computes, but all that a soup looks at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pylm.checkpoint import Tensor, write
from pylm.config.cascade import dump
from pylm.config.schema import Config, Model

Array = npt.NDArray[Any]
TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64"}
SHAPE = {"n_layers": 1, "n_heads": 2, "d_model": 8}


def tensor(array: Array) -> Tensor:
    """An array as a file holds it; 16 bits without a sign are bfloat16."""
    return Tensor.of(TYPES[array.dtype.name], array.shape, array.tobytes())


def arrays(seed: int, dtype: str = "float32") -> dict[str, Array]:
    """Weights of several shapes, one of them longer than a piece of the sum."""
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "embed.weight": (10, 8), "norm.weight": (8,), "long": (3, 100_003), "one": (), "none": (0, 4),
    }  # fmt: skip
    return {name: np.asarray(random.standard_normal(shape)).astype(dtype) for name, shape in shapes.items()}


def checkpoint(
    folder: Path, weights: Mapping[str, Array], *, step: int = 1, texts: Mapping[str, str] | None = None,
    state: Mapping[str, Any] | None = None, data: Mapping[str, Any] | None = None, **shape: Any,
) -> str:  # fmt: skip
    """Write a checkpoint, and return the name by which it is called."""
    config = Config.model_validate({"model": {**SHAPE, **shape}, "data": data or {}})
    keys = [f"model.{key}" for key in Model.model_fields] + ["data.path"]
    return str(
        write(
            folder,
            weights={name: tensor(array) for name, array in weights.items()},
            optimizer={},
            state={"step": step, "tokenizer": "1" * 64, **(state or {})},
            config=dump(config, keys),
            texts=texts or {},
        )
    )


def array_of(held: Tensor) -> Array:
    """The numbers of a tensor of a file."""
    dtype = {name: of for of, name in TYPES.items()}[held.dtype]
    return np.frombuffer(held.data, dtype).reshape(held.shape)
