"""Llama's layout and a loop over it as one writes them with torch and nothing of ours: what training is held to.

RMSNorm, RoPE, SDPA, SwiGLU, tied embeddings; AdamW with decay on matrices, a clip, warmup and a cosine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Recipe:
    """What `pylm train` does, in figures of its own."""

    layers: int
    heads: int
    steps: int
    learning_rate: float
    warmup: int
    floor: float = 0.1
    decay: float = 0.1
    clip: float = 1.0

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - 1 - self.warmup, 1)
        least = self.floor * self.learning_rate
        return least + (self.learning_rate - least) * 0.5 * (1 + math.cos(math.pi * done))


class PlainLlama:
    """The model and its optimizer, from weights by name, in float32."""

    def __init__(self, weights: Mapping[str, torch.Tensor], recipe: Recipe) -> None:
        """Copy the weights."""
        self.recipe, self.taken = recipe, 0
        self.w = {name: tensor.clone().float().requires_grad_() for name, tensor in weights.items()}
        matrices = [tensor for tensor in self.w.values() if tensor.dim() > 1]
        vectors = [tensor for tensor in self.w.values() if tensor.dim() < 2]
        groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), eps=1e-8)

    def rope(self, x: torch.Tensor) -> torch.Tensor:
        """Turn the pairs of [batch, time, heads, width]."""
        half = x.shape[-1] // 2
        frequencies = 10000.0 ** (-torch.arange(half) / half)
        angles = torch.arange(x.shape[1])[:, None] * frequencies
        cos, sin = angles.cos()[None, :, None], angles.sin()[None, :, None]
        first, second = x[..., :half], x[..., half:]
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """RMSNorm."""
        return functional.rms_norm(x, (x.shape[-1],), self.w[f"{name}.weight"], 1e-5)

    def loss(self, idx: torch.Tensor, targets: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        """Of the tokens that come next."""
        x = self.w["embed.weight"][idx]
        batch, length, width = x.shape
        for layer in range(self.recipe.layers):
            name = f"blocks.{layer}"
            qkv = self.norm(x, f"{name}.attention.norm") @ self.w[f"{name}.attention.qkv.weight"].T
            q, k, v = (part.view(batch, length, self.recipe.heads, -1) for part in qkv.split(width, -1))
            q, k = self.rope(q).transpose(1, 2), self.rope(k).transpose(1, 2)
            o = functional.scaled_dot_product_attention(q, k, v.transpose(1, 2), is_causal=True)
            x = x + o.transpose(1, 2).reshape(batch, length, width) @ self.w[f"{name}.attention.out.weight"].T
            h = self.norm(x, f"{name}.mlp.norm")
            gate, up = h @ self.w[f"{name}.mlp.gate.weight"].T, h @ self.w[f"{name}.mlp.up.weight"].T
            x = x + (functional.silu(gate) * up) @ self.w[f"{name}.mlp.down.weight"].T
        logits = self.norm(x, "norm") @ self.w["embed.weight"].T
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)

    def step(self, inputs: Any, targets: Any, rate: float | None = None) -> tuple[float, float]:
        """Take a step over numpy's arrays; the loss, and the norm of the gradient before the clip."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.taken) if rate is None else rate
        loss = self.loss(torch.from_numpy(inputs), torch.from_numpy(targets))
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.w.values(), self.recipe.clip)
        self.optimizer.step()
        self.taken += 1
        return float(loss.detach()), float(norm)

    @torch.no_grad()
    def mean_loss(self, inputs: Any, targets: Any) -> float:
        """Over many rows, a few at a time."""
        parts = range(0, len(inputs), 16)
        sums = [
            float(self.loss(torch.from_numpy(inputs[at : at + 16]), torch.from_numpy(targets[at : at + 16]), "sum"))
            for at in parts
        ]
        return sum(sums) / inputs.size
