"""The model once more, as plainly as it can be written: loops over rows and heads, masks, no kernels, no cache.

It takes the weights by name in float64 and is what the model's values and gradients are held to.
"""

from collections.abc import Mapping

import torch

from pylm.config.schema import Model as Shape

Weights = Mapping[str, torch.Tensor]


def logits(shape: Shape, weights: Weights, idx: torch.Tensor, cu_seqlens: torch.Tensor | None = None) -> torch.Tensor:
    assert shape.n_layers and shape.d_model and shape.n_heads and shape.n_kv_heads
    documents = document_numbers(idx, cu_seqlens)
    positions = torch.stack([torch.tensor([row[:t].eq(row[t]).sum() for t in range(len(row))]) for row in documents])
    x = weights["embed.weight"][idx]
    if shape.position == "learned":
        x = x + weights["position.weight"][positions]
    if shape.embed_norm:
        x = norm(shape, weights, "embed_norm", x)
    first = x
    for layer in range(shape.n_layers):
        part = {name.removeprefix(f"blocks.{layer}."): w for name, w in weights.items() if f"blocks.{layer}." in name}
        if shape.residual_lambdas:
            x = part["residual_lambdas"][0] * x + part["residual_lambdas"][1] * first
        h = linear(part, "attention.qkv", norm(shape, part, "attention.norm", x))
        x = x + linear(part, "attention.out", attention(shape, part, layer, h, idx, positions, documents))
        h = norm(shape, part, "mlp.norm", x)
        up = linear(part, "mlp.up", h)
        if shape.mlp == "swiglu":
            gate = linear(part, "mlp.gate", h)
            up = gate / (1 + torch.exp(-gate)) * up
        elif shape.mlp == "gelu":
            up = up * 0.5 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (up + 0.044715 * up**3)))
        else:
            up = torch.where(up > 0, up * up, 0 * up)
        x = x + linear(part, "mlp.down", up)
    found = norm(shape, weights, "norm", x) @ weights["embed.weight" if shape.tied else "head.weight"].T
    return shape.logit_softcap * torch.tanh(found / shape.logit_softcap) if shape.logit_softcap else found


def linear(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", torch.zeros((), dtype=x.dtype))


def norm(shape: Shape, weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    if shape.norm == "layernorm":
        x = x - x.mean(-1, keepdim=True)
    x = x / (x.square().mean(-1, keepdim=True) + shape.norm_eps).sqrt()
    x = x * weights[f"{name}.weight"] if shape.norm_gain else x
    return x + weights.get(f"{name}.bias", torch.zeros((), dtype=x.dtype))


def norm_of_head(shape: Shape, part: Weights, which: str, x: torch.Tensor) -> torch.Tensor:
    x = x / (x.square().mean(-1, keepdim=True) + shape.norm_eps).sqrt()
    return x * part[f"attention.{which}_norm.weight"] if shape.norm_gain else x


def document_numbers(idx: torch.Tensor, cu_seqlens: torch.Tensor | None) -> torch.Tensor:
    """Which document each token is of; a row's end ends a document."""
    ends = set() if cu_seqlens is None else {int(end) for end in cu_seqlens}
    ends |= {row * idx.shape[1] for row in range(idx.shape[0])}
    return torch.tensor([sum(end <= at for end in ends) for at in range(idx.numel())]).view(idx.shape)


def attention(
    shape: Shape,
    part: Weights,
    layer: int,
    h: torch.Tensor,
    idx: torch.Tensor,
    positions: torch.Tensor,
    documents: torch.Tensor,
) -> torch.Tensor:
    assert shape.n_layers and shape.d_model and shape.n_heads and shape.n_kv_heads
    width = shape.d_model // shape.n_heads
    queries, kv = shape.n_heads * width, shape.n_kv_heads * width
    values = h[..., queries + kv :]
    if shape.value_embeddings and layer in range(shape.n_layers - 1, -1, -2):
        mix = part["attention.value_lambdas"]
        values = mix[0] * values + mix[1] * part["attention.value.weight"][idx]
    rows = []
    for row in range(len(h)):
        heads = []
        for head in range(shape.n_heads):
            group = head // (shape.n_heads // shape.n_kv_heads)
            q = h[row, :, head * width : (head + 1) * width]
            k = h[row, :, queries + group * width : queries + (group + 1) * width]
            v = values[row, :, group * width : (group + 1) * width]
            if shape.qk_norm:
                q, k = norm_of_head(shape, part, "q", q), norm_of_head(shape, part, "k", k)
            if shape.position == "rope":
                q, k = rotated(shape, q, positions[row]), rotated(shape, k, positions[row])
            scores = q @ k.T / width**0.5
            if shape.attention_softcap:
                scores = shape.attention_softcap * torch.tanh(scores / shape.attention_softcap)
            time = torch.arange(len(q))
            seen = (time[None] <= time[:, None]) & (documents[row][None] == documents[row][:, None])
            if shape.window:
                seen &= time[:, None] - time[None] < shape.window
            heads.append(torch.softmax(scores.masked_fill(~seen, float("-inf")), -1) @ v)
        rows.append(torch.cat(heads, -1))
    return torch.stack(rows)


def rotated(shape: Shape, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    half = x.shape[1] // 2
    # the tables are kept in float32, so the cosines are rounded to it here too
    angles = positions[:, None] * shape.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
    cos, sin = angles.cos().float().double(), angles.sin().float().double()
    a, b = x[:, :half], x[:, half:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class PlainCache:
    """The cache that the model is handed, as a list of tensors a layer; every row is as long as the others."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.length = 0

    def positions(self, idx: torch.Tensor) -> torch.Tensor:
        start, self.length = self.length, self.length + idx.shape[1]
        return torch.arange(start, self.length).expand(idx.shape)

    def last(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden[:, -1]

    def attend(
        self,
        layer: int,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        *,
        scale: float,
        window: int | None,
        softcap: float | None,
    ) -> torch.Tensor:
        if layer in self.kept:
            k, v = (torch.cat((old, new), 1) for old, new in zip(self.kept[layer], (k, v), strict=True))
        self.kept[layer] = k, v
        group = q.shape[2] // k.shape[2]
        keys, values = k.repeat_interleave(group, 2), v.repeat_interleave(group, 2)
        scores = torch.einsum("bthd,bshd->bhts", q, keys) * scale
        scores = softcap * torch.tanh(scores / softcap) if softcap else scores
        row = torch.arange(k.shape[1])[-q.shape[1] :, None]
        key = torch.arange(k.shape[1])[None]
        seen = (key <= row) & (row - key < (window or k.shape[1]))
        return torch.einsum("bhts,bshd->bthd", torch.softmax(scores.masked_fill(~seen, float("-inf")), -1), values)
