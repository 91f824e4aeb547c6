"""Elementwise operations: a reference that torch.compile fuses with its neighbours, and a place for backends that win.

No Triton kernel stands behind these. What one would do, inductor does too, and it fuses the neighbours as well; eager
CUDA pays two or three passes instead of one. The C++ kernels for CPUs register here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pylm_kernels import arguments
from pylm_kernels.dispatch import choose, implementation
from pylm_kernels.operation import differentiable, differentiate, refuse


def elementwise(op: str, reference: Callable[..., torch.Tensor], names: tuple[str, ...], flag: str = "") -> Any:
    """Register an elementwise operation, and return the function that its public one calls.

    Its raw form is forward(*tensors, *flag) -> y and backward(dy, *tensors, *flag).

    Args:
        op: the operation's name.
        reference: called as reference(*tensors, *flag); it computes in float32 inside.
        names: the tensors' names, for the sentences about them; all have one shape, dtype and device.
        flag: the name of a boolean that follows the tensors, if there is one.
    """
    count = len(names)

    def forward(*inputs: Any) -> Any:
        return implementation(op, inputs[-1]).forward(*inputs[:-1])

    def backward_body(*inputs: Any) -> Any:
        found = implementation(op, inputs[-1]).backward(*inputs[:-1])
        return found if isinstance(found, tuple) else (found,)

    def setup(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.settings = inputs[count:]
        ctx.save_for_backward(*inputs[:count])

    def backward(ctx: Any, run: Any, dy: Any) -> Any:
        found = run(dy, *ctx.saved_tensors, *ctx.settings)
        return *(found if isinstance(found, tuple | list) else (found,)), *(None for _ in ctx.settings)

    def composite(ctx: Any, dy: Any) -> Any:
        found = differentiate(lambda *saved: reference(*saved, *ctx.settings[:-1]), ctx.saved_tensors, (dy,))
        return *found, *(None for _ in ctx.settings)

    tensors = ", ".join(f"Tensor {name}" for name in names)
    settings = (f"bool {flag}, " if flag else "") + "str backend"
    grads = ", ".join(f"Tensor d{name}" for name in names)
    call = differentiable(
        op,
        schema=f"({tensors}, {settings}) -> Tensor",
        forward=forward,
        fake=lambda x, *rest: x.new_empty(x.shape),
        setup=setup,
        backward_schema=f"(Tensor dy, {tensors}, {settings}) -> ({grads})",
        backward_body=backward_body if count > 1 else lambda *inputs: backward_body(*inputs)[0],
        backward_fake=lambda dy, x, *rest: (
            tuple(x.new_empty(x.shape) for _ in names) if count > 1 else x.new_empty(x.shape)
        ),
        backward=backward,
        composite=composite,
    )

    def public(inputs: tuple[torch.Tensor, ...], settings: tuple[Any, ...], backend: str | None) -> torch.Tensor:
        x = inputs[0]
        problem = arguments.floating(names[0], x)
        for name, other in zip(names[1:], inputs[1:], strict=True):
            problem = problem or arguments.like(name, other, names[0], x)
        chosen, refusal = ("", "") if problem else choose(op, backend, x, {"width": x.shape[-1] if x.dim() else 1})
        if problem or refusal:
            return refuse(x, problem or refusal)
        found: torch.Tensor = (
            reference(*inputs, *settings) if chosen == "reference" else call(*inputs, *settings, chosen)
        )
        return found

    return public
