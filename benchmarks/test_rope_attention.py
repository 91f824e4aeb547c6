"""Rotary attention over a packed projection, against torch's attention with each of its kernels forced, and flex.

The rotation is on both sides: ours inside the call, the peers' by torch.compile, which fuses its split and its casts.
"""

from __future__ import annotations

import functools

import pytest
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu import Function, Gpu
from benchmarks.test_qk_norm_rope import SHAPES, TINY, Shape, heads_of, rotated

CASES = ["forward", "backward"]
FORCED = {
    "SDPA cuDNN": SDPBackend.CUDNN_ATTENTION,
    "SDPA flash": SDPBackend.FLASH_ATTENTION,
    "SDPA efficient": SDPBackend.EFFICIENT_ATTENTION,
}
DEFAULT = "SDPA default"
# How many times a peer's speed is asked for, by the width of a head and the direction. The widths are those of SHAPES:
# 64 is a batch of 8 times 2,048 tokens with 12 heads of queries and 12 of keys, 128 one of 4 times 4,096 with 32 and 8.
BARS = {
    (64, "forward"): {DEFAULT: 1.3, "SDPA cuDNN": 1.0},
    (64, "backward"): {"SDPA cuDNN": 1.0},
    (128, "forward"): {"SDPA cuDNN": 0.75},
    (128, "backward"): {"SDPA cuDNN": 0.70},
}


def run(gpu: Gpu, shape: Shape, case: str) -> None:
    from pylm_kernels import Rope

    rope = Rope(shape.width, max_positions=shape.time, device=gpu.device)
    cos, sin = rope.tables(torch.empty(0, device=gpu.device).device)

    def heads(qkv: torch.Tensor, kinds: Shape) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[B, heads, T, D], as torch's attention wants them."""
        q, k, v = heads_of(qkv, kinds)
        return rotated(q, cos, sin).transpose(1, 2), rotated(k, cos, sin).transpose(1, 2), v.transpose(1, 2)

    def attended(qkv: torch.Tensor, rotate: Function, kinds: Shape = shape) -> torch.Tensor:
        q, k, v = rotate(qkv, kinds)
        grouped = kinds.heads != kinds.kv
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped).transpose(1, 2)

    def ours() -> Function:
        from pylm_kernels import rope_attention

        settings = {"rope": rope, "n_heads": shape.heads, "n_kv_heads": shape.kv, "backend": gpu.backend}
        return functools.partial(rope_attention, **settings)

    def sdpa(backend: SDPBackend | None = None) -> Function:
        rotate = gpu.compile(heads)

        def call(qkv: torch.Tensor) -> torch.Tensor:
            if backend is None:
                return attended(qkv, rotate)
            with sdpa_kernel(backend):
                return attended(qkv, rotate)

        return call

    def flex() -> Function:
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        rotate, attend = gpu.compile(heads), gpu.compile(flex_attention)
        mask = create_block_mask(
            lambda b, h, row, key: key <= row, None, None, shape.time, shape.time, device=gpu.device
        )

        def call(qkv: torch.Tensor) -> torch.Tensor:
            grouped = shape.heads != shape.kv
            o: torch.Tensor = attend(*rotate(qkv, shape), block_mask=mask, enable_gqa=grouped)
            return o.transpose(1, 2)

        return call

    sides = {"pylm": ours, DEFAULT: sdpa, "flex_attention": flex}
    sides |= {name: functools.partial(sdpa, backend) for name, backend in FORCED.items()}
    qkv = gpu.random(shape.batch, shape.time, (shape.heads + 2 * shape.kv) * shape.width)
    share = shape.heads // shape.kv
    one = Shape(1, shape.time, share, 1, shape.width)

    def slices(outputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """The first row's first head of keys, with the heads of q that share it: of the output, or of dQKV."""
        (x,) = outputs
        if x.dim() == 4:
            return [x[:1, :, :share]]
        return [torch.cat([part[:1, :, : share if n == 0 else 1] for n, part in enumerate(heads_of(x, shape))], 2)
                .flatten(2)]  # fmt: skip

    def exact(part: torch.Tensor) -> torch.Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return attended(part, heads, one)

    cotangents = [gpu.random(shape.batch, shape.time, shape.heads, shape.width).detach()]
    timed = gpu.compare(
        f"rope_attention {case} {shape}",
        case,
        sides,
        [qkv],
        exact,
        cotangents=cotangents,
        slices=slices,
        given=slices((qkv,)),
    )
    for peer in list(sides)[1:]:
        timed.faster(BARS.get((shape.width, case), {}).get(peer), than=peer)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rope_attention(gpu: Gpu, shape: Shape, case: str) -> None:
    run(gpu, shape, case)


REHEARSED = {case: lambda gpu, case=case: run(gpu, TINY, case) for case in CASES}
