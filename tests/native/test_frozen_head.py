"""The head of a model whose weights stay: its gradient is neither wanted nor computed."""

from typing import Any

import pytest
import torch

from pylm import native_kernels
from pylm_kernels import linear_cross_entropy
from pylm_kernels.ops.linear_cross_entropy import reference

native_kernels.register()

ROWS, CLASSES, WIDTH = 400, 96, 32


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_frozen_weight_takes_no_product_of_its_own(reduction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    x, weight = (torch.randn(rows, WIDTH, generator=generator) / 4 for rows in (ROWS, CLASSES))
    targets = torch.randint(0, CLASSES, (ROWS,), generator=generator)
    targets[::7] = -100
    upstream = torch.rand(ROWS, generator=generator) if reduction == "none" else torch.tensor(1.0)
    double = x.double().requires_grad_()
    exact = reference.linear_cross_entropy(double, weight.double(), targets, 0.0, -100, 0.0)
    exact = exact.sum() / (targets != -100).sum() if reduction == "mean" else exact
    (wanted,) = torch.autograd.grad(exact, double, upstream.double())
    products, added = [], torch.Tensor.addmm_

    def counted(self: torch.Tensor, *rest: Any) -> torch.Tensor:
        products.append(self.shape)
        return added(self, *rest)

    monkeypatch.setattr(torch.Tensor, "addmm_", counted)
    for frozen in (True, False):
        head, read = weight.clone().requires_grad_(not frozen), x.clone().requires_grad_()
        linear_cross_entropy(read, head, targets, reduction=reduction, backend="cpu").backward(upstream)
        assert (head.grad is None) == (not products) == frozen
        assert read.grad is not None and (read.grad - wanted).abs().max() < 1e-6
