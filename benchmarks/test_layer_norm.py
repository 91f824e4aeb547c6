"""LayerNorm, forward and backward, against eager torch, torch.compile and Liger."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from benchmarks.gpu import Function, Gpu

SHAPES = [(16384, 4096), (8192, 768)]
CASES = ["forward", "backward"]
EPS = 1e-5


def eager(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(x, w.shape, w, b, EPS)


def run(gpu: Gpu, shape: tuple[int, int], case: str) -> None:
    rows, width = shape

    def ours() -> Function:
        from pylm_kernels import layer_norm

        return lambda x, w, b: layer_norm(x, w, b, eps=EPS, backend=gpu.backend)

    def liger() -> Function:
        from liger_kernel.transformers.functional import liger_layer_norm

        return lambda x, w, b: liger_layer_norm(x, w, b, EPS)

    leaves = [gpu.random(rows, width), gpu.random(width), gpu.random(width)]
    sides = {"pylm": ours, "torch eager": lambda: eager, "torch.compile": lambda: gpu.compile(eager), "Liger": liger}
    timed = gpu.compare(f"layer_norm {case} {rows} × {width}", case, sides, leaves, eager)
    for peer in list(sides)[1:]:
        timed.faster(None, than=peer)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", SHAPES)
def test_layer_norm(gpu: Gpu, shape: tuple[int, int], case: str) -> None:
    run(gpu, shape, case)


REHEARSED = {case: lambda gpu, case=case: run(gpu, (24, 48), case) for case in CASES}
