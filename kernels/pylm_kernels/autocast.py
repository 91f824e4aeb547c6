"""Autocast, on devices that have it and on those, like meta, that do not."""

from __future__ import annotations

import contextlib
from typing import Any

import torch


def off(x: torch.Tensor) -> contextlib.AbstractContextManager[Any]:
    """Return a context without autocast: what is computed inside it chooses its dtypes itself, as the operations do."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else contextlib.nullcontext()


def cast(*inputs: Any) -> tuple[Any, ...]:
    """Return the inputs in the dtype that autocast gives products of matrices, where it is on; None stays None."""
    x = inputs[0]
    if not isinstance(x, torch.Tensor) or not torch.amp.is_autocast_available(x.device.type):
        return inputs
    if not torch.is_autocast_enabled(x.device.type):
        return inputs
    dtype = torch.get_autocast_dtype(x.device.type)
    return tuple(one if one is None else one.to(dtype) for one in inputs)
