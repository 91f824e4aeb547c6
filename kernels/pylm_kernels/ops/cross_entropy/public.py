"""The public cross_entropy, and the backends that are registered for it.

Raw form, which a backend implements:

    forward(logits [N, V], targets [N] int64, softcap, ignore_index, z_loss[, ahead])
        -> (losses, lse[, dlogits]), the first two [N] and wide
    backward(dlosses, logits, targets, lse, softcap, ignore_index, z_loss) -> dlogits

softcap is 0 where there is none; lse is that of the capped logits, 0 in ignored rows; losses are 0 there. A backend
that waits for memory more than it computes is named in AHEAD: where `ahead` is not 0 its forward makes the gradient of
the losses' sum times `ahead` too, while a row lies in the caches.
"""

from __future__ import annotations

from typing import Any

import torch

from pylm_kernels import transforms
from pylm_kernels.dispatch import choose, implementation, lazily, register
from pylm_kernels.operands import losses
from pylm_kernels.operation import differentiable, differentiate, refuse
from pylm_kernels.ops.cross_entropy import reference
from pylm_kernels.triton_runtime import launch

_TRITON = "pylm_kernels.ops.cross_entropy.triton"
register("cross_entropy", "triton", lazily(_TRITON, "forward"), lazily(_TRITON, "backward"), launch.serves)


AHEAD = ("cpu",)


def _forward(*inputs: Any) -> Any:
    *raw, ahead, backend = inputs
    forward = implementation("cross_entropy", backend).forward
    return forward(*raw, ahead) if ahead and backend in AHEAD else (*forward(*raw)[:2], raw[0].new_empty(0))


def _fake(logits: Any, *rest: Any) -> Any:
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    ahead, backend = rest[-2:]
    made = logits.new_empty(logits.shape if ahead and backend in AHEAD else (0,))
    return *(logits.new_empty(logits.shape[0], dtype=wide) for _ in range(2)), made


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    logits, targets, *ctx.settings = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # or backward is handed zeros as large as what forward made
    ctx.save_for_backward(logits, targets, output[1])
    ctx.made = output[2] if output[2].numel() else None


def _backward_body(*inputs: Any) -> Any:
    *raw, _, backend = inputs
    return implementation("cross_entropy", backend).backward(*raw)


def _backward(ctx: Any, run: Any, dlosses: Any, *_: Any) -> Any:
    if dlosses is None:
        return (None,) * 7
    # handed over, so that whoever gets it may write into it: a second backward makes another
    made, ctx.made = ctx.made, None
    if made is not None and bool((dlosses == ctx.settings[-2]).all()):
        return made, *(None,) * 6
    return run(dlosses, *ctx.saved_tensors, *ctx.settings), *(None,) * 6


def _composite(ctx: Any, dlosses: Any, *_: Any) -> Any:
    if dlosses is None:
        return (None,) * 7
    logits, targets, _ = ctx.saved_tensors

    def rows(logits: Any) -> Any:
        return reference.cross_entropy(logits, targets, *ctx.settings[:-2])

    return differentiate(rows, (logits,), (dlosses,))[0], *(None,) * 6


def _ahead(logits: torch.Tensor, targets: torch.Tensor, ignore_index: int, reduction: str, backend: str) -> float:
    """Return the gradient that each row's loss is likely to get.

    It is 0 where that is not known, or where nobody asks for a gradient.
    """
    # what is traced, by a compiler or a dispatch mode, may not hand over what it saved
    eager = not torch.compiler.is_compiling() and transforms.readable(targets)
    if backend not in AHEAD or reduction == "none" or not (eager and torch.is_grad_enabled() and logits.requires_grad):
        return 0.0
    return 1.0 if reduction == "sum" else 1.0 / max(1, int((targets != ignore_index).sum()))


_SETTINGS = "float softcap, int ignore_index, float z_loss, float ahead, str backend"
_call = differentiable(
    "cross_entropy",
    schema=f"(Tensor logits, Tensor targets, {_SETTINGS}) -> (Tensor losses, Tensor lse, Tensor dlogits)",
    forward=_forward,
    fake=_fake,
    setup=_setup,
    backward_schema=f"(Tensor dlosses, Tensor logits, Tensor targets, Tensor lse, {_SETTINGS}) -> Tensor",
    backward_body=_backward_body,
    backward_fake=lambda dlosses, logits, *_: logits.new_empty(logits.shape),
    backward=_backward,
    composite=_composite,
)


def cross_entropy(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    softcap: float | None = None,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    reduction: str = "mean",
    backend: str | None = None,
) -> torch.Tensor:
    """Return the cross-entropy in float32, whatever the logits are.

    Args:
        logits: [..., V].
        targets: [...], classes, or ignore_index in rows that do not count.
        softcap: logits become softcap * tanh(logits / softcap) first.
        ignore_index: the target of rows that do not count.
        z_loss: this much of the squared log-sum is added to each row's loss, which keeps logits from drifting.
        reduction: "mean" over the rows that count, "sum" or "none".
        backend: the backend for this call.

    Returns:
        A scalar, or [...] with reduction "none".
    """
    problem = losses.problem(logits, "logits", targets, softcap, z_loss, reduction)
    name, refusal = ("", "") if problem else choose("cross_entropy", backend, logits, {"classes": logits.shape[-1]})
    if problem or refusal:
        return refuse(logits, problem or refusal)
    rows = logits.reshape(-1, logits.shape[-1])
    flat = losses.checked(targets.reshape(-1), logits.shape[-1], ignore_index)
    settings = (float(softcap or 0.0), ignore_index, float(z_loss))
    if name == "reference":
        found = reference.cross_entropy(rows, flat, *settings)
    else:
        found = _call(rows, flat, *settings, _ahead(rows, flat, ignore_index, reduction, name), name)[0]
    found = reference.reduced(found, flat, ignore_index, reduction)
    return found.view(targets.shape) if reduction == "none" else found
