"""The public linear_cross_entropy, and the backends that are registered for it.

Raw form, which a backend implements:

    forward(x [N, D], weight [V, D], targets [N] int64, softcap, ignore_index, z_loss, ahead, frozen)
        -> (losses, lse, dx, dweight), the first two [N] and wide
    backward(dlosses, x, weight, targets, lse, dx, dweight, softcap, ignore_index, z_loss, ahead, frozen)
        -> (dx, dweight)

x and weight have one dtype; the rest is as in cross_entropy. A backend that spends its time on the products may make
the gradients of the losses' sum while it has the logits: it is named in AHEAD, and `ahead` is true where a gradient
will be wanted. Otherwise forward's dx and dweight are empty. Where the weight is `frozen`, nobody wants its gradient:
dweight is empty then, and one product of three is not taken.
"""

from __future__ import annotations

from typing import Any

import torch

from pylm_kernels import arguments, autocast
from pylm_kernels.dispatch import choose, implementation, lazily, register
from pylm_kernels.operands import losses
from pylm_kernels.operation import differentiable, differentiate, refuse
from pylm_kernels.ops.cross_entropy.reference import reduced
from pylm_kernels.ops.linear_cross_entropy import reference
from pylm_kernels.triton_runtime import launch

AHEAD = ("cpu",)
_TRITON = "pylm_kernels.ops.linear_cross_entropy.triton"
register("linear_cross_entropy", "triton", lazily(_TRITON, "forward"), lazily(_TRITON, "backward"), launch.serves)


def _forward(*inputs: Any) -> Any:
    return implementation("linear_cross_entropy", inputs[-1]).forward(*inputs[:-1])


def _fake(x: Any, weight: Any, *rest: Any) -> Any:
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    *_, ahead, frozen, _ = rest
    shapes = (x.shape if ahead else (0,), weight.shape if ahead and not frozen else (0,))
    return *(x.new_empty(x.shape[0], dtype=wide) for _ in range(2)), *(x.new_empty(shape) for shape in shapes)


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    x, weight, targets = inputs[:3]
    ctx.settings = inputs[3:]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # or backward is handed zeros as large as what forward made
    ctx.save_for_backward(x, weight, targets, *output[1:])


def _backward_body(*inputs: Any) -> Any:
    return implementation("linear_cross_entropy", inputs[-1]).backward(*inputs[:-1])


def _backward(ctx: Any, run: Any, dlosses: Any, *_: Any) -> Any:
    if dlosses is None:
        return (None,) * 9
    dx, dweight = run(dlosses, *ctx.saved_tensors, *ctx.settings)
    return dx, dweight if ctx.needs_input_grad[1] else None, *(None,) * 7


def _composite(ctx: Any, dlosses: Any, *_: Any) -> Any:
    if dlosses is None:
        return (None,) * 9
    x, weight, targets = ctx.saved_tensors[:3]

    def rows(x: Any, weight: Any) -> Any:
        return reference.linear_cross_entropy(x, weight, targets, *ctx.settings[:-3])

    return *differentiate(rows, (x, weight), (dlosses,)), *(None,) * 7


_SETTINGS = "float softcap, int ignore_index, float z_loss, bool ahead, bool frozen, str backend"
_MADE = "Tensor losses, Tensor lse, Tensor dx, Tensor dweight"
_call = differentiable(
    "linear_cross_entropy",
    schema=f"(Tensor x, Tensor weight, Tensor targets, {_SETTINGS}) -> ({_MADE})",
    forward=_forward,
    fake=_fake,
    setup=_setup,
    backward_schema=f"(Tensor dlosses, Tensor x, Tensor weight, Tensor targets, Tensor lse, Tensor dx, Tensor dweight,"
    f" {_SETTINGS}) -> (Tensor dx_out, Tensor dweight_out)",
    backward_body=_backward_body,
    backward_fake=lambda dlosses, x, weight, *rest: (
        x.new_empty(x.shape),
        weight.new_empty((0,) if rest[-2] else weight.shape),
    ),
    backward=_backward,
    composite=_composite,
)


def _problem(x: torch.Tensor, weight: torch.Tensor) -> str:
    if weight.dim() != 2 or weight.shape[1] != x.shape[-1]:
        shape = ", ".join([str(int(n)) for n in weight.shape])
        return f"weight: shape ({shape}) is not (classes, {int(x.shape[-1])}), the last dimension of x"
    if weight.shape[0] == 0:
        return "weight: has no classes"
    if weight.dtype != x.dtype:
        return f"weight: dtype {weight.dtype} differs from x's {x.dtype}; cast one of them, or use autocast"
    return arguments.same_device("weight", weight, "x", x)


def linear_cross_entropy(
    x: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    *,
    softcap: float | None = None,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    reduction: str = "mean",
    backend: str | None = None,
) -> torch.Tensor:
    """Return cross_entropy(x @ weight.T, targets) without storing the logits.

    A slice of their gradient is all that is ever stored.

    Args:
        x: [..., D].
        weight: [V, D], of x's dtype (under autocast both are cast, as a linear layer's are).
        targets: [...], classes, or ignore_index in rows that do not count.
        softcap: logits become softcap * tanh(logits / softcap) first.
        ignore_index: the target of rows that do not count.
        z_loss: this much of the squared log-sum is added to each row's loss.
        reduction: "mean" over the rows that count, "sum" or "none".
        backend: the backend for this call. The reference stores the logits.

    Returns:
        A scalar, or [...] with reduction "none", in float32.
    """
    x, weight = autocast.cast(x, weight)
    problem = losses.problem(x, "x", targets, softcap, z_loss, reduction) or _problem(x, weight)
    facts = {"width": x.shape[-1]}
    name, refusal = ("", "") if problem else choose("linear_cross_entropy", backend, x, facts)
    if problem or refusal:
        return refuse(x, problem or refusal)
    flat = losses.checked(targets.reshape(-1), weight.shape[0], ignore_index)
    raw = (x.reshape(-1, x.shape[-1]), weight, flat, float(softcap or 0.0), ignore_index, float(z_loss))
    if name == "reference":
        with autocast.off(x):
            found = reference.linear_cross_entropy(*raw)
    else:
        wanted = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
        found = _call(*raw, wanted and name in AHEAD, not weight.requires_grad, name)[0]
    found = reduced(found, flat, ignore_index, reduction)
    return found.view(targets.shape) if reduction == "none" else found
