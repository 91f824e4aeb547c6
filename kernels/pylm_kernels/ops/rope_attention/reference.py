"""The meaning of rope_attention, in plain torch: T × T scores, a mask, a softmax."""

from __future__ import annotations

import torch

from pylm_kernels.operands.heads import Mask


def seen(t_q: int, t_k: int, mask: Mask, device: torch.device) -> torch.Tensor:
    """Return which keys each row sees, [1 or B, 1, Tq, Tk]. The last row of q stands at the last key."""
    row = torch.arange(t_q, device=device)[:, None] + (t_k - t_q)
    key = torch.arange(t_k, device=device)[None, :]
    sees = torch.ones(t_q, t_k, dtype=torch.bool, device=device)
    if mask.causal:
        sees = sees & (key <= row)
    if mask.window:
        sees = sees & (key > row - mask.window) & (key < row + mask.window)
    sees = sees[None, None]
    if mask.starts is not None and mask.ends is not None:
        sees = sees & (key >= mask.starts[:, None, :, None]) & (key < mask.ends[:, None, :, None])
    return sees


def attend(
    q_BTHD: torch.Tensor,
    k_BTHD: torch.Tensor,
    v_BTHD: torch.Tensor,
    sees: torch.Tensor,
    mask: Mask,
) -> torch.Tensor:
    """Return softmax(q kᵀ · scale, capped, masked, with a sink beside the keys) v; a row without keys gives zeros."""
    wide = torch.float64 if q_BTHD.dtype == torch.float64 else torch.float32
    group = q_BTHD.shape[2] // k_BTHD.shape[2]
    q, k, v = (x.to(wide).transpose(1, 2) for x in (q_BTHD, k_BTHD, v_BTHD))
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = q @ k.transpose(-1, -2) * mask.scale
    if mask.softcap:
        scores = mask.softcap * torch.tanh(scores / mask.softcap)
    scores = scores.masked_fill(~sees, float("-inf"))
    if mask.sinks is not None:
        sinks = mask.sinks.to(wide)[None, :, None, None].expand(*scores.shape[:3], 1)
        scores = torch.cat((scores, sinks), -1)
    else:
        # a row of -inf would be 0 / 0: its scores become zeros here and its weights zeros below
        scores = scores.masked_fill(~sees.any(-1, keepdim=True), 0.0)
    weights = torch.softmax(scores, -1)[..., : k.shape[2]]
    weights = weights.masked_fill(~sees.any(-1, keepdim=True), 0.0)
    return (weights @ v).transpose(1, 2).to(q_BTHD.dtype)
