"""The loss from hidden states and the vocabulary's matrix, both ways, against torch, torch.compile and Liger."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from benchmarks.gpu import Function, Gpu

SHAPES = [(16384, 768, 50304)]
CASES = ["both"]


def run(gpu: Gpu, shape: tuple[int, int, int]) -> None:
    rows, width, vocabulary = shape
    targets = gpu.integers(vocabulary, rows)

    def eager(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy((x @ weight.T).float(), targets)

    def ours() -> Function:
        from pylm_kernels import linear_cross_entropy

        return lambda x, weight: linear_cross_entropy(x, weight, targets, backend=gpu.backend)

    def liger() -> Function:
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

        return lambda x, weight: liger_fused_linear_cross_entropy(x, weight, targets)

    leaves = [gpu.random(rows, width), gpu.random(vocabulary, width, scale=width**-0.5)]
    sides = {"pylm": ours, "torch eager": lambda: eager, "torch.compile": lambda: gpu.compile(eager), "Liger": liger}
    one = [torch.ones((), dtype=torch.float32, device=gpu.device)]
    timed = gpu.compare(
        f"linear_cross_entropy {rows} × {width} × {vocabulary}", "both", sides, leaves, eager, cotangents=one,
        memory=True,
    )  # fmt: skip
    for peer in list(sides)[1:]:
        timed.faster(1.3 if peer == "torch.compile" else None, than=peer)
        timed.leaner(0.1 if peer == "torch.compile" else None, than=peer)


@pytest.mark.parametrize("shape", SHAPES)
def test_linear_cross_entropy(gpu: Gpu, shape: tuple[int, int, int]) -> None:
    run(gpu, shape)


REHEARSED = {"both": lambda gpu: run(gpu, (40, 32, 96))}
