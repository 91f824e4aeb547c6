"""One new token a row over a cache, with its norm, rotation and the cache's write, against torch and torch.compile."""

from __future__ import annotations

import functools

import pytest
import torch
from torch.nn import functional

from benchmarks.gpu import Function, Gpu
from benchmarks.test_qk_norm_rope import EPS, Shape, heads_of

# `time` is how much of the cache is filled; it holds twice as much
SHAPES = [Shape(1, 4096, 12, 12, 64), Shape(8, 4096, 32, 8, 128), Shape(64, 1024, 32, 8, 128)]
TINY = Shape(2, 20, 4, 2, 16)


def run(gpu: Gpu, shape: Shape) -> None:
    from pylm_kernels import Rope

    capacity = 2 * shape.time
    rope = Rope(shape.width, max_positions=capacity, device=gpu.device)
    cos, sin = rope.tables(torch.empty(0, device=gpu.device).device)
    held = [gpu.random(shape.batch, capacity, shape.kv, shape.width).detach() for _ in "kv"]
    weights = [gpu.random(shape.width).detach() for _ in "qk"]
    lengths = torch.full((shape.batch,), shape.time, dtype=torch.int32, device=gpu.device)
    row = torch.arange(shape.batch, device=gpu.device)
    seen = (torch.arange(capacity, device=gpu.device) <= lengths[:, None])[:, None, None]

    def turned(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        normed = functional.rms_norm(x, (shape.width,), weight.to(x.dtype), EPS)
        a, b = normed.float().chunk(2, -1)
        c, s = cos[lengths.long()][:, None, None], sin[lengths.long()][:, None, None]
        return torch.cat((a * c - b * s, b * c + a * s), -1).to(x.dtype)

    def torchs(k_cache: torch.Tensor, v_cache: torch.Tensor, qkv: torch.Tensor) -> torch.Tensor:
        q, k, v = heads_of(qkv, shape)
        q, k = turned(q, weights[0]), turned(k, weights[1])
        k_cache[row, lengths.long()] = k[:, 0]
        v_cache[row, lengths.long()] = v[:, 0]
        keys, values = k_cache.transpose(1, 2), v_cache.transpose(1, 2)
        grouped = shape.heads != shape.kv
        return functional.scaled_dot_product_attention(
            q.transpose(1, 2), keys, values, attn_mask=seen, enable_gqa=grouped
        ).transpose(1, 2)

    def ours() -> Function:
        from pylm_kernels import attention_decode

        mine = dict(zip(("k_cache", "v_cache"), [x.clone() for x in held], strict=True))
        named = dict(zip(("q_weight", "k_weight"), weights, strict=True))
        return functools.partial(
            attention_decode, **mine, lengths=lengths, rope=rope, n_heads=shape.heads, n_kv_heads=shape.kv, eps=EPS,
            backend=gpu.backend, **named,
        )  # fmt: skip

    sides = {
        "pylm": ours,
        "torch eager": lambda: functools.partial(torchs, *(x.clone() for x in held)),
        "torch.compile": lambda: functools.partial(gpu.compile(torchs), *(x.clone() for x in held)),
    }
    qkv = gpu.random(shape.batch, 1, (shape.heads + 2 * shape.kv) * shape.width)
    timed = gpu.compare(
        f"attention_decode {shape}",
        "forward",
        sides,
        [qkv],
        functools.partial(torchs, *(x.float() for x in held)),
        copy_of=torch.cat([x[:, : shape.time // 2] for x in held]),  # half of what is read, read and written
    )
    for peer in list(sides)[1:]:
        timed.faster(None, than=peer)
    timed.at_least(70.0, "percent", "% of a copy")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_attention_decode(gpu: Gpu, shape: Shape) -> None:
    run(gpu, shape)


REHEARSED = {"one token": lambda gpu: run(gpu, TINY)}
