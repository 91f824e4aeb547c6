"""What attention_decode means, in plain torch: turn, write behind what is there, attend to all of it."""

from __future__ import annotations

import torch

from pylm_kernels import transforms
from pylm_kernels.operands import caches
from pylm_kernels.ops.rope_attention import reference as attention


def decode(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    v_BTKD: torch.Tensor,
    k_cache_BSKD: torch.Tensor,
    v_cache_BSKD: torch.Tensor,
    lengths_B: torch.Tensor,
    sinks_H: torch.Tensor | None,
    window: int,
    softcap: float,
    scale: float,
) -> torch.Tensor:
    """O [B, T, H, D] for q and k that are normalised and rotated already; the caches get k and v."""
    caches.write(k_cache_BSKD, k_BTKD, lengths_B)
    caches.write(v_cache_BSKD, v_BTKD, lengths_B)
    rows_BT = caches.positions_of(lengths_B, q_BTHD.shape[1])
    filled = k_cache_BSKD.shape[1]
    if transforms.readable(rows_BT):
        filled = int(rows_BT.max()) + 1 if rows_BT.numel() else 0
    key_S = torch.arange(filled, device=q_BTHD.device)
    mask_BTS = key_S <= rows_BT[..., None]
    if window:
        mask_BTS = mask_BTS & (key_S > rows_BT[..., None] - window)
    # what lies behind a shorter row was never written and may be anything, not-a-number too
    unseen_BS11 = ~mask_BTS.any(1)[:, :, None, None]
    k, v = (cache[:, :filled].masked_fill(unseen_BS11, 0.0) for cache in (k_cache_BSKD, v_cache_BSKD))
    return attention.attend(q_BTHD, k, v, mask_BTS[:, None], sinks_H, softcap, scale)
