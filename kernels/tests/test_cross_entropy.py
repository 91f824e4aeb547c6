from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import proof
import pytest
import torch
from loss_rows import BAD, SETTINGS, N, V, on_device, targets
from proof import dtypes, random

from pylm_kernels import cross_entropy

MODULE = "pylm_kernels.ops.cross_entropy.triton"


def proves(settings: dict[str, Any], dtype: torch.dtype = torch.float32, strided: bool = False) -> None:
    loss = functools.partial(cross_entropy, targets=targets(settings.get("ignore_index", -100)), **settings)
    proof.prove(loss, {"logits": random(N, V, dtype=dtype) * 3}, strided=strided)


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


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reference_is_torchs_own(reduction: str) -> None:
    logits, t = random(N, V), targets()
    theirs = torch.nn.functional.cross_entropy(logits, t, reduction=reduction)
    assert proof.error(cross_entropy(logits, t, reduction=reduction, backend="reference"), theirs) < 1e-6


def test_large_logits_stay_finite() -> None:
    logits = torch.full((2, 70), -1e4, device=proof.DEVICE)
    logits[:, 3] = 1e4
    t = torch.tensor([3, 4], device=proof.DEVICE)
    assert cross_entropy(logits, t, reduction="none", backend="triton").tolist() == [0.0, 2e4]


@pytest.mark.parametrize(
    "mutation",
    [
        ("total * tl.exp2(top - finite) +", "total +"),
        ("X + row * stride + first", "X + row * V + first"),
        ("- tl.where(at == target", "- tl.where(at == target + 1"),
        ("(1 + 2 * z_loss * lse)", "(1 + z_loss * lse)"),
        ("return 1 - (x / softcap) * (x / softcap)", "return 1 - x / softcap"),
    ],
    ids=["fading", "stride", "target", "z_loss", "cap's slope"],
)
def test_a_broken_kernel_is_seen(mutation: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    proof.is_caught(mutation, MODULE, small, monkeypatch, tmp_path)


def test_double_precision_checks() -> None:
    settings = {"targets": torch.tensor([1, -100, 4]), "softcap": 3.0, "z_loss": 0.1}
    proof.differentiates(functools.partial(cross_entropy, **settings), {"logits": random(3, 5)})


def test_opcheck() -> None:
    logits = random(6, 20).requires_grad_()
    torch.library.opcheck(
        torch.ops.pylm_kernels.cross_entropy.default,
        (logits, targets(classes=20)[:6], 0.0, -100, 0.0, 0.0, "triton"),
    )


def test_compile() -> None:
    loss = functools.partial(cross_entropy, targets=targets(classes=80)[:18])
    proof.compiles(loss, {"logits": random(18, 80)})


def test_autocast_gives_float32() -> None:
    x, weight = random(N, 40), random(V, 40)
    with torch.autocast(proof.DEVICE, dtype=torch.bfloat16):
        assert cross_entropy(x @ weight.T, targets(), backend="triton").dtype == torch.float32


def test_checkpointing_and_determinism() -> None:
    loss = functools.partial(cross_entropy, targets=targets(classes=80)[:18])
    tensors = {"logits": random(18, 80)}  # two tiles each way
    proof.survives_checkpointing(loss, tensors)
    proof.deterministic(loss, tensors)


def test_empty() -> None:
    none = torch.empty(0, dtype=torch.int64, device=proof.DEVICE)
    assert cross_entropy(random(0, V), none, backend="triton") == 0


@pytest.mark.parametrize("complaint", BAD)
def test_bad_input(complaint: str) -> None:
    if "no class" in complaint and proof.DEVICE != "cpu":
        pytest.skip("a GPU would have to be waited for: the loss is infinite instead")
    given = {"logits": random(N, V), "targets": targets(), **BAD[complaint]}
    proof.refuses(cross_entropy, on_device(given), complaint)
