"""Checks of arguments, which answer with a sentence: the public functions refuse with it, eager or compiled."""

from __future__ import annotations

import torch

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def floating(name: str, x: torch.Tensor) -> str:
    """Return an empty string if x is a real floating-point tensor of a dtype that the kernels know.

    Otherwise the string is a sentence that says what is wrong, as it is for every check here.
    """
    if not isinstance(x, torch.Tensor):
        # torch.fx.symbolic_trace hands over such, and nothing that looks at shapes can take them
        hint = "; torch.export traces these operations" if type(x).__name__.endswith("Proxy") else ""
        return f"{name}: is a {type(x).__module__}.{type(x).__name__}, not a torch.Tensor{hint}"
    if x.dtype in FLOATS:
        return ""
    return f"{name}: dtype {x.dtype} is not float32, bfloat16, float16 or float64; cast it first"


def same_device(name: str, x: torch.Tensor, other_name: str, other: torch.Tensor) -> str:
    """Return an empty string if both tensors are on one device, else a sentence that says where each is."""
    if x.device == other.device:
        return ""
    return f"{name}: is on {x.device} while {other_name} is on {other.device}; move one of them"


def vector(name: str, x: torch.Tensor, width: int, of: str, of_name: str) -> str:
    """Return an empty string if x is a floating-point vector of this width, else a sentence that says what is wrong.

    The sentence calls the width `of` and the tensor that has this width `of_name`.
    """
    if x.dim() != 1 or x.shape[0] != width:
        return f"{name}: shape {_shape(x)} does not fit {of} {width} of {of_name}; it must be ({width},)"
    return floating(name, x)


def like(name: str, x: torch.Tensor, other_name: str, other: torch.Tensor) -> str:
    """Return an empty string if x has the shape, dtype and device of the other, else a sentence about what differs."""
    if x.shape != other.shape:
        return f"{name}: shape {_shape(x)} differs from {other_name}'s {_shape(other)}"
    if x.dtype != other.dtype:
        return f"{name}: dtype {x.dtype} differs from {other_name}'s {other.dtype}; cast one of them"
    return same_device(name, x, other_name, other)


def _shape(x: torch.Tensor) -> str:
    return "(" + ", ".join([str(int(n)) for n in x.shape]) + ")"
