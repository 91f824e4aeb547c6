"""cross_entropy.

Raw form, which a backend implements:

    forward(logits [N, V], targets [N] int64, softcap, ignore_index, z_loss) -> (losses, lse), both [N] and wide
    backward(dlosses, logits, targets, lse, softcap, ignore_index, z_loss) -> dlogits

softcap is 0 where there is none; lse is that of the capped logits, 0 in ignored rows; losses are 0 there.
"""

from __future__ import annotations

from typing import Any

import torch

from pylm_kernels import launch, losses
from pylm_kernels.dispatch import choose, implementation, lazily, register
from pylm_kernels.operation import differentiable, differentiate, refuse
from pylm_kernels.ops.cross_entropy import reference

_TRITON = "pylm_kernels.ops.cross_entropy.triton"
register("cross_entropy", "triton", lazily(_TRITON, "forward"), lazily(_TRITON, "backward"), launch.serves)


def _forward(*inputs: Any) -> Any:
    return implementation("cross_entropy", inputs[-1]).forward(*inputs[:-1])


def _fake(logits: Any, *_: Any) -> Any:
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return logits.new_empty(logits.shape[0], dtype=wide), logits.new_empty(logits.shape[0], dtype=wide)


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    logits, targets, *ctx.settings = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(logits, targets, output[1])


def _backward_body(*inputs: Any) -> Any:
    return implementation("cross_entropy", inputs[-1]).backward(*inputs[:-1])


def _backward(ctx: Any, run: Any, dlosses: Any, *_: Any) -> Any:
    return run(dlosses, *ctx.saved_tensors, *ctx.settings), *(None,) * 5


def _composite(ctx: Any, dlosses: Any, *_: Any) -> Any:
    logits, targets, _ = ctx.saved_tensors
    rows = reference.cross_entropy(logits, targets, *ctx.settings[:-1])
    return differentiate((rows,), [logits], (dlosses,))[0], *(None,) * 5


_SETTINGS = "float softcap, int ignore_index, float z_loss, str backend"
_call = differentiable(
    "cross_entropy",
    schema=f"(Tensor logits, Tensor targets, {_SETTINGS}) -> (Tensor losses, Tensor lse)",
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
    """Cross-entropy in float32, whatever the logits are.

    Args:
        logits: [..., V].
        targets: [...], classes, or ignore_index in rows that do not count.
        softcap: logits become softcap * tanh(logits / softcap) first.
        ignore_index: the target of rows that do not count.
        z_loss: this much of the squared log-sum is added to each row's loss, which keeps logits from drifting.
        reduction: "mean" over the rows that count, "sum" or "none".
        backend: this call's backend.

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
    found = (
        reference.cross_entropy(rows, flat, *settings) if name == "reference" else _call(rows, flat, *settings, name)[0]
    )
    found = reference.reduced(found, flat, ignore_index, reduction)
    return found.view(targets.shape) if reduction == "none" else found
