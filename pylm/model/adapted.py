"""An adapter on its base, read as one model: ours, PEFT's or mlx-lm's. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pylm.config.cascade import resolve
from pylm.config.schema import Model as Shape
from pylm.config.shape import complete
from pylm.errors import CheckpointError
from pylm.model import adapter_forms, lora, names
from pylm.model.growing import grown
from pylm.model.layouts import read_json
from pylm.model.names import OnBase, Stored

__all__ = ["base_for", "new_rows", "opened_adapter", "read_adapted"]


def read_adapted(opened: OnBase) -> tuple[Shape, dict[str, Stored]]:
    """Return the shape and the tensors of a base with an adapter added: those that it changes are in float32."""
    shape, base = names.read(opened.base)
    try:
        tensors, scale, held = opened_adapter(opened, shape)
        weights = lora.applied(base_for(base, held), tensors, scale, new_rows(held))
    except CheckpointError as error:
        told, hint = error.marked
        raise CheckpointError(f"{opened.path}: {told}", hint or f"{opened.base.path} is what it was put on") from None
    if not (opened.path / "config.yaml").is_file():
        return shape, weights
    model = resolve(files=[opened.path / "config.yaml"], environ={}).config.model
    return complete(model, weights["embed.weight"].shape[0]), weights


def opened_adapter(opened: OnBase, shape: Shape) -> tuple[Mapping[str, Stored], float, Mapping[str, Any]]:
    """Return an adapter's own tensors by our names, what their products count, and what its state says of it."""
    folder = opened.path
    if not (folder / "config.yaml").is_file():
        return *adapter_forms.read(opened.weights(), read_json(folder / "adapter_config.json"), shape), {}
    held: Mapping[str, Any] = read_json(folder / "state.json")["adapter"]
    return opened.weights(), held["alpha"] / held["rank"], held


def new_rows(held: Mapping[str, Any]) -> range | None:
    """Return the rows of tokens that an adapter's base does not have, by its state."""
    return range(*held["rows"]) if held.get("rows") else None


def base_for(weights: Mapping[str, Stored], held: Mapping[str, Any]) -> Mapping[str, Stored]:
    """Return a base's weights with as many rows of the vocabulary as the state of its adapter says."""
    rows = held.get("vocabulary", weights["embed.weight"].shape[0])
    new = new_rows(held)
    return (
        weights
        if new is None and rows == weights["embed.weight"].shape[0]
        else grown(weights, rows, new or range(rows, rows))
    )
