"""The meaning of attention_decode, in plain torch: turn, write behind what is there, attend to all of it."""

from __future__ import annotations

import torch

from pylm_kernels import transforms
from pylm_kernels.operands import caches
from pylm_kernels.operands.caches import Cache
from pylm_kernels.operands.heads import Mask
from pylm_kernels.ops.rope_attention import reference as attention


def decode(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    v_BTKD: torch.Tensor,
    cache: Cache,
    mask: Mask,
) -> torch.Tensor:
    """Return O [B, T, H, D] for q and k that are normalised and rotated already; the caches get k and v."""
    cache.write(k_BTKD, v_BTKD)
    rows_BT = caches.positions_of(cache.lengths, q_BTHD.shape[1])
    filled = cache.k.shape[1]
    if transforms.readable(rows_BT):
        filled = int(rows_BT.max()) + 1 if rows_BT.numel() else 0
    key_S = torch.arange(filled, device=q_BTHD.device)
    sees_BTS = key_S <= rows_BT[..., None]
    if mask.window:
        sees_BTS = sees_BTS & (key_S > rows_BT[..., None] - mask.window)
    # what lies behind a shorter row was never written and may be anything, not-a-number too
    unseen_BS11 = ~sees_BTS.any(1)[:, :, None, None]
    k, v = (held[:, :filled].masked_fill(unseen_BS11, 0.0) for held in (cache.k, cache.v))
    return attention.attend(q_BTHD, k, v, sees_BTS[:, None], mask)
