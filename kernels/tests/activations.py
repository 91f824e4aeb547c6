"""How every activation is proven: its reference against torch's own, a registered backend through both autograds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import proof
import pytest
import torch
from proof import random

import pylm_kernels
from pylm_kernels import dispatch

Function = Callable[..., Any]


def agrees_with_torch(ours: Function, theirs: Function, count: int, dtype: torch.dtype) -> None:
    """Values and gradients of `count` inputs are those of torch's own function in float64."""
    given = [random(7, 30, dtype=dtype).requires_grad_() for _ in range(count)]
    exact = [x.detach().double().requires_grad_() for x in given]
    cotangent = random(7, 30, dtype=dtype)
    y, y_exact = ours(*given), theirs(*exact)
    assert y.dtype == dtype and proof.error(y, y_exact) <= proof.BOUNDS[dtype]
    y.backward(cotangent)
    y_exact.backward(cotangent.double())
    for x, x_exact in zip(given, exact, strict=True):
        assert x.grad is not None and x_exact.grad is not None
        assert proof.error(x.grad, x_exact.grad) <= proof.BOUNDS[dtype]


def a_backend_passes_every_check(
    monkeypatch: pytest.MonkeyPatch, op: str, ours: Function, raw: Function, count: int, flag: tuple[bool, ...] = ()
) -> None:
    """`raw`, which is torch's own, registered as a backend: gradcheck, gradgradcheck, opcheck, torch.compile."""
    pylm_kernels.backends()
    monkeypatch.setattr(dispatch, "_registered", {name: dict(have) for name, have in dispatch._registered.items()})
    calls = 0

    def forward(*inputs: Any) -> Any:
        nonlocal calls
        calls += 1
        return raw(*(x.detach() for x in inputs[:count]), *inputs[count:])

    def backward(dy: Any, *inputs: Any) -> Any:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in inputs[:count]]
            found = torch.autograd.grad(raw(*leaves, *inputs[count:]), leaves, dy)
        return found if count > 1 else found[0]

    pylm_kernels.register(op, "cpu", forward, backward)
    try:
        given = [torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(count)]
        assert torch.autograd.gradcheck(lambda *x: ours(*x, backend="cpu"), given)
        assert torch.autograd.gradgradcheck(lambda *x: ours(*x, backend="cpu"), given)
        assert calls
        torch.library.opcheck(getattr(torch.ops.pylm_kernels, op).default, (*given, *flag, "cpu"))
        torch._dynamo.reset()
        compiled = torch.compile(lambda *x: ours(*x, backend="cpu"), fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(*given), ours(*given, backend="cpu"))
    finally:
        dispatch.candidates.cache_clear()  # type: ignore[attr-defined]
