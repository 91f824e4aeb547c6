"""cross_entropy and linear_cross_entropy: one meaning, so one file."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import proof
import pytest
import torch
from proof import dtypes, random

from pylm_kernels import cross_entropy, linear_cross_entropy

PLAIN = "pylm_kernels.ops.cross_entropy.triton"
LINEAR = "pylm_kernels.ops.linear_cross_entropy.triton"
N, V, D = 37, 150, 40
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all": {"softcap": 3.0, "z_loss": 0.1, "reduction": "none"},
    "sum": {"reduction": "sum", "ignore_index": 7},
}


def targets(ignore: int = -100, classes: int = V) -> torch.Tensor:
    found = torch.randint(0, classes, (N,))
    found[::5] = ignore
    return found.to(proof.DEVICE)


def plain(settings: dict[str, Any], dtype: torch.dtype = torch.float32, strided: bool = False) -> None:
    loss = functools.partial(cross_entropy, targets=targets(settings.get("ignore_index", -100)), **settings)
    proof.prove(loss, {"logits": random(N, V, dtype=dtype) * 3}, strided=strided)


def linear(settings: dict[str, Any], dtype: torch.dtype = torch.float32, strided: bool = False) -> None:
    loss = functools.partial(linear_cross_entropy, targets=targets(settings.get("ignore_index", -100)), **settings)
    proof.prove(loss, {"x": random(N, D, dtype=dtype), "weight": random(V, D, dtype=dtype) / 4}, strided=strided)


def small() -> None:
    """The check that mutations must turn red."""
    for settings in SETTINGS.values():
        plain(settings, strided=True)
        linear(settings, strided=True)


@dtypes
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("loss", [plain, linear])
def test_values_and_gradients(dtype: torch.dtype, settings: str, loss: proof.Function) -> None:
    loss(SETTINGS[settings], dtype)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("loss", [plain, linear])
def test_non_contiguous(settings: str, loss: proof.Function) -> None:
    loss(SETTINGS[settings], strided=True)


def test_leading_dimensions_and_int32() -> None:
    t = targets().int().view(1, N)
    x, weight = random(1, N, D), random(V, D)
    ours = linear_cross_entropy(x, weight, t, reduction="none", backend="triton")
    assert ours.shape == (1, N)
    assert proof.error(ours, cross_entropy(x @ weight.T, t, reduction="none", backend="triton")) < 1e-6


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reference_is_torchs_own(reduction: str) -> None:
    logits, t = random(N, V), targets()
    theirs = torch.nn.functional.cross_entropy(logits, t, reduction=reduction)
    assert proof.error(cross_entropy(logits, t, reduction=reduction, backend="reference"), theirs) < 1e-6


def test_nothing_counts() -> None:
    t = torch.full((N,), -100, device=proof.DEVICE)
    x, weight = random(N, D).requires_grad_(), random(V, D).requires_grad_()
    loss = linear_cross_entropy(x, weight, t, backend="triton")
    loss.backward()
    assert loss == 0 and x.grad is not None and x.grad.abs().sum() == 0 and weight.grad.abs().sum() == 0  # type: ignore[union-attr]


def test_large_logits_stay_finite() -> None:
    logits = torch.full((2, 70), -1e4, device=proof.DEVICE)
    logits[:, 3] = 1e4
    t = torch.tensor([3, 4], device=proof.DEVICE)
    assert cross_entropy(logits, t, reduction="none", backend="triton").tolist() == [0.0, 2e4]


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
    ("module", "mutation"),
    [
        (PLAIN, ("total * tl.exp2(top - finite) +", "total +")),
        (PLAIN, ("X + row * stride + first", "X + row * V + first")),
        (PLAIN, ("- tl.where(at == target", "- tl.where(at == target + 1")),
        (PLAIN, ("(1 + 2 * z_loss * lse)", "(1 + z_loss * lse)")),
        (PLAIN, ("return 1 - (x / softcap) * (x / softcap)", "return 1 - x / softcap")),
        (LINEAR, ("total = total * tl.exp2(top - new)", "total = total")),
        (LINEAR, ("* w_v + at", "* D + at")),
        (LINEAR, ("col = first_col + here", "col = here")),
        (LINEAR, ("tl.where((col < V)[None, :], tile", "tl.where((col <= V)[None, :], tile")),
        (LINEAR, ("dx += g @ part", "dx = (g @ part).to(dx.dtype)")),
        (LINEAR, ("z_loss * lse.square()", "0")),
    ],
)
def test_a_broken_kernel_is_seen(
    module: str, mutation: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if module == PLAIN:  # its functions serve the other module too, which must not keep the unbroken ones
        monkeypatch.delitem(__import__("sys").modules, LINEAR, raising=False)
    proof.is_caught(mutation, module, small, monkeypatch, tmp_path)


def test_double_precision_checks() -> None:
    t = torch.tensor([1, -100, 4])
    settings = {"targets": t, "softcap": 3.0, "z_loss": 0.1}
    proof.differentiates(functools.partial(cross_entropy, **settings), {"logits": random(3, 5)})
    proof.differentiates(
        functools.partial(linear_cross_entropy, **settings), {"x": random(3, 4), "weight": random(5, 4)}
    )


def test_opcheck() -> None:
    t = targets(classes=20)[:6]
    logits, x, weight = (random(*shape).requires_grad_() for shape in ((6, 20), (6, 8), (20, 8)))
    settings = (0.0, -100, 0.0, "triton")
    torch.library.opcheck(torch.ops.pylm_kernels.cross_entropy.default, (logits, t, *settings[:3], 0.0, "triton"))
    torch.library.opcheck(
        torch.ops.pylm_kernels.linear_cross_entropy.default, (x, weight, t, *settings[:3], False, "triton")
    )


def test_compile() -> None:
    t = targets(classes=80)[:18]
    proof.compiles(functools.partial(cross_entropy, targets=t), {"logits": random(18, 80)})
    proof.compiles(functools.partial(linear_cross_entropy, targets=t), {"x": random(18, D), "weight": random(80, D)})


def test_autocast_casts_as_a_linear_layer_does() -> None:
    x, weight, t = random(N, D).requires_grad_(), random(V, D).requires_grad_(), targets()
    with torch.autocast(proof.DEVICE, dtype=torch.bfloat16):
        loss = linear_cross_entropy(x, weight, t, backend="triton")
        exact = linear_cross_entropy(x, weight, t, backend="reference")
        assert cross_entropy(x @ weight.T, t, backend="triton").dtype == torch.float32
    assert loss.dtype == torch.float32 and proof.error(loss, exact) < 5e-3
    loss.backward()
    assert weight.grad is not None and weight.grad.dtype == torch.float32


def test_checkpointing_and_determinism() -> None:
    t = targets(classes=80)[:18]  # two tiles each way
    for loss, tensors in [
        (functools.partial(cross_entropy, targets=t), {"logits": random(18, 80)}),
        (functools.partial(linear_cross_entropy, targets=t), {"x": random(18, D), "weight": random(80, D)}),
    ]:
        proof.survives_checkpointing(loss, tensors)
        proof.deterministic(loss, tensors)


def test_empty() -> None:
    none = torch.empty(0, dtype=torch.int64, device=proof.DEVICE)
    weight = random(V, D).requires_grad_()
    linear_cross_entropy(random(0, D), weight, none, backend="triton").backward()
    assert weight.grad is not None and weight.grad.abs().sum() == 0
    assert cross_entropy(random(0, V), none, backend="triton") == 0


BAD: dict[str, dict[str, Any]] = {
    r"targets: shape \(36\)": {"targets": torch.zeros(N - 1, dtype=torch.int64)},
    "targets: dtype": {"targets": torch.zeros(N)},
    "targets: 150 is no class; there are 150": {"targets": torch.full((N,), V)},
    "softcap: 0": {"softcap": 0.0},
    "z_loss: -1": {"z_loss": -1.0},
    "reduction: 'avg'": {"reduction": "avg"},
    r"weight: shape \(150, 39\)": {"weight": torch.zeros(V, D - 1)},
    "weight: has no classes": {"weight": torch.zeros(0, D)},
    "weight: dtype": {"weight": torch.zeros(V, D, dtype=torch.float16)},
    "x: dtype": {"x": torch.zeros(N, D, dtype=torch.int32)},
    "x: has 1 dimension": {"x": torch.zeros(D), "targets": torch.tensor(0)},
}


@pytest.mark.parametrize("complaint", BAD)
def test_bad_input(complaint: str) -> None:
    if "no class" in complaint and proof.DEVICE != "cpu":
        pytest.skip("a GPU would have to be waited for: the loss is infinite instead")
    given: dict[str, Any] = {"x": random(N, D), "weight": random(V, D), "targets": targets(), **BAD[complaint]}
    given = {name: x.to(proof.DEVICE) if isinstance(x, torch.Tensor) else x for name, x in given.items()}
    proof.refuses(linear_cross_entropy, given, complaint)
    if not complaint.startswith(("x", "weight")):
        rest = {name: x for name, x in given.items() if name not in ("x", "weight")}
        proof.refuses(cross_entropy, {"logits": given["x"] @ given["weight"].T, **rest}, complaint)
