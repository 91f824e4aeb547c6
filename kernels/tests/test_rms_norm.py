from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import proof
import pytest
import torch
from proof import dtypes, random

from pylm_kernels import RMSNorm, rms_norm

MODULE = "pylm_kernels.ops.rms_norm.triton"
# the interpreter's tiles are 64 columns and 512 elements: 40 fits one, 200 is walked
WIDTHS = [40, 64, 200]


def inputs(width: int, dtype: torch.dtype = torch.float32, rows: int = 37, residual: bool = False) -> proof.Tensors:
    made = {"x": random(rows, width, dtype=dtype), "weight": random(width, dtype=dtype)}
    if residual:
        made["residual"] = random(rows, width, dtype=dtype)
    return made


def small() -> None:
    """The check that mutations must turn red."""
    for width in (40, 200):
        proof.prove(functools.partial(rms_norm, offset=1.0), inputs(width))
        proof.prove(rms_norm, inputs(width, residual=True), strided=True)


@dtypes
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("residual", [False, True])
def test_values_and_gradients(dtype: torch.dtype, width: int, residual: bool) -> None:
    proof.prove(functools.partial(rms_norm, eps=1e-3, offset=1.0), inputs(width, dtype, residual=residual))


@dtypes
def test_without_weight(dtype: torch.dtype) -> None:
    for width in (40, 200):
        proof.prove(rms_norm, {"x": random(3, 5, width, dtype=dtype)})


def test_a_weight_of_another_dtype_keeps_its_gradient_there() -> None:
    proof.prove(rms_norm, {"x": random(9, 40, dtype=torch.bfloat16), "weight": random(40)})


@pytest.mark.parametrize("width", [40, 200])
def test_non_contiguous(width: int) -> None:
    proof.prove(rms_norm, inputs(width, residual=True), strided=True)
    proof.prove(rms_norm, {"x": random(6, width, 3).transpose(1, 2), "weight": random(width)})


def test_the_check_passes_unbroken() -> None:
    small()


@pytest.mark.parametrize(
    "mutation",
    [
        ("row[:, None] * stride_x +", "row[:, None] * N +"),
        ("/ N + eps)", "/ BLOCK + eps)"),
        ("+ offset\n            y =", "\n            y ="),
        ("dx = (g - xhat * mean) * rstd", "dx = g * rstd"),
        ("(start + col < N)[None, :]\n        h =", "(start + col <= N)[None, :]\n        h ="),
        ("dw += tl.sum(dy * xhat, 0)", "dw = tl.sum(dy * xhat, 0)"),
        ("so_far + tl.sum", "tl.sum"),
        ("if HAS_DH:", "if False:"),
    ],
    ids=["stride", "divisor", "offset", "projection", "mask", "dweight", "wide dweight", "dh"],
)
def test_a_broken_kernel_is_seen(mutation: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    proof.is_caught(mutation, MODULE, small, monkeypatch, tmp_path)


def test_reference_is_torchs_own() -> None:
    x, weight = random(5, 48), random(48)
    ours = rms_norm(x, weight, eps=1e-4, backend="reference")
    assert proof.error(ours, torch.nn.functional.rms_norm(x, (48,), weight, 1e-4)) < 1e-6


def test_module_has_torchs_state() -> None:
    ours, theirs = RMSNorm(24, 1e-4), torch.nn.RMSNorm(24, 1e-4)
    theirs.load_state_dict(ours.state_dict())
    x = random(4, 24).cpu()
    assert proof.error(ours(x), theirs(x)) < 1e-6
    assert RMSNorm(24, offset=1.0).weight.abs().sum() == 0  # type: ignore[union-attr]


def test_double_precision_checks() -> None:
    tensors = {"x": random(2, 6), "weight": random(6), "residual": random(2, 6)}
    proof.differentiates(functools.partial(rms_norm, offset=0.5), tensors)


def test_opcheck() -> None:
    for residual in (None, random(4, 24).requires_grad_()):
        x, weight = random(4, 24).requires_grad_(), random(24).requires_grad_()
        arguments = (x, weight, residual, 1e-5, 0.0, "triton")
        torch.library.opcheck(torch.ops.pylm_kernels.rms_norm.default, arguments)


def test_compile() -> None:
    proof.compiles(rms_norm, inputs(40, residual=True))


def test_autocast_leaves_the_dtype() -> None:
    x, weight = random(4, 24, dtype=torch.bfloat16).requires_grad_(), random(24).requires_grad_()
    with torch.autocast(proof.DEVICE, dtype=torch.bfloat16):
        ours, exact = rms_norm(x, weight, backend="triton"), rms_norm(x, weight, backend="reference")
    assert ours.dtype == exact.dtype == torch.bfloat16
    assert proof.error(ours, exact) < 5e-3
    ours.sum().backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32


def test_checkpointing() -> None:
    proof.survives_checkpointing(rms_norm, inputs(40, residual=True))


def test_deterministic() -> None:
    for width in (40, 200):
        proof.deterministic(rms_norm, inputs(width))


def test_empty() -> None:
    x, weight = random(0, 24).requires_grad_(), random(24).requires_grad_()
    y = rms_norm(x, weight, backend="triton")
    y.sum().backward()
    assert y.shape == (0, 24) and weight.grad is not None and weight.grad.abs().sum() == 0


BAD: dict[str, tuple[Any, ...]] = {
    "weight: shape": ({"weight": random(23)},),
    "weight: dtype": ({"weight": torch.ones(24, dtype=torch.int64)},),
    "residual: shape": ({"residual": random(4, 23)},),
    "residual: dtype": ({"residual": random(4, 24, dtype=torch.float16)},),
    "x: dtype": ({"x": torch.ones(4, 24, dtype=torch.int32)},),
    "x: its last dimension is empty": ({"x": torch.ones(4, 0)},),
    "x: a scalar": ({"x": torch.tensor(1.0)},),
    "weight: is on": ({"weight": torch.ones(24, device="meta")},),
}


@pytest.mark.parametrize("complaint", BAD)
def test_bad_input(complaint: str) -> None:
    (changed,) = BAD[complaint]
    given = {"x": random(4, 24), "weight": random(24) if "x" not in changed else None, **changed}
    proof.refuses(rms_norm, given, complaint)
