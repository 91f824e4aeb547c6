"""torch's own attention behind the same call, its rotation in plain torch, which a compiler fuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pylm_kernels.ops.rope_attention import reference


def serves(device: str, dtype: torch.dtype, facts: Mapping[str, Any]) -> str | None:
    """Why scaled_dot_product_attention cannot serve a call."""
    if not facts:
        return None
    if facts["softcap"]:
        return "torch's attention has no soft cap"
    if facts["sinks"]:
        return "torch's attention has no sinks"
    if facts["rows_without_keys"]:
        return "torch's attention does not promise zeros for rows that see no key"
    return None


def attend(
    q_BTHD: torch.Tensor,
    k_BTHD: torch.Tensor,
    v_BTHD: torch.Tensor,
    starts: torch.Tensor | None,
    ends: torch.Tensor | None,
    causal: bool,
    window: int,
    scale: float,
) -> torch.Tensor:
    """O [B, Tq, H, D]."""
    t_q, t_k = q_BTHD.shape[1], k_BTHD.shape[1]
    plain = window == 0 and starts is None and (t_q == t_k or not causal)
    mask = None if plain else reference.allowed(t_q, t_k, causal, window, starts, ends, q_BTHD.device)
    o = torch.nn.functional.scaled_dot_product_attention(
        q_BTHD.transpose(1, 2),
        k_BTHD.transpose(1, 2),
        v_BTHD.transpose(1, 2),
        attn_mask=mask,
        is_causal=plain and causal,
        scale=scale,
        enable_gqa=q_BTHD.shape[2] != k_BTHD.shape[2],
    )
    return o.transpose(1, 2)
