"""What rope_attention means, in plain torch: T × T scores, a mask, a softmax."""

from __future__ import annotations

import torch


def allowed(
    t_q: int,
    t_k: int,
    causal: bool,
    window: int,
    starts: torch.Tensor | None,
    ends: torch.Tensor | None,
    device: torch.device,
) -> torch.Tensor:
    """[1 or B, 1, Tq, Tk]: which keys each row sees. The last row of q stands at the last key."""
    row = torch.arange(t_q, device=device)[:, None] + (t_k - t_q)
    key = torch.arange(t_k, device=device)[None, :]
    mask = torch.ones(t_q, t_k, dtype=torch.bool, device=device)
    if causal:
        mask = mask & (key <= row)
    if window:
        mask = mask & (key > row - window) & (key < row + window)
    mask = mask[None, None]
    if starts is not None and ends is not None:
        mask = mask & (key >= starts[:, None, :, None]) & (key < ends[:, None, :, None])
    return mask


def attend(
    q_BTHD: torch.Tensor,
    k_BTHD: torch.Tensor,
    v_BTHD: torch.Tensor,
    mask: torch.Tensor,
    sinks_H: torch.Tensor | None,
    softcap: float,
    scale: float,
) -> torch.Tensor:
    """softmax(q kᵀ · scale, capped, masked, with a sink beside the keys) v; a row without keys gives zeros."""
    wide = torch.float64 if q_BTHD.dtype == torch.float64 else torch.float32
    group = q_BTHD.shape[2] // k_BTHD.shape[2]
    q, k, v = (x.to(wide).transpose(1, 2) for x in (q_BTHD, k_BTHD, v_BTHD))
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = q @ k.transpose(-1, -2) * scale
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~mask, float("-inf"))
    if sinks_H is not None:
        sinks = sinks_H.to(wide)[None, :, None, None].expand(*scores.shape[:3], 1)
        scores = torch.cat((scores, sinks), -1)
    else:
        # a row of -inf would be 0 / 0: its scores become zeros here and its weights zeros below
        scores = scores.masked_fill(~mask.any(-1, keepdim=True), 0.0)
    weights = torch.softmax(scores, -1)[..., : k.shape[2]]
    weights = weights.masked_fill(~mask.any(-1, keepdim=True), 0.0)
    return (weights @ v).transpose(1, 2).to(q_BTHD.dtype)
