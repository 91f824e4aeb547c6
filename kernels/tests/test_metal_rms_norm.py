"""The Metal kernels of rms_norm: run from their source on the processor, and on an Apple GPU where there is one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("mlx.core")
from metal.proof import Tensors, broken, dtypes, prove  # noqa: E402
from metal.shim import MetalError, Shim  # noqa: E402

import pylm_kernels.mlx as ours  # noqa: E402 (after the question whether mlx is there)
from pylm_kernels.ops.rms_norm import metal as kernels  # noqa: E402
from pylm_kernels.ops.rms_norm import reference  # noqa: E402


def inputs(shape: tuple[int, ...], dtype: torch.dtype, *, weight: bool = True, residual: bool = True) -> Tensors:
    tensors = {"x": torch.randn(shape).to(dtype)}
    if weight:
        tensors["weight"] = torch.randn(shape[-1]).to(dtype)
    if residual:
        tensors["residual"] = torch.randn(shape).to(dtype)
    return tensors


def agree(tensors: Tensors, **settings: Any) -> None:
    def exact(**given: torch.Tensor) -> Any:
        y, h = reference.rms_norm(**given, **settings)
        return (y, h) if "residual" in given else y

    prove(lambda **given: ours.rms_norm(**given, **settings), exact, tensors)


@dtypes
def test_residual_and_weight(metal: Shim | None, dtype: torch.dtype) -> None:
    agree(inputs((37, 100), dtype), offset=0.5)
    if metal:
        assert metal.launched == ["rms_norm", "rms_norm_backward"]


@pytest.mark.parametrize(
    ("shape", "weight", "residual"),
    [
        ((5, 64), True, False),  # a row is one simdgroup's
        ((2, 3, 7, 130), True, True),  # two simdgroups, the second almost idle
        ((3, 5), True, True),  # fewer columns than threads; the weight is in constant memory
        ((1, 1), False, True),
        ((3, 4500), False, True),  # 32 simdgroups, and more than one round
    ],
)
def test_shapes(metal: Shim | None, shape: tuple[int, ...], weight: bool, residual: bool) -> None:
    agree(inputs(shape, torch.float32, weight=weight, residual=residual), eps=1e-2)


def test_wide_rows_keep_the_weights_gradient_in_memory(metal: Shim | None) -> None:
    agree(inputs((3, 8300), torch.float32, residual=False))


def test_teams_take_many_rows(metal: Shim | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "SIMDGROUPS", 8)
    agree(inputs((50, 16), torch.float32, residual=False))
    if metal:
        assert (8, 16) in metal.asked, "the lines of the weight's gradient do not grow with the rows"


def test_a_weight_of_another_dtype_is_not_rounded(metal: Shim | None) -> None:
    tensors = inputs((9, 100), torch.bfloat16)
    tensors["weight"] = torch.randn(100)
    agree(tensors)


BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
MUTATIONS = {
    "forward: no barrier": ("FORWARD", BARRIER, "", "race|unwritten: partial"),
    "forward: a barrier for other memory": ("FORWARD", BARRIER, BARRIER.replace("threadgroup)", "device)"), "race"),
    "forward: one column too many": ("FORWARD", "c + COLUMNS, uint(N)", "c + COLUMNS, uint(N) + 1", "outside|race"),
    "forward: one column too few": ("FORWARD", "c + COLUMNS, uint(N)", "c + COLUMNS, uint(N) - 1", "unwritten"),
    "forward: no offset": ("FORWARD", " + numbers[1]", "", "past"),
    "forward: a sum without residual": ("FORWARD", "sum += value * value", "sum += value * float(x[row + i])", "past"),
    "backward: no first barrier": ("BACKWARD", BARRIER + "  // some", "// some", "race"),
    "backward: no second barrier": ("BACKWARD", "}\n            " + BARRIER, "}", "race|unwritten: squares"),
    "backward: no mean": ("BACKWARD", "value * mean", "value * 0.5f * mean", "past"),
    "backward: dh forgotten": ("BACKWARD", "gradient += float(dh[row + i])", "gradient += 0.0f", "past"),
    "backward: rows of others": ("BACKWARD", "r += all_teams", "r += all_teams - 1", "race"),
    "backward: the last row forgotten": ("BACKWARD", "r < rows", "r + 1 < rows", "unwritten|past"),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_broken_on_purpose(mutation: str, shim: Shim, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, old, new, complaint = MUTATIONS[mutation]
    shim.schedules = (2,)
    broken(monkeypatch, kernels, kernel, old, new, 1 if "column" not in mutation else -1)
    monkeypatch.setattr(kernels, "SIMDGROUPS", 6)  # two teams, so that each takes several rows
    with pytest.raises((MetalError, AssertionError), match=complaint):
        agree(inputs((5, 302), torch.float32), offset=0.5)
