"""Transformations that may stand around a call: vmap, forward-mode differentiation, TorchScript, dispatch modes.

A compiler is not among them. Kernels have no rules for the first three: where no backend is forced, plain torch
computes such a call; a forced one is refused with a sentence. Dispatch modes and subclasses of tensors see the
registered operation, as a compiler does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import forward_ad

_functorch: Any = torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
_BATCHED = torch._C._dispatch_key_parse("Batched")
_NAMES = {"Vmap": "vmap", "Jvp": "forward-mode differentiation"}


def active() -> str:
    """Return the name of a transformation around this call that kernels have no rule for, or an empty string."""
    if forward_ad._current_level >= 0:
        return _NAMES["Jvp"]
    # of functorch's interpreters only that of grad goes through an autograd.Function
    for interpreter in _functorch.get_interpreter_stack() or ():
        if (kind := interpreter.key().name) != "Grad":
            return _NAMES.get(kind, str(kind).lower())
    return "torch.jit.trace" if torch._C._get_tracing_state() is not None else ""


# the compiler asks while it traces and keeps the answer: it guards what it traced by the same stacks
active._dynamo_marked_constant = True  # type: ignore[attr-defined]


def batched(gradients: tuple[Any, ...]) -> bool:
    """Say whether one of these gradients stands for many, as `torch.autograd.grad(…, is_grads_batched=True)` gives."""
    return any(isinstance(x, torch.Tensor) and torch._C._dispatch_keys(x).has(_BATCHED) for x in gradients)


def observed(inputs: tuple[Any, ...]) -> bool:
    """Say whether a dispatch mode or a subclass of tensors is there, which must see one registered operation.

    Dispatch modes are those of fake tensors, of make_fx, or a counter's.
    """
    if torch._C._len_torch_dispatch_stack():
        return True
    for x in inputs:
        kind = type(x)
        if kind is not torch.Tensor and kind is not torch.nn.Parameter and isinstance(x, torch.Tensor):
            return True
    return False


def traced(*inputs: Any) -> bool:
    """Say whether a compiler, a mode or a subclass must see one registered operation in place of what it does."""
    return torch.compiler.is_compiling() or observed(inputs)


def readable(x: torch.Tensor) -> bool:
    """Say whether the numbers in x can be looked at here, for a check that wants them."""
    if x.is_meta or observed((x,)) or _functorch.is_batchedtensor(x):
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())
