"""GPT-2 and Llama as one writes them with torch: SDPA, fused AdamW, one forward and backward a pass. The peer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Size:
    """A model in figures; `inner` is the width inside a SwiGLU, GPT-2's is four times its own."""

    layers: int
    heads: int
    width: int
    context: int
    vocabulary: int
    inner: int | None = None  # None: GPT-2's layout


class Block(nn.Module):
    """Attention and the MLP."""

    def __init__(self, size: Size) -> None:
        """Make the modules."""
        super().__init__()
        self.heads, self.llama, width = size.heads, size.inner is not None, size.width
        norm = nn.RMSNorm if self.llama else nn.LayerNorm
        bias, inner = not self.llama, size.inner or 4 * width
        self.first, self.second = norm(width, eps=1e-5), norm(width, eps=1e-5)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width, bias=bias)
        self.up, self.down = nn.Linear(width, inner, bias=bias), nn.Linear(inner, width, bias=bias)
        self.gate = nn.Linear(width, inner, bias=False) if self.llama else None

    def forward(self, x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor] | None) -> torch.Tensor:
        """The stream after this block."""
        batch, length, width = x.shape
        q, k, v = self.qkv(self.first(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if turns is not None:
            q, k = turned(q, *turns), turned(k, *turns)
        o = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(o.transpose(1, 2).reshape(batch, length, width))
        h = self.second(x)
        if self.gate is None:
            inner = functional.gelu(self.up(h), approximate="tanh")
        else:
            inner = functional.silu(self.gate(h)) * self.up(h)
        down: torch.Tensor = self.down(inner)
        return x + down


class Plain(nn.Module):
    """The model; called with targets it gives their mean loss."""

    def __init__(self, size: Size, seed: int = 1) -> None:
        """Draw the weights from the seed."""
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(size.vocabulary, size.width)
        self.position = nn.Embedding(size.context, size.width) if size.inner is None else None
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width) if size.inner is None else nn.RMSNorm(size.width, eps=1e-5)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, 0.0, 0.02)
        half = size.width // size.heads // 2
        angles = torch.arange(size.context)[:, None] * 10000.0 ** (-torch.arange(half) / half)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, idx: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss."""
        return functional.cross_entropy(self.logits(idx).flatten(0, 1), targets.flatten())

    def logits(self, idx: torch.Tensor) -> torch.Tensor:
        """What the head says of every position."""
        x, turns = self.embed(idx), None
        if self.position is not None:
            x = x + self.position(torch.arange(idx.shape[1], device=idx.device))
        else:
            turns = self.cos.to(x.dtype), self.sin.to(x.dtype)
        for block in self.blocks:
            x = block(x, turns)
        return functional.linear(self.norm(x), self.embed.weight)


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """RoPE on [batch, heads, time, width]."""
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def optimizer_of(model: nn.Module, learning_rate: float, decay: float = 0.1) -> torch.optim.AdamW:
    """AdamW in one kernel, with decay on matrices."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), fused=True)
