"""What backends refuse, said in both ways: a Python program reads keywords, the command line prints options."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pylm.errors import PylmError
from pylm.model import which
from pylm.training.optim.rules import misfit
from pylm.training.torch_backend import machine
from pylm.wording import in_options


def said(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(PylmError) as caught:
        call()
    error = caught.value
    python, options = f"{error.message} | {error.hint}", " | ".join(in_options(str(part)) for part in error.marked)
    assert "--" not in python and "\x02" not in python + options
    return python, options


def test_a_device_that_torch_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert said(lambda: machine.choose_device("cuda:3")) == (
        'device="cuda:3": torch sees no CUDA device here | pylm doctor says why; or device="cpu"',
        "--device cuda:3: torch sees no CUDA device here | pylm doctor says why; or --device cpu",
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert said(lambda: machine.choose_device("cuda:3")) == (
        'device="cuda:3": there are 2, counted from 0 | device="cuda:1"',
        "--device cuda:3: there are 2, counted from 0 | --device cuda:1",
    )
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert said(lambda: machine.choose_device("mps")) == (
        'device="mps": torch sees no Apple GPU here | device="cpu"',
        "--device mps: torch sees no Apple GPU here | --device cpu",
    )


def test_mlx_that_is_not_here_or_has_no_such_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(lambda: which.need_mlx("cuda:0")) == (
        'backend="mlx" computes on Apple GPUs and CPUs, not on cuda:0 | backend="torch", or device="auto"',
        "--backend mlx computes on Apple GPUs and CPUs, not on cuda:0 | --backend torch, or --device auto",
    )

    def missing(name: str) -> None:
        raise ImportError(f"no module {name}")

    monkeypatch.setattr(importlib, "import_module", missing)
    python, options = said(lambda: which.need_mlx("auto"))
    assert python.startswith('backend="mlx" needs MLX') and python.endswith("""'.[mlx]', or backend="torch\"""")
    assert options.startswith(
        "--backend mlx needs MLX, which cannot be imported here: no module mlx.core | pip install"
    )
    assert options.endswith("'.[mlx]', or --backend torch")


def test_a_mac_without_metal(monkeypatch: pytest.MonkeyPatch) -> None:
    mx = pytest.importorskip("mlx.core")
    from pylm.model.mlx import attention, device

    monkeypatch.setattr(mx.metal, "is_available", lambda: False)
    assert said(lambda: device.take_device("mps")) == (
        'device="mps": there is no Metal here | device="cpu": MLX on a CPU is for correctness only',
        "--device mps: there is no Metal here | --device cpu: MLX on a CPU is for correctness only",
    )
    python, options = said(attention.need_kernel)
    assert python.endswith('| attention="auto"') and options.endswith("there is no Metal here | --attention auto")


def test_a_state_of_another_optimizer() -> None:
    python, options = said(lambda: misfit({"first.a": (1,)}, {"step": 0}))
    assert python.endswith("or start from its weights with init_from=")
    assert options.endswith(
        "| resume with the optimizer that it was saved by, or start from its weights with --init-from"
    )
