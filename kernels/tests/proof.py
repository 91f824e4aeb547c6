"""How every kernel is proven: values and all gradients, on random data, against the reference in double precision."""

from __future__ import annotations

import functools
import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton")
from triton.runtime.errors import InterpreterError  # noqa: E402 (numpy's warnings arrive as this)

from pylm_kernels import dispatch  # noqa: E402

Tensors = dict[str, torch.Tensor]
Function = Callable[..., Any]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BOUNDS = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 5e-3}
DTYPES = list(BOUNDS)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape).to(dtype).to(DEVICE)


def error(ours: torch.Tensor, exact: torch.Tensor) -> float:
    """‖ours - exact‖ / ‖exact‖; not-a-number counts as infinite."""
    assert ours.shape == exact.shape, f"{tuple(ours.shape)} for {tuple(exact.shape)}"
    difference = (ours.detach().double() - exact.detach().double()).norm()
    size = exact.detach().double().norm()
    found = float(difference / size) if size > 0 else float(difference)
    return found if found == found else float("inf")


def tuple_of(outputs: Any) -> tuple[torch.Tensor, ...]:
    return tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,)


def values_and_gradients(function: Function, tensors: Tensors, cotangents: list[torch.Tensor]) -> Tensors:
    leaves = {name: x.detach().clone().requires_grad_(x.is_floating_point()) for name, x in tensors.items()}
    return gradients_of(function, leaves, cotangents)


def gradients_of(function: Function, leaves: Tensors, cotangents: list[torch.Tensor]) -> Tensors:
    outputs = tuple_of(function(**leaves))
    found = {f"output {number}": output for number, output in enumerate(outputs)}
    torch.autograd.backward(outputs, [c.to(o.dtype) for c, o in zip(cotangents, outputs, strict=True)])
    for name, leaf in leaves.items():
        if leaf.requires_grad:
            assert leaf.grad is not None, f"no gradient of {name}"
            assert leaf.grad.dtype == leaf.dtype, f"gradient of {name} is {leaf.grad.dtype}"
            found[f"gradient of {name}"] = leaf.grad
    return found


def prove(function: Function, tensors: Tensors, bound: float | None = None, strided: bool = False) -> None:
    """`function(backend=…, **tensors)` with backend triton agrees with the reference in float64, gradients and all.

    Args:
        function: the operation, with its settings bound.
        tensors: the inputs; those of floating dtype get a gradient.
        bound: of relative error; by default that of the coarsest dtype among the inputs.
        strided: hand the kernel non-contiguous inputs with the same values.
    """
    floats = [x for x in tensors.values() if x.is_floating_point()]
    bound = bound or max(BOUNDS[x.dtype] for x in floats)
    wide = {name: x.double() if x.is_floating_point() else x for name, x in tensors.items()}
    shapes = [o.shape for o in tuple_of(function(backend="reference", **wide))]
    # rounded as the outputs will be, so that both sides are given the same cotangent
    cotangents = [torch.randn(shape).to(floats[0].dtype).to(DEVICE) for shape in shapes]
    exact = values_and_gradients(
        lambda **leaves: function(backend="reference", **leaves), wide, [c.double() for c in cotangents]
    )
    given = {name: spread(x) for name, x in tensors.items()} if strided else tensors
    leaves = {name: x.detach().requires_grad_(x.is_floating_point()) for name, x in given.items()}
    before = {name: x.detach().clone() for name, x in leaves.items()}
    ours = gradients_of(lambda **leaves: function(backend="triton", **leaves), leaves, cotangents)
    for name, x in leaves.items():
        assert torch.equal(x, before[name]), f"{name} was changed"
    assert ours.keys() == exact.keys()
    errors = {name: error(ours[name], exact[name]) for name in exact}
    wrong = {name: value for name, value in errors.items() if not value <= bound}
    assert not wrong, f"past {bound}: {wrong}"


def spread(x: torch.Tensor) -> torch.Tensor:
    """The same values between others that must not be read: every second row, or every second place of dimension 1."""
    if x.dim() < 2:
        return x
    along = 0 if x.dim() == 2 else 1
    shape = list(x.shape)
    shape[along] *= 2
    larger = torch.full(shape, float("nan") if x.is_floating_point() else -7, dtype=x.dtype, device=x.device)
    every = larger[::2] if along == 0 else larger[:, ::2]
    every.copy_(x)
    return every


def deterministic(function: Function, tensors: Tensors) -> None:
    """Twice the same bits."""
    cotangents = [torch.randn_like(o) for o in tuple_of(function(backend="triton", **tensors))]
    once = values_and_gradients(lambda **t: function(backend="triton", **t), tensors, cotangents)
    again = values_and_gradients(lambda **t: function(backend="triton", **t), tensors, cotangents)
    for name in once:
        assert torch.equal(once[name], again[name]), f"{name} differs between two runs"


def differentiates(function: Function, tensors: Tensors, *, second: bool = True) -> None:
    """gradcheck of the kernels in float64 (the interpreter only); gradgradcheck through the composite.

    The first goes through the kernels and so by every element; the second is torch's own steps, and is checked along
    random directions.
    """
    if DEVICE != "cpu":
        pytest.skip("float64 runs in the interpreter")
    leaves = [x.detach().double().requires_grad_() for x in tensors.values()]

    def call(*inputs: torch.Tensor) -> Any:
        return function(backend="triton", **dict(zip(tensors, inputs, strict=True)))

    # kernels take eps and scale as float32, so the finite difference is that of a function with a rounded constant
    assert torch.autograd.gradcheck(call, leaves, eps=1e-5, atol=1e-5, rtol=1e-4)
    if second:
        assert torch.autograd.gradgradcheck(call, leaves, eps=1e-5, atol=1e-4, rtol=1e-3, fast_mode=True)


def compiles(function: Function, tensors: Tensors, bound: float | None = None) -> None:
    """torch.compile with fullgraph gives the same values and gradients as eager."""
    torch._dynamo.reset()
    eager_outputs = tuple_of(function(backend="triton", **tensors))
    cotangents = [torch.randn_like(o) for o in eager_outputs]
    eager = values_and_gradients(lambda **t: function(backend="triton", **t), tensors, cotangents)
    compiled = torch.compile(lambda **t: function(backend="triton", **t), fullgraph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # inductor imports torch.jit, which is deprecated
        ours = values_and_gradients(compiled, tensors, cotangents)
    floats = [x for x in tensors.values() if x.is_floating_point()]
    bound = bound or max(BOUNDS[x.dtype] for x in floats)
    for name in eager:
        assert error(ours[name], eager[name]) <= bound, name


def refuses(function: Function, given: dict[str, Any], complaint: str) -> None:
    """A ValueError that begins with this complaint, in eager calls and in compiled code."""
    torch._dynamo.reset()
    compiled = torch.compile(lambda **named: function(**named), fullgraph=True, backend="eager")
    for way in (function, compiled):
        with pytest.raises(ValueError, match=f"^{complaint}"):
            way(**given)


def survives_checkpointing(function: Function, tensors: Tensors) -> None:
    """Recomputed activations give the same bits."""
    from torch.utils.checkpoint import checkpoint

    cotangents = [torch.randn_like(o) for o in tuple_of(function(backend="triton", **tensors))]
    plain = values_and_gradients(lambda **t: function(backend="triton", **t), tensors, cotangents)
    again = values_and_gradients(
        lambda **t: checkpoint(lambda: function(backend="triton", **t), use_reentrant=False), tensors, cotangents
    )
    for name in plain:
        assert torch.equal(plain[name], again[name]), name


def mutated(module: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Put a broken copy of a kernel module in the place of the module, for the functions that dispatch binds too."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    assert source.count(old) >= 1, f"the mutation's text is not in {module}: {old}"
    path = folder / "broken.py"
    path.write_text(source.replace(old, new), encoding="utf-8")
    broken_spec = importlib.util.spec_from_file_location(module, path)
    assert broken_spec is not None and broken_spec.loader is not None
    broken = importlib.util.module_from_spec(broken_spec)
    monkeypatch.setitem(sys.modules, module, broken)
    monkeypatch.setattr(dispatch, "_bound", functools.cache(dispatch._bound.__wrapped__))
    broken_spec.loader.exec_module(broken)


def is_caught(
    mutation: tuple[str, str], module: str, checks: Callable[[], None], patch: pytest.MonkeyPatch, at: Path
) -> None:
    """With the kernel broken this way, the checks that otherwise pass must fail."""
    mutated(module, *mutation, patch, at)
    with pytest.raises((AssertionError, InterpreterError), match="past|differs|changed|Warning"):
        checks()
