from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import proof
import pytest
import torch
from loss_rows import BAD, SETTINGS, N, V, on_device, targets
from proof import dtypes, random

from pylm_kernels import cross_entropy, linear_cross_entropy

MODULE = "pylm_kernels.ops.linear_cross_entropy.triton"
D = 40


def proves(settings: dict[str, Any], dtype: torch.dtype = torch.float32, strided: bool = False) -> None:
    loss = functools.partial(linear_cross_entropy, targets=targets(settings.get("ignore_index", -100)), **settings)
    proof.prove(loss, {"x": random(N, D, dtype=dtype), "weight": random(V, D, dtype=dtype) / 4}, strided=strided)


def small() -> None:
    """The check that mutations must turn red."""
    for settings in SETTINGS.values():
        proves(settings, strided=True)


@dtypes
@pytest.mark.parametrize("settings", SETTINGS)
def test_values_and_gradients(dtype: torch.dtype, settings: str) -> None:
    proves(SETTINGS[settings], dtype)


@pytest.mark.parametrize("settings", SETTINGS)
def test_non_contiguous(settings: str) -> None:
    proves(SETTINGS[settings], strided=True)


def test_leading_dimensions_and_int32() -> None:
    t = targets().int().view(1, N)
    x, weight = random(1, N, D), random(V, D)
    ours = linear_cross_entropy(x, weight, t, reduction="none", backend="triton")
    assert ours.shape == (1, N)
    assert proof.error(ours, cross_entropy(x @ weight.T, t, reduction="none", backend="triton")) < 1e-6


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reference_is_torchs_own(reduction: str) -> None:
    x, weight, t = random(N, D), random(V, D), targets()
    theirs = torch.nn.functional.cross_entropy(x.double() @ weight.double().T, t, reduction=reduction)
    assert proof.error(linear_cross_entropy(x, weight, t, reduction=reduction, backend="reference"), theirs) < 1e-6


def test_nothing_counts() -> None:
    t = torch.full((N,), -100, device=proof.DEVICE)
    x, weight = random(N, D).requires_grad_(), random(V, D).requires_grad_()
    loss = linear_cross_entropy(x, weight, t, backend="triton")
    loss.backward()
    assert loss == 0 and x.grad is not None and x.grad.abs().sum() == 0 and weight.grad.abs().sum() == 0  # type: ignore[union-attr]


def test_the_logits_are_never_stored() -> None:
    """Nothing as large as N · V is made, forward or backward: only slices of the vocabulary."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            found = function(*args, **(kwargs or {}))
            for x in found if isinstance(found, tuple | list) else [found]:
                if isinstance(x, torch.Tensor):
                    largest = max(largest, x.untyped_storage().nbytes())
            return found

    rows, classes, width = 96, 640, 16
    x, weight = random(rows, width).requires_grad_(), random(classes, width).requires_grad_()
    with Watch():
        linear_cross_entropy(x, weight, torch.arange(rows, device=proof.DEVICE), backend="triton").backward()
    assert largest <= rows * classes * 4 // 5


@pytest.mark.parametrize(
    "mutation",
    [
        ("total = total * tl.exp2(top - new)", "total = total"),
        ("* w_v + at", "* D + at"),
        ("col = first_col + here", "col = here"),
        ("tl.where((col < V)[None, :], tile", "tl.where((col <= V)[None, :], tile"),
        ("dx += g @ part", "dx = (g @ part).to(dx.dtype)"),
        ("z_loss * lse.square()", "0"),
    ],
    ids=["fading", "stride", "slice", "mask", "dx", "z_loss"],
)
def test_a_broken_kernel_is_seen(mutation: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    proof.is_caught(mutation, MODULE, small, monkeypatch, tmp_path)


def test_a_broken_slope_of_the_cap_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The cap is cross_entropy's: this module must be imported anew to take the broken one."""
    monkeypatch.delitem(__import__("sys").modules, MODULE, raising=False)
    slope = ("return 1 - (x / softcap) * (x / softcap)", "return 1 - x / softcap")
    proof.is_caught(slope, "pylm_kernels.ops.cross_entropy.triton", small, monkeypatch, tmp_path)


def test_double_precision_checks() -> None:
    settings = {"targets": torch.tensor([1, -100, 4]), "softcap": 3.0, "z_loss": 0.1}
    proof.differentiates(
        functools.partial(linear_cross_entropy, **settings), {"x": random(3, 4), "weight": random(5, 4)}
    )


def test_opcheck() -> None:
    x, weight = random(6, 8).requires_grad_(), random(20, 8).requires_grad_()
    torch.library.opcheck(
        torch.ops.pylm_kernels.linear_cross_entropy.default,
        (x, weight, targets(classes=20)[:6], 0.0, -100, 0.0, False, False, "triton"),
    )


def test_a_frozen_weight() -> None:
    """The gradient of x is what it is beside a weight's, and none is made for the weight."""
    x, weight, t = random(N, D).requires_grad_(), random(V, D).requires_grad_(), targets()
    found = {}
    for backend in ("triton", "reference"):
        for frozen in (False, True):
            loss = linear_cross_entropy(x, weight.detach() if frozen else weight, t, backend=backend)
            (found[backend, frozen],) = torch.autograd.grad(loss, x)
    assert torch.equal(found["triton", True], found["triton", False])
    assert proof.error(found["triton", True], found["reference", True]) < 1e-5


def test_compile() -> None:
    loss = functools.partial(linear_cross_entropy, targets=targets(classes=80)[:18])
    proof.compiles(loss, {"x": random(18, D), "weight": random(80, D)})


def test_autocast_casts_as_a_linear_layer_does() -> None:
    x, weight, t = random(N, D).requires_grad_(), random(V, D).requires_grad_(), targets()
    with torch.autocast(proof.DEVICE, dtype=torch.bfloat16):
        loss = linear_cross_entropy(x, weight, t, backend="triton")
        exact = linear_cross_entropy(x, weight, t, backend="reference")
    assert loss.dtype == torch.float32 and proof.error(loss, exact) < 5e-3
    loss.backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32


def test_checkpointing_and_determinism() -> None:
    loss = functools.partial(linear_cross_entropy, targets=targets(classes=80)[:18])
    tensors = {"x": random(18, D), "weight": random(80, D)}  # two tiles each way
    proof.survives_checkpointing(loss, tensors)
    proof.deterministic(loss, tensors)


def test_empty() -> None:
    none = torch.empty(0, dtype=torch.int64, device=proof.DEVICE)
    weight = random(V, D).requires_grad_()
    linear_cross_entropy(random(0, D), weight, none, backend="triton").backward()
    assert weight.grad is not None and weight.grad.abs().sum() == 0


OWN: dict[str, dict[str, Any]] = {
    r"weight: shape \(150, 39\)": {"weight": torch.zeros(V, D - 1)},
    "weight: has no classes": {"weight": torch.zeros(0, D)},
    "weight: dtype": {"weight": torch.zeros(V, D, dtype=torch.float16)},
    "x: dtype": {"x": torch.zeros(N, D, dtype=torch.int32)},
    "x: has 1 dimension": {"x": torch.zeros(D), "targets": torch.tensor(0)},
}


@pytest.mark.parametrize("complaint", BAD | OWN)
def test_bad_input(complaint: str) -> None:
    if "no class" in complaint and proof.DEVICE != "cpu":
        pytest.skip("a GPU would have to be waited for: the loss is infinite instead")
    given = {"x": random(N, D), "weight": random(V, D), "targets": targets(), **(BAD | OWN)[complaint]}
    proof.refuses(linear_cross_entropy, on_device(given), complaint)
