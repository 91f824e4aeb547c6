"""cross_entropy and linear_cross_entropy."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pylm import _native
from pylm.native_kernels.arguments import threads

# of logits at a time: their slice stays near the caches, the weight's gradient is added to seldom
ROWS = 384


def cross_entropy_forward(
    logits: torch.Tensor, targets: torch.Tensor, softcap: float, ignore_index: int, z_loss: float, ahead: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return one loss and one logarithm of the sum of exponentials a row, both 0 where the target is ignored.

    With `ahead` the gradient of the losses' sum times that too, while each row lies in the caches; empty without.
    """
    logits, targets = logits.contiguous(), targets.contiguous()
    losses, lse = (logits.new_empty(logits.shape[0], dtype=torch.float32) for _ in range(2))
    dlogits = torch.empty_like(logits) if ahead else None
    if logits.shape[0]:
        _native.cross_entropy_forward(
            logits, targets, losses, lse, ignore_index, z_loss, softcap, threads(), dlogits, ahead
        )
    return losses, lse, logits.new_empty(0) if dlogits is None else dlogits


def cross_entropy_backward(
    dlosses: torch.Tensor,
    logits: torch.Tensor,
    targets: torch.Tensor,
    lse: torch.Tensor,
    softcap: float,
    ignore_index: int,
    z_loss: float,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the gradient of the logits from one gradient a row; `out` may be the logits."""
    logits, targets, lse = logits.contiguous(), targets.contiguous(), lse.contiguous()
    dlosses = dlosses.float().contiguous()
    out = torch.empty_like(logits) if out is None else out
    if logits.shape[0]:
        _native.cross_entropy_backward(logits, targets, lse, dlosses, out, ignore_index, z_loss, softcap, threads())
    return out


def _gradients(
    x: torch.Tensor, weight: torch.Tensor, dx: torch.Tensor, dweight: torch.Tensor
) -> Callable[[torch.Tensor, slice], object]:
    """Return what turns a chunk of the logits' gradients into its rows of dx and its part of dweight, if any."""
    if not len(dweight):
        return lambda chunk, part: torch.mm(chunk, weight, out=dx[part])
    if x.dtype == torch.bfloat16 and len(weight) % 2 == 0 and _native.has_head_products():
        return lambda chunk, part: _native.head_gradients(chunk, x[part], weight, dx[part], dweight, threads())

    def products(chunk: torch.Tensor, part: slice) -> None:
        torch.mm(chunk, weight, out=dx[part])
        dweight.addmm_(chunk.t(), x[part])

    return products


def linear_cross_entropy_forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    softcap: float,
    ignore_index: int,
    z_loss: float,
    ahead: bool,
    frozen: bool = False,
    rows: int = ROWS,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return losses and lse of each row; with `ahead` the gradients of their sum too, made while the logits exist.

    Three products of rows x classes then do the work of four, two where the weight is frozen, and no row of logits
    outlives its chunk of `rows`.
    """
    x, weight, targets = x.contiguous(), weight.contiguous(), targets.contiguous()
    losses, lse = (x.new_empty(len(x), dtype=torch.float32) for _ in range(2))
    logits = x.new_empty(min(rows, len(x)), len(weight))
    dx, dweight = torch.empty_like(x) if ahead else x.new_empty(0), _zeros(weight, ahead and not frozen)
    gradients = _gradients(x, weight, dx, dweight) if ahead else None
    for at in range(0, len(x), rows):
        part = slice(at, min(at + rows, len(x)))
        chunk, mine, settings = logits[: part.stop - at], targets[part], (ignore_index, z_loss, softcap, threads())
        torch.mm(x[part], weight.t(), out=chunk)
        _native.cross_entropy_forward(
            chunk, mine, losses[part], lse[part], *settings, dlogits=chunk if gradients else None
        )
        if gradients:
            gradients(chunk, part)
    return losses, lse, dx, dweight


def linear_cross_entropy_backward(
    dlosses: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    lse: torch.Tensor,
    dx: torch.Tensor,
    dweight: torch.Tensor,
    softcap: float,
    ignore_index: int,
    z_loss: float,
    ahead: bool,
    frozen: bool = False,
    rows: int = ROWS,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of x and of the weight.

    Those made ahead are scaled where every row has the same gradient, as a mean or a sum gives it; else the logits are
    made once more.
    """
    if not len(x):
        return torch.zeros_like(x), _zeros(weight, not frozen)
    if ahead and bool(dlosses.min() == dlosses.max()):
        scale = float(dlosses[0])
        return dx * scale, dweight * scale
    x, weight, targets = x.contiguous(), weight.contiguous(), targets.contiguous()
    lse, dlosses = lse.contiguous(), dlosses.float().contiguous()
    dx, dweight = torch.empty_like(x), _zeros(weight, not frozen)
    gradients = _gradients(x, weight, dx, dweight)
    logits = x.new_empty(min(rows, len(x)), len(weight))
    for at in range(0, len(x), rows):
        part = slice(at, min(at + rows, len(x)))
        chunk = logits[: part.stop - at]
        torch.mm(x[part], weight.t(), out=chunk)
        _native.cross_entropy_backward(
            chunk, targets[part], lse[part], dlosses[part], chunk, ignore_index, z_loss, softcap, threads()
        )
        gradients(chunk, part)
    return dx, dweight


def _zeros(weight: torch.Tensor, wanted: bool) -> torch.Tensor:
    return torch.zeros_like(weight) if wanted else weight.new_empty(0)
