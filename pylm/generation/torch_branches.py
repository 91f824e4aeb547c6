"""Branches in torch: one forward pass whose mask is the tree.

Letters of shapes: T new tokens, S tokens of the cache, H heads, G heads of keys and values, D width of a head.
"""

from __future__ import annotations

import torch

from pylm.generation.branches import Branches, Scored, places, seen
from pylm.model.torch import Model

__all__ = ["TorchBranches", "score"]

Kept = list[tuple[torch.Tensor, torch.Tensor]]


class TorchBranches:
    """What the model asks of a cache, for tokens that leave no trace in one."""

    def __init__(self, branches: Branches, kept: Kept, held: int, device: torch.device) -> None:
        """Begin after `held` tokens whose keys and values are `kept`, [S, G, D] each, a pair a layer."""
        self._branches, self._kept, self._held, self._device = branches, kept, held, device
        self.rows = sorted(set(branches.after))
        self._mask: torch.Tensor | None = None

    def positions(self, idx: torch.Tensor) -> torch.Tensor:
        """Return where each token stands, [1, T]."""
        return torch.from_numpy(places(self._branches.parents, self._held))[None].to(self._device)

    def attend(
        self,
        layer: int,
        q_BTHD: torch.Tensor,
        k_BTGD: torch.Tensor,
        v_BTGD: torch.Tensor,
        *,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
    ) -> torch.Tensor:
        """Return the attention of each token to what is kept and to its ancestors."""
        if self._held:
            keys, values = self._kept[layer]
            k_BTGD, v_BTGD = torch.cat([keys[None], k_BTGD], 1), torch.cat([values[None], v_BTGD], 1)
        if self._mask is None:
            self._mask = torch.from_numpy(seen(self._branches.parents, self._held, window)).to(self._device)
        share = q_BTHD.shape[2] // k_BTGD.shape[2]
        q, k, v = q_BTHD.transpose(1, 2), *(x.transpose(1, 2).repeat_interleave(share, 1) for x in (k_BTGD, v_BTGD))
        if softcap is None:
            mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=self._mask, scale=scale)
        else:
            scores = softcap * torch.tanh((q.float() @ k.float().transpose(-1, -2)) * (scale / softcap))
            mixed = (torch.softmax(scores.masked_fill(~self._mask, float("-inf")), -1) @ v.float()).to(v.dtype)
        return mixed.transpose(1, 2)

    def last(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the states that targets come after."""
        return hidden[0, self.rows]


def score(model: Model, branches: Branches, kept: Kept, held: int) -> Scored:
    """Return what the targets are worth; log-softmax is in fp32."""
    device = next(model.parameters()).device
    cache = TorchBranches(branches, kept, held, device)
    logits = model(torch.tensor([branches.ids], device=device), cache=cache).float()
    row_of = {token: row for row, token in enumerate(cache.rows)}
    rows = torch.tensor([row_of[token] for token in branches.after], device=device)
    targets = torch.tensor(branches.targets, device=device)
    nats = torch.logsumexp(logits, -1)[rows] - logits[rows, targets]
    return Scored(nats.cpu().numpy(), (logits.argmax(-1)[rows] == targets).cpu().numpy())
