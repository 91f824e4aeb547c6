"""How every Metal kernel is proven: values and gradients against the torch reference in double precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch

from metal.shim import COMPILER, Shim
from pylm_kernels.mlx import launch

BOUNDS = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 5e-3}
dtypes = pytest.mark.parametrize("dtype", BOUNDS, ids=lambda dtype: str(dtype).removeprefix("torch."))
Tensors = dict[str, torch.Tensor]


def in_shim(monkeypatch: pytest.MonkeyPatch) -> Shim:
    if COMPILER is None:
        pytest.skip("Metal kernels are run on the processor by a C++ compiler, and there is none")
    if not hasattr(mx, "export_function") or tuple(map(int, mx.__version__.split(".")[:2])) < (0, 32):
        pytest.skip(f"the source of a kernel is recorded by mlx 0.32 or later; this is {mx.__version__}")
    shim = Shim()
    monkeypatch.setattr(launch, "run", shim)
    monkeypatch.setattr(launch, "here", lambda: True)
    return shim


def to_mlx(x: torch.Tensor) -> Any:
    if not x.is_floating_point():
        return mx.array(x.numpy())
    return mx.array(x.float().numpy()).astype(getattr(mx, str(x.dtype).removeprefix("torch.")))


def tuple_of(found: Any) -> tuple[Any, ...]:
    return tuple(found) if isinstance(found, tuple | list) else (found,)


def error(found: Any, exact: torch.Tensor) -> float:
    """‖found - exact‖ / ‖exact‖; not-a-number counts as infinite."""
    assert tuple(found.shape) == tuple(exact.shape), f"{found.shape} for {tuple(exact.shape)}"
    difference = torch.from_numpy(np.array(found.astype(mx.float32))).double() - exact.detach()
    size = exact.detach().norm()
    relative = float(difference.norm() / size) if size > 0 else float(difference.norm())
    return relative if relative == relative else float("inf")


def prove(
    ours: Callable[..., Any], reference: Callable[..., Any], tensors: Mapping[str, torch.Tensor],
    bound: float | None = None,
) -> None:  # fmt: skip
    """Values, dtypes and all gradients of `ours(**arrays)` are those of `reference(**tensors)` in float64.

    Args:
        ours: takes MLX arrays.
        reference: takes tensors in float64.
        tensors: the inputs, already rounded to their dtypes; those of floating dtype get a gradient.
        bound: of relative error; by default that of the coarsest dtype among the inputs.
    """
    leaves = {name: x for name, x in tensors.items() if x.is_floating_point()}
    others = {name: x for name, x in tensors.items() if name not in leaves}
    bound = bound or max(BOUNDS[x.dtype] for x in leaves.values())
    theirs = {name: x.double().requires_grad_() for name, x in leaves.items()}
    exact = tuple_of(reference(**theirs, **others))
    dtype = next(iter(leaves.values())).dtype
    cotangents = [torch.randn(y.shape).to(dtype) for y in exact]
    torch.autograd.backward(exact, [c.double() for c in cotangents])
    fixed = {name: to_mlx(x) for name, x in others.items()}

    def call(*given: Any) -> list[Any]:
        return list(tuple_of(ours(**dict(zip(leaves, given, strict=True)), **fixed)))

    found, gradients = mx.vjp(call, [to_mlx(x) for x in leaves.values()], [to_mlx(c) for c in cotangents])
    errors = {f"output {number}": error(y, e) for number, (y, e) in enumerate(zip(found, exact, strict=True))}
    for (name, x), gradient in zip(theirs.items(), gradients, strict=True):
        kind = getattr(mx, str(leaves[name].dtype).removeprefix("torch."))
        assert gradient.dtype == kind, f"gradient of {name} is {gradient.dtype}"
        assert x.grad is not None, f"the reference has no gradient of {name}"
        errors[f"gradient of {name}"] = error(gradient, x.grad)
    wrong = {name: value for name, value in errors.items() if not value <= bound}
    assert not wrong, f"past {bound}: {wrong}"


def broken(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, kernel: str, old: str, new: str, count: int = -1
) -> None:
    """Change a kernel's source (or header) on purpose."""
    have = getattr(module, kernel)
    assert old in have.source + have.header, f"{old!r} is not in {kernel}: the mutation must be brought up to date"
    changed = have._replace(
        source=have.source.replace(old, new, count), header=have.header.replace(old, new, count), name="broken"
    )
    monkeypatch.setattr(module, kernel, changed)
