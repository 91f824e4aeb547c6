"""What qk_norm_rope means, in plain torch."""

from __future__ import annotations

import torch


def rotate(
    x_BTHD: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    positions: torch.Tensor | None,
    weight: torch.Tensor | None,
    eps: float,
    interleaved: bool,
    offset: int,
) -> torch.Tensor:
    """Normalise each head where there is a weight, then rotate its leading dimensions by the position's angles."""
    wide = torch.float64 if x_BTHD.dtype == torch.float64 else torch.float32
    x = x_BTHD.to(wide)
    if weight is not None:
        x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight.to(wide)
    if positions is None:
        positions = torch.arange(x.shape[1], device=x.device)[None]
    index = positions.long() + offset
    c, s = cos[index][:, :, None].to(wide), sin[index][:, :, None].to(wide)
    half = cos.shape[1]
    turning, rest = x[..., : 2 * half], x[..., 2 * half :]
    shape = (*turning.shape[:-1], *((half, 2) if interleaved else (2, half)))
    a, b = turning.reshape(shape).unbind(-1 if interleaved else -2)
    turned = torch.stack((a * c - b * s, b * c + a * s), -1 if interleaved else -2).flatten(-2)
    return torch.cat((turned, rest), -1).to(x_BTHD.dtype)
