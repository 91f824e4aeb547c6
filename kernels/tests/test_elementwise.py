"""swiglu, gelu and relu2: the references against torch's own, and a registered backend through both autograds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import proof
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from proof import dtypes, random

import pylm_kernels
from pylm_kernels import dispatch, gelu, relu2, swiglu

OPERATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any], int]] = {
    "swiglu": (swiglu, lambda gate, up: F.silu(gate) * up, 2),
    "gelu": (gelu, F.gelu, 1),
    "gelu tanh": (
        lambda x, **k: gelu(x, approximate="tanh", **k),
        lambda x: F.gelu(x, approximate="tanh"),
        1,
    ),
    "relu2": (relu2, lambda x: F.relu(x).square(), 1),
}


@dtypes
@pytest.mark.parametrize("name", OPERATIONS)
def test_values_and_gradients_are_torchs_own(name: str, dtype: torch.dtype) -> None:
    ours, theirs, count = OPERATIONS[name]
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


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A backend of torch's own functions under another name, for every one of the three."""
    pylm_kernels.backends()
    monkeypatch.setattr(dispatch, "_registered", {op: dict(have) for op, have in dispatch._registered.items()})
    calls: list[str] = []

    def backend(op: str, function: Callable[..., Any], count: int) -> None:
        def forward(*inputs: Any) -> Any:
            calls.append(op)
            return function(*(x.detach() for x in inputs[:count]), *inputs[count:])

        def backward(dy: Any, *inputs: Any) -> Any:
            with torch.enable_grad():
                leaves = [x.detach().requires_grad_() for x in inputs[:count]]
                found = torch.autograd.grad(function(*leaves, *inputs[count:]), leaves, dy)
            return found if count > 1 else found[0]

        pylm_kernels.register(op, "cpu", forward, backward)

    backend("swiglu", lambda gate, up: F.silu(gate) * up, 2)
    backend("gelu", lambda x, tanh: F.gelu(x, approximate="tanh" if tanh else "none"), 1)
    backend("relu2", lambda x: F.relu(x).square(), 1)
    yield calls
    dispatch.candidates.cache_clear()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_registered_backend_passes_every_check(name: str, registered: list[str]) -> None:
    ours, _, count = OPERATIONS[name]
    given = [torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(count)]
    assert torch.autograd.gradcheck(lambda *x: ours(*x, backend="cpu"), given)
    assert torch.autograd.gradgradcheck(lambda *x: ours(*x, backend="cpu"), given)
    assert registered
    operation = getattr(torch.ops.pylm_kernels, name.split()[0]).default
    flag = (name.endswith("tanh"),) if "gelu" in name else ()
    torch.library.opcheck(operation, (*given, *flag, "cpu"))
    torch._dynamo.reset()
    compiled = torch.compile(lambda *x: ours(*x, backend="cpu"), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*given), ours(*given, backend="cpu"))


def test_bad_input() -> None:
    x = random(2, 8)
    given: dict[str, Any]
    for call, given, complaint in [
        (swiglu, {"gate": x, "up": random(2, 9)}, "up: shape"),
        (swiglu, {"gate": x, "up": x.half()}, "up: dtype"),
        (gelu, {"x": x.int()}, "x: dtype"),
        (gelu, {"x": x, "approximate": "quick"}, "approximate: 'quick'"),
        (relu2, {"x": x.bool()}, "x: dtype"),
        (relu2, {"x": x, "backend": "metal"}, "backend: no 'metal' backend"),
    ]:
        proof.refuses(call, given, complaint)
