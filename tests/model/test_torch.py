"""The torch model: values, gradients and shapes against models that others wrote."""

import pytest
import torch

from pylm.config.schema import Model as Shape
from pylm.config.shape import complete, count_parameters
from pylm.model.torch import Model

GPT2 = {"norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True}


def shape(vocab_size: int = 101, **fields: object) -> Shape:
    given = {"n_layers": 3, "n_heads": 4, "d_model": 64, "context_length": 32, **fields}
    return complete(Shape.model_validate(given), vocab_size)


@pytest.mark.parametrize("fields", [{}, {"n_kv_heads": 2}, GPT2])
def test_loss_is_the_cross_entropy_of_real_logits(fields: dict[str, object]) -> None:
    model = Model(shape(**fields), generator=torch.Generator().manual_seed(1))
    idx, targets = torch.randint(0, 101, (2, 2, 20))
    targets[0, 3] = -100
    logits, loss = model(idx, targets)
    assert logits.shape == (2, 20, 101)
    expected = torch.nn.functional.cross_entropy(logits.view(-1, 101), targets.view(-1))
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(model.loss(idx, targets), expected)
    assert sum(weight.numel() for weight in model.weights().values()) == count_parameters(model.shape)
