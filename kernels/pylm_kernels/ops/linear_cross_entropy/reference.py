"""The meaning of linear_cross_entropy, in plain torch: it stores the logits, which the kernels exist to avoid."""

from __future__ import annotations

import torch

from pylm_kernels.ops.cross_entropy import reference


def linear_cross_entropy(
    x_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    targets_N: torch.Tensor,
    softcap: float,
    ignore_index: int,
    z_loss: float,
) -> torch.Tensor:
    """Return the loss of each row; the product and what follows are in float32 (float64 for float64)."""
    wide = torch.float64 if x_ND.dtype == torch.float64 else torch.float32
    logits = x_ND.to(wide) @ weight_VD.to(wide).T
    return reference.cross_entropy(logits, targets_N, softcap, ignore_index, z_loss)
