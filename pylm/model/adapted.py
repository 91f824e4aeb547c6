"""An adapter on its base, read as one model: ours, PEFT's or mlx-lm's. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pylm.config.cascade import resolve
from pylm.config.schema import Model as Shape
from pylm.config.shape import complete
from pylm.errors import CheckpointError
from pylm.model import adapter_forms, lora, names
from pylm.model.layouts import read_json
from pylm.model.names import OnBase, Stored

__all__ = ["opened_adapter", "read_adapted"]


def read_adapted(opened: OnBase) -> tuple[Shape, dict[str, Stored]]:
    """Return the shape and the tensors of a base with an adapter added: those that it changes are in float32."""
    shape, base = names.read(opened.base)
    try:
        tensors, scale, rows = opened_adapter(opened, shape)
        weights = lora.applied(base, tensors, scale, rows)
    except CheckpointError as error:
        told, hint = error.marked
        raise CheckpointError(f"{opened.path}: {told}", hint or f"{opened.base.path} is what it was put on") from None
    if not (opened.path / "config.yaml").is_file():
        return shape, weights
    model = resolve(files=[opened.path / "config.yaml"], environ={}).config.model
    return complete(model, weights["embed.weight"].shape[0]), weights


def opened_adapter(opened: OnBase, shape: Shape) -> tuple[Mapping[str, Stored], float, range | None]:
    """Return an adapter's own tensors by our names, what their products count, and the rows of new tokens."""
    folder = opened.path
    if not (folder / "config.yaml").is_file():
        return *adapter_forms.read(opened.weights(), read_json(folder / "adapter_config.json"), shape), None
    held: Mapping[str, Any] = read_json(folder / "state.json")["adapter"]
    rows = None if held["rows"] is None else range(*held["rows"])
    return opened.weights(), held["alpha"] / held["rank"], rows
