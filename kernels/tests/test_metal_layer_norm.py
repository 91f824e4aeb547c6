"""layer_norm on an Apple GPU: it is mx.fast's, whatever has a Metal kernel of its own here."""

from __future__ import annotations

import pytest
import torch

mx = pytest.importorskip("mlx.core")
from metal.proof import dtypes, prove, to_mlx  # noqa: E402
from metal.shim import Shim  # noqa: E402

import pylm_kernels  # noqa: E402
import pylm_kernels.mlx as ours  # noqa: E402 (after the question whether mlx is there)


@dtypes
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("shape", [(37, 100), (2, 3, 7, 130), (3, 5), (1, 1), (3, 4500)])
def test_values_and_gradients(metal: Shim | None, shape: tuple[int, ...], residual: bool, dtype: torch.dtype) -> None:
    tensors = {"x": torch.randn(shape)} | {name: torch.randn(shape[-1]) for name in ("weight", "bias")}
    if residual:
        tensors["residual"] = torch.randn(shape)
    prove(
        lambda **given: ours.layer_norm(**given, eps=1e-2),
        lambda **given: pylm_kernels.layer_norm(**given, eps=1e-2, backend="reference"),
        {name: x.to(dtype) for name, x in tensors.items()},
    )
    if metal:
        assert metal.launched == []


@pytest.mark.parametrize("names", [(), ("weight",), ("bias",)])
def test_without_weight_or_bias(metal: Shim | None, names: tuple[str, ...]) -> None:
    tensors = {"x": torch.randn(9, 100)} | {name: torch.randn(100) for name in names}
    prove(ours.layer_norm, lambda **given: pylm_kernels.layer_norm(**given, backend="reference"), tensors)


def test_rows_far_from_zero_do_not_cancel(metal: Shim | None) -> None:
    x = torch.randn(5, 512) + 1000
    exact = pylm_kernels.layer_norm(x.double(), backend="reference")
    y = torch.tensor(ours.layer_norm(to_mlx(x)).tolist()).double()
    # a rounding of 1000 is 6e-5; a variance as E[x²] - E[x]² would be off by 6e-2
    assert (y - exact).norm() / exact.norm() < 1e-3
