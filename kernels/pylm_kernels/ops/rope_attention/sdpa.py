"""torch's own attention behind the same call, its rotation in plain torch, which a compiler fuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pylm_kernels import transforms
from pylm_kernels.operands.heads import Mask
from pylm_kernels.operation import differentiate, keep, kept
from pylm_kernels.ops.rope_attention import reference


def serves(device: str, dtype: torch.dtype, facts: Mapping[str, Any]) -> str | None:
    """Return why scaled_dot_product_attention cannot serve a call, or None where it can."""
    if not facts:
        return None
    if facts["softcap"]:
        return "torch's attention has no soft cap"
    if facts["sinks"]:
        return "torch's attention has no sinks"
    if not facts["scale"] > 0:
        return f"torch's attention needs a scale above 0, not {facts['scale']}"
    if facts["rows_without_keys"]:
        return "torch's attention does not promise zeros for rows that see no key"
    return None


def attend(
    q_BTHD: torch.Tensor,
    k_BTHD: torch.Tensor,
    v_BTHD: torch.Tensor,
    mask: Mask,
) -> torch.Tensor:
    """Return O [B, Tq, H, D], computed by torch's own attention."""
    t_q, t_k = q_BTHD.shape[1], k_BTHD.shape[1]
    plain = mask.window == 0 and mask.starts is None and (t_q == t_k or not mask.causal)
    sees = None if plain else reference.seen(t_q, t_k, mask, q_BTHD.device)
    o = torch.nn.functional.scaled_dot_product_attention(
        q_BTHD.transpose(1, 2),
        k_BTHD.transpose(1, 2),
        v_BTHD.transpose(1, 2),
        attn_mask=sees,
        is_causal=plain and mask.causal,
        scale=mask.scale,
        enable_gqa=q_BTHD.shape[2] != k_BTHD.shape[2],
    )
    o = o.transpose(1, 2)
    if torch.compiler.is_compiling() or not o.requires_grad:
        return o
    again: torch.Tensor = _Again.apply(o, q_BTHD, k_BTHD, v_BTHD, *mask)  # type: ignore[no-untyped-call]
    return again


class _Again(torch.autograd.Function):
    """Attention that torch computed, with a gradient that can be differentiated, which torch's own is not everywhere.

    A backward that nobody differentiates passes the gradient on to torch's; with create_graph, or for many gradients at
    once, that of the reference is taken instead. It saves nothing that torch's own attention has not saved.
    """

    @staticmethod
    def forward(o: torch.Tensor, *inputs: Any) -> torch.Tensor:
        return o.view_as(o)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        keep(ctx, inputs[1:], ())

    @staticmethod
    def backward(ctx: Any, do: torch.Tensor) -> Any:
        if not torch.is_grad_enabled() and not transforms.active():
            return do, *(None,) * (3 + len(Mask._fields))
        q, k, v, *numbers = kept(ctx)[0]
        mask = Mask(*numbers)
        sees = reference.seen(q.shape[1], k.shape[1], mask, q.device)

        def o(q: Any, k: Any, v: Any) -> Any:
            return reference.attend(q, k, v, sees, mask)

        return None, *differentiate(o, (q, k, v), (do,)), *(None,) * len(Mask._fields)
