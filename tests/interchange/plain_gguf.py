"""What llama.cpp computes with a GGUF file, as plainly as numpy says it: from fields and names of the file alone.

Queries and keys are rotated as its source does: neighbours for `llama`, halves for `qwen2` and `qwen3`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Plain:
    def __init__(self, path: str) -> None:
        gguf = __import__("gguf")
        reader = gguf.GGUFReader(path)
        self.fields = {name: field.contents() for name, field in reader.fields.items()}
        self.types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
        self.tensors = {
            tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
            for tensor in reader.tensors
        }
        self.arch = self.fields["general.architecture"]

    def get(self, key: str, default: Any = None) -> Any:
        return self.fields.get(f"{self.arch}.{key}", default)

    def linear(self, name: str, x: Array) -> Array:
        return x @ self.tensors[f"{name}.weight"].astype(np.float64).T + self.tensors.get(f"{name}.bias", 0.0)

    def norm(self, name: str, x: Array) -> Array:
        if self.arch == "gpt2":
            x = x - x.mean(-1, keepdims=True)
            eps = self.get("attention.layer_norm_epsilon")
        else:
            eps = self.get("attention.layer_norm_rms_epsilon")
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * self.tensors[f"{name}.weight"]
        return x + self.tensors.get(f"{name}.bias", 0.0)

    def rotated(self, x: Array) -> Array:
        """x [T, H, D]."""
        if self.arch == "gpt2":
            return x
        half = self.get("rope.dimension_count") // 2
        angles = np.outer(np.arange(len(x)), self.frequencies(half))[:, None]
        if self.arch == "llama":
            a, b = x[..., 0::2], x[..., 1::2]
        else:
            a, b = x[..., :half], x[..., half:]
        cos, sin = np.cos(angles) * self.magnitude(), np.sin(angles) * self.magnitude()
        turned = a * cos - b * sin, a * sin + b * cos
        return np.stack(turned, -1).reshape(x.shape) if self.arch == "llama" else np.concatenate(turned, -1)

    def frequencies(self, half: int) -> Array:
        """As ggml_rope_cache_init and rope_yarn have them, beta_fast 32 and beta_slow 1 included."""
        base, scale = self.get("rope.freq_base"), self.get("rope.scaling.factor", 1.0)
        plain = base ** (-np.arange(half) / half) / self.tensors.get("rope_freqs.weight", 1.0)
        if self.get("rope.scaling.type") != "yarn":
            return plain / scale
        context = self.get("rope.scaling.original_context_length")
        low, high = (half * np.log(context / (turns * 2 * np.pi)) / np.log(base) for turns in (32, 1))
        low, high = max(0, np.floor(low)), min(2 * half - 1, np.ceil(high))
        kept = 1 - np.clip((np.arange(half) - low) / max(0.001, high - low), 0, 1)
        return plain / scale * (1 - kept) + plain * kept

    def magnitude(self) -> float:
        if self.get("rope.scaling.type") != "yarn":
            return 1.0
        return float((1 + 0.1 * np.log(self.get("rope.scaling.factor"))) * self.get("rope.scaling.attn_factor", 1.0))

    def attention(self, at: str, x: Array) -> Array:
        heads, kv = self.get("attention.head_count"), self.get("attention.head_count_kv")
        if self.arch == "gpt2":
            q, k, v = np.split(self.linear(f"{at}.attn_qkv", x), 3, -1)
        else:
            q, k, v = (self.linear(f"{at}.attn_{part}", x) for part in "qkv")
        q, k, v = (part.reshape(len(x), count, -1) for part, count in ((q, heads), (k, kv), (v, kv)))
        if self.arch == "qwen3":
            q, k = self.norm(f"{at}.attn_q_norm", q), self.norm(f"{at}.attn_k_norm", k)
        q, k = self.rotated(q), self.rotated(k)
        k, v = (np.repeat(part, heads // kv, 1) for part in (k, v))
        scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(q.shape[-1])
        scores = np.where(np.tril(np.ones(scores.shape[1:], bool)), scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hts,shd->thd", shares / shares.sum(-1, keepdims=True), v)
        return self.linear(f"{at}.attn_output", mixed.reshape(len(x), -1))

    def mlp(self, at: str, x: Array) -> Array:
        up = self.linear(f"{at}.ffn_up", x)
        if self.arch == "gpt2":
            up = 0.5 * up * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))
        else:
            gate = self.linear(f"{at}.ffn_gate", x)
            up = gate / (1 + np.exp(-gate)) * up
        return self.linear(f"{at}.ffn_down", up)

    def logits(self, ids: list[int]) -> Array:
        x = self.tensors["token_embd.weight"][ids].astype(np.float64)
        if self.arch == "gpt2":
            x = x + self.tensors["position_embd.weight"][: len(ids)]
        for layer in range(self.get("block_count")):
            at = f"blk.{layer}"
            x = x + self.attention(at, self.norm(f"{at}.attn_norm", x))
            x = x + self.mlp(at, self.norm(f"{at}.ffn_norm", x))
        head = self.tensors.get("output.weight", self.tensors["token_embd.weight"])
        return self.norm("output_norm", x) @ head.astype(np.float64).T
