"""One model in both frameworks, with weights that make every part of it matter, and how far two arrays are apart."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import torch

from pylm.config.schema import Model as Shape
from pylm.config.shape import complete
from pylm.model.mlx import Model as MlxModel
from pylm.model.torch import Model as TorchModel

VOCABULARY = 70
BASE: dict[str, Any] = {"n_layers": 2, "n_heads": 4, "d_model": 32, "context_length": 12}


def shape_of(**fields: Any) -> Shape:
    shape = Shape.model_validate({**BASE, **fields})
    return complete(shape, shape.vocab_size or VOCABULARY)


def random_weights(shape: Shape, seed: int = 1) -> dict[str, torch.Tensor]:
    """Gains near one, lambdas and biases that are no zeros, matrices large enough that scores and caps bite."""
    chance = torch.Generator().manual_seed(seed)
    found = {}
    for name, tensor in TorchModel(shape, draw=False).weights().items():
        drawn = torch.randn(tensor.shape, generator=chance)
        centre = 1.0 if name.endswith("norm.weight") or "lambdas" in name else 0.0
        found[name] = centre + drawn * (0.3 if tensor.dim() < 2 else 1.5 / 32**0.5)
    return found


def both(shape: Shape, weights: dict[str, torch.Tensor]) -> tuple[TorchModel, MlxModel]:
    model = TorchModel(shape, draw=False)
    with torch.no_grad():
        model.load_weights(weights)
    return model, MlxModel(shape, to_mlx(weights))


def to_mlx(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    return {name: mx.array(tensor.numpy()) for name, tensor in weights.items()}


def batch(shape: Shape, rows: int = 3, seed: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    assert shape.vocab_size
    chance = torch.Generator().manual_seed(seed)
    idx, targets = torch.randint(0, shape.vocab_size, (2, rows, shape.context_length), generator=chance)
    targets[0, 3] = -100
    return idx, targets


def torch_gradients(model: TorchModel, idx: torch.Tensor, targets: torch.Tensor, cu_seqlens: Any) -> tuple[float, Any]:
    model.zero_grad()
    loss = model.loss(idx, targets, cu_seqlens)
    loss.backward()
    sizes = {name: len(one) for name, one in model.weights().items()}
    return float(loss.detach()), {
        name: one.grad[: sizes[name]].numpy() for name, one in model.named_parameters() if one.grad is not None
    }


def mlx_gradients(
    model: MlxModel, idx: torch.Tensor, targets: torch.Tensor, cu_seqlens: Any, keys: Any = None
) -> tuple[float, Any]:
    ends = None if cu_seqlens is None else mx.array(cu_seqlens.numpy())
    loss, gradients = mx.value_and_grad(
        lambda weights: model.loss(weights, mx.array(idx.numpy()), mx.array(targets.numpy()), ends, keys)
    )(model.weights)
    return float(loss), {name: np.array(gradient) for name, gradient in gradients.items()}


def apart(one: Any, other: Any, least: float = 1e-30) -> float:
    """The length of the difference over the length of the second, or over `least` where that is more."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    assert a.shape == b.shape
    return float(np.linalg.norm(a - b) / max(float(np.linalg.norm(b)), least))
