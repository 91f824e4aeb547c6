from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import proof
import pytest
import torch
from proof import dtypes, random

from pylm_kernels import LayerNorm, layer_norm

MODULE = "pylm_kernels.ops.layer_norm.triton"


def inputs(width: int, dtype: torch.dtype = torch.float32, residual: bool = False) -> proof.Tensors:
    made = {"x": random(37, width, dtype=dtype) + 1}
    made |= {name: random(width, dtype=dtype) for name in ("weight", "bias")}
    return made | ({"residual": random(37, width, dtype=dtype)} if residual else {})


def small() -> None:
    """The check that mutations must turn red."""
    proof.prove(layer_norm, inputs(40))
    proof.prove(layer_norm, inputs(40, residual=True), strided=True)


@dtypes
@pytest.mark.parametrize("width", [40, 64, 100])
@pytest.mark.parametrize("residual", [False, True])
def test_values_and_gradients(dtype: torch.dtype, width: int, residual: bool) -> None:
    proof.prove(functools.partial(layer_norm, eps=1e-3), inputs(width, dtype, residual), strided=True)


@dtypes
def test_without_weight_or_bias(dtype: torch.dtype) -> None:
    proof.prove(layer_norm, {"x": random(3, 5, 40, dtype=dtype)})
    proof.prove(layer_norm, {"x": random(9, 40, dtype=dtype), "weight": random(40)})


@pytest.mark.parametrize(
    "mutation",
    [
        ("row[:, None] * stride_x +", "row[:, None] * N +"),
        ("tl.where(keep, h - mean[:, None], 0.0)", "h - mean[:, None]"),
        ("(g - tl.sum(g, 1)[:, None] / N", "(g"),
        ("db += tl.sum(g, 0)", "db = tl.sum(g, 0)"),
        ("if HAS_DH:", "if False:"),
    ],
    ids=["stride", "mask", "mean's gradient", "dbias", "dh"],
)
def test_a_broken_kernel_is_seen(mutation: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    proof.is_caught(mutation, MODULE, small, monkeypatch, tmp_path)


def test_reference_and_module_are_torchs_own() -> None:
    ours, theirs = LayerNorm(24, 1e-4), torch.nn.LayerNorm(24, 1e-4)
    torch.nn.init.normal_(ours.weight)
    theirs.load_state_dict(ours.state_dict())
    x = random(4, 24).cpu()
    assert proof.error(ours(x), theirs(x)) < 1e-6


def test_double_precision_checks() -> None:
    tensors = {"x": random(2, 6), "weight": random(6), "bias": random(6), "residual": random(2, 6)}
    proof.differentiates(layer_norm, tensors)


def test_opcheck() -> None:
    x, w, b, r = (random(*shape).requires_grad_() for shape in ((4, 24), (24,), (24,), (4, 24)))
    torch.library.opcheck(torch.ops.pylm_kernels.layer_norm.default, (x, w, b, r, 1e-5, "triton"))


def test_compile() -> None:
    proof.compiles(layer_norm, inputs(40, residual=True))


def test_autocast_leaves_the_dtype() -> None:
    x, weight = random(4, 24, dtype=torch.bfloat16).requires_grad_(), random(24).requires_grad_()
    with torch.autocast(proof.DEVICE, dtype=torch.bfloat16):
        y = layer_norm(x, weight, backend="triton")
    y.sum().backward()
    assert y.dtype == torch.bfloat16 and weight.grad is not None and weight.grad.dtype == torch.float32


def test_checkpointing_and_determinism() -> None:
    proof.survives_checkpointing(layer_norm, inputs(40, residual=True))
    proof.deterministic(layer_norm, inputs(40))


def test_empty() -> None:
    bias = random(24).requires_grad_()
    y = layer_norm(random(0, 24), None, bias, backend="triton")
    y.sum().backward()
    assert y.shape == (0, 24) and bias.grad is not None and bias.grad.abs().sum() == 0


BAD: dict[str, dict[str, Any]] = {
    "weight: shape": {"weight": random(23)},
    "bias: shape": {"bias": random(23)},
    "bias: dtype": {"bias": torch.ones(24, dtype=torch.int64, device=proof.DEVICE)},
    "residual: shape": {"residual": random(4, 23)},
    "x: dtype": {"x": torch.ones(4, 24, dtype=torch.int32)},
    "x: its last dimension is empty": {"x": torch.ones(4, 0)},
    "backend: 'triton' cannot serve this call of layer_norm: its tiles": {
        "x": random(1, 16385), "backend": "triton"
    },
}  # fmt: skip


@pytest.mark.parametrize("complaint", BAD)
def test_bad_input(complaint: str) -> None:
    proof.refuses(layer_norm, {"x": random(4, 24), **BAD[complaint]}, complaint)
