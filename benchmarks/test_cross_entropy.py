"""The loss from logits, both ways, against torch, torch.compile and Liger."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from benchmarks.gpu import Function, Gpu

SHAPES = [(16384, 50304)]


def run(gpu: Gpu, shape: tuple[int, int]) -> None:
    targets = gpu.integers(shape[1], shape[0])

    def eager(logits: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits.float(), targets)

    def ours() -> Function:
        from pylm_kernels import cross_entropy

        return lambda logits: cross_entropy(logits, targets, backend=gpu.backend)

    def liger() -> Function:
        from liger_kernel.transformers.functional import liger_cross_entropy

        # it writes the gradient over the logits
        return lambda logits: liger_cross_entropy(logits.clone(), targets)

    sides = {"pylm": ours, "torch eager": lambda: eager, "torch.compile": lambda: gpu.compile(eager), "Liger": liger}
    one = [torch.ones((), dtype=torch.float32, device=gpu.device)]
    timed = gpu.compare(
        f"cross_entropy {shape[0]} × {shape[1]}", "both", sides, [gpu.random(*shape)], eager, cotangents=one
    )
    for peer in list(sides)[1:]:
        timed.faster(None, than=peer)


@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy(gpu: Gpu, shape: tuple[int, int]) -> None:
    run(gpu, shape)


REHEARSED = {"both": lambda gpu: run(gpu, (24, 96))}
