"""The norm and rotation of packed heads, forward and backward, against torch, torch.compile and Liger's two kernels."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch.nn import functional

from benchmarks.gpu import Function, Gpu

EPS = 1e-5


class Shape(NamedTuple):
    """Of a model's attention."""

    batch: int
    time: int
    heads: int
    kv: int
    width: int

    def __str__(self) -> str:
        """As the tables call it."""
        return f"B{self.batch} T{self.time} H{self.heads}/{self.kv} D{self.width}"


SHAPES = [Shape(8, 2048, 12, 12, 64), Shape(4, 4096, 32, 8, 128)]
TINY = Shape(2, 20, 4, 2, 16)


def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Half-split rotation of [B, T, heads, D] in float32."""
    a, b = x.float().chunk(2, -1)
    c, s = cos[: x.shape[1], None], sin[: x.shape[1], None]
    return torch.cat((a * c - b * s, b * c + a * s), -1).to(x.dtype)


def heads_of(qkv: torch.Tensor, shape: Shape) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    q, k, v = qkv.unflatten(-1, (-1, shape.width)).split([shape.heads, shape.kv, shape.kv], 2)
    return q, k, v


def run(gpu: Gpu, shape: Shape, norm: bool) -> None:
    from pylm_kernels import Rope

    rope = Rope(shape.width, max_positions=shape.time, device=gpu.device)
    cos, sin = rope.tables(torch.empty(0, device=gpu.device).device)

    def eager(qkv: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        q, k, _ = heads_of(qkv, shape)
        if norm:
            q = functional.rms_norm(q, (shape.width,), weights[0], EPS)
            k = functional.rms_norm(k, (shape.width,), weights[1], EPS)
        return rotated(q, cos, sin), rotated(k, cos, sin)

    def ours() -> Function:
        from pylm_kernels import qk_norm_rope

        def call(qkv: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            named = dict(zip(("q_weight", "k_weight"), weights, strict=False))
            return qk_norm_rope(
                qkv, rope=rope, n_heads=shape.heads, n_kv_heads=shape.kv, eps=EPS, backend=gpu.backend, **named
            )

        return call

    def liger() -> Function:
        from liger_kernel.transformers.functional import liger_rms_norm, liger_rope

        tables = [torch.cat((table, table), -1)[None, : shape.time].bfloat16() for table in (cos, sin)]

        def call(qkv: torch.Tensor, *weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            q, k, _ = heads_of(qkv, shape)
            if norm:
                q = liger_rms_norm(q, weights[0], EPS, in_place=False)
                k = liger_rms_norm(k, weights[1], EPS, in_place=False)
            else:
                q, k = q.contiguous(), k.contiguous()  # it rotates in place
            q, k = liger_rope(q.transpose(1, 2), k.transpose(1, 2), *tables)
            return q.transpose(1, 2), k.transpose(1, 2)

        return call

    packed = gpu.random(shape.batch, shape.time, (shape.heads + 2 * shape.kv) * shape.width)
    leaves = [packed, *([gpu.random(shape.width), gpu.random(shape.width)] if norm else [])]
    sides = {"pylm": ours, "torch eager": lambda: eager, "torch.compile": lambda: gpu.compile(eager), "Liger": liger}
    timed = gpu.compare(f"{'qk_norm_rope' if norm else 'rope alone'} {shape}", "both", sides, leaves, eager)
    bars = {"torch.compile": 1.5} if norm else {}
    for peer in list(sides)[1:]:
        timed.faster(bars.get(peer), than=peer)


@pytest.mark.parametrize("norm", [True, False], ids=["norm", "plain"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_qk_norm_rope(gpu: Gpu, shape: Shape, norm: bool) -> None:
    run(gpu, shape, norm)


REHEARSED = {"norm": lambda gpu: run(gpu, TINY, True), "plain": lambda gpu: run(gpu, TINY, False)}
