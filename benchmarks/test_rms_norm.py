"""RMSNorm, forward, backward and with the residual added, against eager torch, torch.compile and Liger."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from benchmarks.gpu import Function, Gpu

SHAPES = [(16384, 4096), (8192, 768), (131072, 128)]
CASES = ["forward", "backward", "residual, both ways"]
EPS = 1e-5


def eager(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(x, w.shape, w, EPS)


def eager_residual(x: torch.Tensor, w: torch.Tensor, r: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    h = x + r
    return functional.rms_norm(h, w.shape, w, EPS), h


def run(gpu: Gpu, shape: tuple[int, int], case: str) -> None:
    rows, width = shape
    residual = case.startswith("residual")
    leaves = [gpu.random(rows, width), gpu.random(width), *([gpu.random(rows, width)] if residual else [])]
    plain = eager_residual if residual else eager

    def ours() -> Function:
        from pylm_kernels import rms_norm

        if residual:
            return lambda x, w, r: rms_norm(x, w, eps=EPS, residual=r, backend=gpu.backend)
        return lambda x, w: rms_norm(x, w, eps=EPS, backend=gpu.backend)

    def liger() -> Function:
        from liger_kernel.transformers.functional import liger_fused_add_rms_norm, liger_rms_norm

        if residual:
            return lambda x, w, r: liger_fused_add_rms_norm(x, r, w, EPS, in_place=False)
        return lambda x, w: liger_rms_norm(x, w, EPS, in_place=False)

    sides = {"pylm": ours, "torch eager": lambda: plain, "torch.compile": lambda: gpu.compile(plain), "Liger": liger}
    timed = gpu.compare(
        f"rms_norm {case} {rows} × {width}",
        "both" if residual else case,
        sides,
        leaves,
        plain,
        copy_of=leaves[0].detach() if case == "forward" else None,
    )
    large = shape == SHAPES[0]
    bars = {"forward": 1.0, "backward": 2.0 if large else None}
    for peer in list(sides)[1:]:
        timed.faster(bars.get(case) if peer == "torch.compile" else None, than=peer)
    if case == "forward":
        timed.at_least(90.0, "percent", "% of a copy")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", SHAPES)
def test_rms_norm(gpu: Gpu, shape: tuple[int, int], case: str) -> None:
    run(gpu, shape, case)


REHEARSED = {case: lambda gpu, case=case: run(gpu, (24, 48), case) for case in CASES}
