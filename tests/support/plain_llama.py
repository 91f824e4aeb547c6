"""Llama's layout and a loop over it as one writes them with torch and nothing of ours: what training is held to.

RMSNorm, RoPE, attention by its formula, SwiGLU, tied embeddings; AdamW, decay on matrices, a clip, warmup and a cosine.
Where a formula can be rounded in more ways than one (a division or a product with the inverse, a loss by its
definition or by log_softmax), this takes the one that our reference takes, so that the two can be held to the bit.
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
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), eps=1e-8, fused=True)

    def rope(self, x: torch.Tensor) -> torch.Tensor:
        """Turn the pairs of [batch, time, heads, width]; the angles are of float64."""
        half = x.shape[-1] // 2
        frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = torch.arange(x.shape[1])[:, None] * frequencies
        cos, sin = angles.cos().float()[None, :, None], angles.sin().float()[None, :, None]
        first, second = x[..., :half], x[..., half:]
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """RMSNorm."""
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.w[f"{name}.weight"]

    def attention(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Causal, over [batch, heads, time, width]."""
        scores = q @ k.mT * (1 / math.sqrt(q.shape[-1]))
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return torch.softmax(scores.masked_fill(later, float("-inf")), -1) @ v

    def loss(self, idx: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean over the tokens that come next."""
        x = functional.embedding(idx, self.w["embed.weight"])
        batch, length, width = x.shape
        for layer in range(self.recipe.layers):
            name = f"blocks.{layer}"
            qkv = functional.linear(self.norm(x, f"{name}.attention.norm"), self.w[f"{name}.attention.qkv.weight"])
            q, k, v = (part.view(batch, length, self.recipe.heads, -1) for part in qkv.split(width, -1))
            q, k = self.rope(q).transpose(1, 2), self.rope(k).transpose(1, 2)
            o = self.attention(q, k, v.transpose(1, 2)).transpose(1, 2).reshape(batch, length, width)
            x = x + functional.linear(o, self.w[f"{name}.attention.out.weight"])
            h = self.norm(x, f"{name}.mlp.norm")
            gate = functional.linear(h, self.w[f"{name}.mlp.gate.weight"])
            up = functional.linear(h, self.w[f"{name}.mlp.up.weight"])
            x = x + functional.linear(gate * torch.sigmoid(gate) * up, self.w[f"{name}.mlp.down.weight"])
        logits = functional.linear(self.norm(x, "norm"), self.w["embed.weight"])
        rows, wanted = logits.flatten(0, 1), targets.flatten()
        return (torch.logsumexp(rows, -1) - rows.gather(-1, wanted[:, None])[:, 0]).mean()

    def step(self, inputs: Any, targets: Any, rate: float | None = None) -> tuple[float, float]:
        """Take a step over numpy's arrays; the loss, and the norm of the gradient before the clip."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.taken) if rate is None else rate
        loss = self.loss(torch.from_numpy(inputs), torch.from_numpy(targets))
        self.optimizer.zero_grad()
        loss.backward()
        gradients = [tensor.grad for tensor in self.w.values() if tensor.grad is not None]
        norm = float(torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients])))
        if (factor := min(1.0, self.recipe.clip / (norm + 1e-6))) < 1.0:
            for gradient in gradients:
                gradient.mul_(factor)
        self.optimizer.step()
        self.taken += 1
        return float(loss.detach()), norm

    @torch.no_grad()
    def mean_loss(self, inputs: Any, targets: Any) -> float:
        """Over many rows, a few at a time."""
        parts = [slice(at, at + 16) for at in range(0, len(inputs), 16)]
        sums = [
            float(self.loss(torch.from_numpy(inputs[part]), torch.from_numpy(targets[part]))) * inputs[part].size
            for part in parts
        ]
        return sum(sums) / float(inputs.size)
