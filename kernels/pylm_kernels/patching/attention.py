"""Attention behind transformers' AttentionInterface: ours for whole rows, transformers' SDPA for the rest.

Models find it by the name in their config. Masks are made as they are for SDPA, and so is all that we do not compute:
padding, keys and values of a cache, packed rows, dropout.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pylm_kernels import rope_attention

NAME = "pylm_kernels"


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    whole_rows: bool = False,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Return what the attention layer called `module` makes of its rotated heads, [B, T, heads, D].

    Args:
        module: the attention layer.
        query: the rotated heads of q, [B, heads, Tq, D].
        key: the rotated heads of k, [B, kv heads, Tk, D].
        value: the values, in the shape of key.
        attention_mask: the mask that sdpa_mask made; None where causality says it all.
        dropout: the share of the weights that is dropped.
        scaling: the factor on the scores.
        is_causal: whether a row sees only keys up to its own position; the layer's own is_causal by default.
        sliding_window: how many keys a row sees; transformers' masks say it too.
        whole_rows: the language model saw neither padding, positions nor a cache: the mask holds nothing but causality
            and the window. transformers makes one for every batch under torch.compile, which cannot look at positions.
        **kwargs: passed on to transformers' own attention.
    """
    time = query.shape[2]
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    plain = causal and (whole_rows or attention_mask is None) and time == key.shape[2] and time > 1
    theirs = any(kwargs.get(name) is not None for name in ("position_bias", "softcap"))
    if not plain or dropout or theirs or kwargs.get("output_attentions"):  # which SDPA warns about
        o: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, is_causal=is_causal, **kwargs
        )
        return o
    q, k, v = (heads.transpose(1, 2) for heads in (query, key, value))
    window = sliding_window if sliding_window is not None and sliding_window < time else None
    return rope_attention(q, k, v, window=window, scale=scaling), None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
