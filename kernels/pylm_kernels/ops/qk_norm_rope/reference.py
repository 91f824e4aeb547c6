"""The meaning of qk_norm_rope, in plain torch."""

from __future__ import annotations

import torch

from pylm_kernels.operands.rope import Rotation


def rotate(q_BTHD: torch.Tensor, k_BTHD: torch.Tensor, rotation: Rotation) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both q and k, normalised where there are weights, and rotated."""
    return _rotate(q_BTHD, rotation, rotation.q_weight), _rotate(k_BTHD, rotation, rotation.k_weight)


def _rotate(x_BTHD: torch.Tensor, rotation: Rotation, weight: torch.Tensor | None) -> torch.Tensor:
    """Normalise each head where there is a weight, then rotate its leading dimensions by the position's angles."""
    wide = torch.float64 if x_BTHD.dtype == torch.float64 else torch.float32
    cos, sin, positions, _, _, eps, interleaved, offset = rotation
    assert cos is not None and sin is not None
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
