"""An adapter on its base, read as one model: ours, PEFT's or mlx-lm's. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pylm.config.cascade import resolve
from pylm.config.schema import Model as Shape
from pylm.config.shape import complete
from pylm.errors import CheckpointError
from pylm.model import adapter_forms, lora, names
from pylm.model.layouts import read_json
from pylm.model.names import Opened, Stored

__all__ = ["OnBase", "read_adapted"]


class OnBase(Opened, Protocol):
    """An opened adapter, such as `pylm.checkpoint.Adapted`."""

    @property
    def base(self) -> Opened:
        """Return what it is for."""
        ...


def read_adapted(opened: OnBase) -> tuple[Shape, dict[str, Stored]]:
    """Return the shape and the tensors of a base with an adapter added: those that it changes are in float32."""
    shape, base = names.read(opened.base)
    folder = opened.path
    try:
        if not (folder / "config.yaml").is_file():
            tensors, scale = adapter_forms.read(opened.weights(), read_json(folder / "adapter_config.json"), shape)
            return shape, lora.applied(base, tensors, scale)
        held: Mapping[str, Any] = read_json(folder / "state.json")["adapter"]
        rows = None if held["rows"] is None else range(*held["rows"])
        weights = lora.applied(base, opened.weights(), held["alpha"] / held["rank"], rows)
    except CheckpointError as error:
        told, hint = error.marked[0], error.marked[1]
        raise CheckpointError(f"{folder}: {told}", hint or f"{opened.base.path} is what it was put on") from None
    model = resolve(files=[folder / "config.yaml"], environ={}).config.model
    return complete(model, weights["embed.weight"].shape[0]), weights
