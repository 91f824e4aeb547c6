"""A decoder written out in float64, what the engine is held to, and random weights for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from pylm import _native

GPT2: dict[str, Any] = {
    "n_layers": 2, "n_heads": 3, "n_kv_heads": 3, "d_model": 48, "d_ff": 100, "vocab_size": 131, "context_length": 96,
    "norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True,
}  # fmt: skip
LLAMA: dict[str, Any] = {
    "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_model": 72, "d_ff": 65, "vocab_size": 130, "context_length": 700,
    "rope_theta": 500.0, "tied": False,
}  # fmt: skip
SHAPES = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "odd": LLAMA | {"mlp": "relu2", "qk_norm": True, "window": 20, "logit_softcap": 3.0, "bias": True, "tied": True},
    "bare": LLAMA | {"position": "none", "qk_norm": True, "attention_softcap": 2.0, "norm": "layernorm"},
}


def weights(shape: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Random ones, by the names of a checkpoint."""
    width, inner, dim = shape["d_model"], shape["d_ff"], shape["d_model"] // shape["n_heads"]
    sizes: dict[str, tuple[int, ...]] = {"embed.weight": (shape["vocab_size"], width)}
    if not shape.get("tied", True):
        sizes["head.weight"] = (shape["vocab_size"], width)
    if shape.get("position") == "learned":
        sizes["position.weight"] = (shape["context_length"], width)
    linear = {
        "attention.qkv": (width + 2 * shape["n_kv_heads"] * dim, width),
        "attention.out": (width, width),
        "mlp.up": (inner, width),
        "mlp.down": (width, inner),
    }
    if shape.get("mlp", "swiglu") == "swiglu":
        linear["mlp.gate"] = (inner, width)
    norms = ["norm", *(f"blocks.{i}.{part}.norm" for i in range(shape["n_layers"]) for part in ("attention", "mlp"))]
    for name in norms:
        sizes[f"{name}.weight"] = (width,)
        if shape.get("bias") and shape.get("norm") == "layernorm":
            sizes[f"{name}.bias"] = (width,)
    for i in range(shape["n_layers"]):
        for name, size in linear.items():
            sizes[f"blocks.{i}.{name}.weight"] = size
            if shape.get("bias"):
                sizes[f"blocks.{i}.{name}.bias"] = size[:1]
        if shape.get("qk_norm"):
            sizes |= {f"blocks.{i}.attention.{part}_norm.weight": (dim,) for part in "qk"}
    generator = torch.Generator().manual_seed(4)
    found = {name: torch.randn(size, generator=generator) for name, size in sizes.items()}
    return {
        name: x * x.shape[-1] ** -0.5 if x.dim() == 2 else x * 0.2 + ("bias" not in name) for name, x in found.items()
    }


def reference(shape: dict[str, Any], given: dict[str, torch.Tensor], ids: list[int]) -> torch.Tensor:
    """Logits after each of the ids, in float64."""
    w = {name: x.double() for name, x in given.items()}
    width, heads, kv_heads = shape["d_model"], shape["n_heads"], shape["n_kv_heads"]
    dim, time = width // heads, len(ids)
    at = torch.arange(time)

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        if shape.get("norm") == "layernorm":
            return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w.get(f"{name}.bias"), 1e-5)
        return F.rms_norm(x, x.shape[-1:], w[f"{name}.weight"], 1e-5)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def turn(x: torch.Tensor) -> torch.Tensor:
        if shape.get("position", "rope") != "rope":
            return x
        angle = at[:, None] * shape.get("rope_theta", 1e4) ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        a, b = x.chunk(2, -1)
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    seen = at[None, :] <= at[:, None]
    if window := shape.get("window"):
        seen = seen & (at[None, :] > at[:, None] - window)
    x = w["embed.weight"][ids] + (w["position.weight"][:time] if shape.get("position") == "learned" else 0)
    for i in range(shape["n_layers"]):
        block = f"blocks.{i}"
        packed = linear(norm(x, f"{block}.attention.norm"), f"{block}.attention.qkv").view(time, -1, dim)
        q, k, v = torch.split(packed, [heads, kv_heads, kv_heads], 1)
        if shape.get("qk_norm"):
            q, k = (
                F.rms_norm(t, (dim,), w[f"{block}.attention.{n}_norm.weight"], 1e-5) for t, n in ((q, "q"), (k, "k"))
            )
        q, k = turn(q), turn(k)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        scores = torch.einsum("thd,shd->hts", q, k) * dim**-0.5
        if cap := shape.get("attention_softcap"):
            scores = cap * torch.tanh(scores / cap)
        chances = scores.masked_fill(~seen, -torch.inf).softmax(-1)
        x = x + linear(torch.einsum("hts,shd->thd", chances, v).flatten(1), f"{block}.attention.out")
        h = norm(x, f"{block}.mlp.norm")
        up = linear(h, f"{block}.mlp.up")
        if shape.get("mlp", "swiglu") == "swiglu":
            up = F.silu(linear(h, f"{block}.mlp.gate")) * up
        else:
            up = F.gelu(up, approximate="tanh") if shape["mlp"] == "gelu" else up.relu().square()
        x = x + linear(up, f"{block}.mlp.down")
    logits = norm(x, "norm") @ w["embed.weight" if shape.get("tied", True) else "head.weight"].T
    cap = shape.get("logit_softcap")
    return logits if not cap else cap * torch.tanh(logits / cap)


def stored(x: torch.Tensor) -> Any:
    """What the engine takes for a tensor; numpy has no bfloat16."""
    if x.dtype != torch.bfloat16:
        return x.numpy()
    return SimpleNamespace(dtype="BF16", shape=tuple(x.shape), data=x.view(torch.int16).numpy())


def engine(shape: dict[str, Any], given: dict[str, torch.Tensor], **settings: Any) -> _native.Engine:
    return _native.Engine({name: stored(x) for name, x in given.items()}, **shape, **settings)


def ids_of(count: int, vocab: int = 130) -> list[int]:
    return np.random.default_rng(count).integers(0, vocab, count).tolist()  # type: ignore[no-any-return]


def error(found: Any, expected: torch.Tensor) -> float:
    return float((torch.as_tensor(found).double() - expected).norm() / expected.norm())
