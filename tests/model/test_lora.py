"""Adapters in the torch model: values and gradients against a plain decoder in float64 whose weights are W + s B A."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pylm.config.schema import Finetune
from pylm.config.schema import Model as Shape
from pylm.errors import CheckpointError, ConfigError
from pylm.model import lora
from pylm.model.torch import Model
from pylm.model.torch_lora import adapt
from tests.model import plain
from tests.model.test_torch import SHAPES, made, shape, tokens

ALL = (*lora.LINEARS, "head", "embed")


def adapter_of(of: Shape, rank: int = 3, dropout: float = 0.0, targets: tuple[str, ...] | None = None) -> lora.Adapter:
    settings = Finetune(method="lora", lora_rank=rank, lora_alpha=5.0, lora_dropout=dropout, lora_targets=targets)
    return lora.Adapter.of(settings, of)


def adapted(model: Model, adapter: lora.Adapter, drawn: bool = True) -> Model:
    """Adapt a model; both factors are far from zero where they are drawn."""
    adapt(model, adapter, seed=7)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name)
        if drawn and ".lora_" in name:
            parameter.data.normal_(0, 0.1, generator=generator)
    return model


def merged(weights: dict[str, torch.Tensor], scale: float) -> dict[str, torch.Tensor]:
    found = {name: tensor for name, tensor in weights.items() if ".lora_" not in name}
    for name, a in weights.items():
        if name.endswith(".lora_a"):
            module = name.removesuffix(".lora_a")
            change = scale * weights[f"{module}.lora_b"] @ a
            found[f"{module}.weight"] = found[f"{module}.weight"] + (change.T if module == "embed" else change)
    return found


@pytest.mark.parametrize("fields", SHAPES)
def test_values_and_gradients_are_those_of_the_merged_weights(fields: str) -> None:
    model = made(**SHAPES[fields])
    targets = (
        None if model.shape.tied else tuple(one for one in ALL if one != "mlp.gate" or model.shape.mlp == "swiglu")
    )
    adapter = adapter_of(model.shape, targets=targets)
    adapted(model, adapter)
    idx, targets_BT = tokens()
    model.loss(idx, targets_BT).backward()
    exact = {name: one.double().requires_grad_(".lora_" in name) for name, one in model.weights().items()}
    logits = plain.logits(model.shape, merged(exact, adapter.scale), idx)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets_BT.flatten()).backward()
    with torch.no_grad():
        assert (model(idx) - logits).abs().max() < 2e-4
    grads = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert set(grads) == set(adapter.sizes(model.shape))
    for name, grad in grads.items():
        assert (grad - exact[name].grad).norm() <= 2e-4 * exact[name].grad.norm() + 1e-9, name


@pytest.mark.parametrize("fields", ["llama", "gpt2"])
def test_what_a_norm_gave_is_not_kept_for_the_gradient(fields: str) -> None:
    model = made(**SHAPES[fields])
    adapted(model, adapter_of(model.shape))
    given: list[torch.Tensor] = []
    for block in model.blocks:
        for norm in (block.attention.norm, block.mlp.norm):
            norm.register_forward_hook(
                lambda *call: given.append(call[2][0] if isinstance(call[2], tuple) else call[2])
            )
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.loss(*tokens())
    places = {tensor.data_ptr() for tensor in kept}
    assert len(given) == 2 * len(model.blocks) and len(places) > len(given)
    assert not [number for number, tensor in enumerate(given) if tensor.data_ptr() in places]


# torch's tracer looks at gradients and makes an instance of a function, and warns itself that it does
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:<class 'torch.autograd.function.Function'>:DeprecationWarning")
def test_an_adapted_block_compiles_whole() -> None:
    model, other = (adapted(made(), adapter_of(shape())) for _ in range(2))
    other.blocks[-1].compile(fullgraph=True, backend="aot_eager")
    for each in (model, other):
        each.loss(*tokens()).backward()
    for (name, one), compiled in zip(model.named_parameters(), other.parameters(), strict=True):
        if ".lora_" in name:
            torch.testing.assert_close(compiled.grad, one.grad, msg=lambda m, n=name: f"{n}: {m}")


def test_it_begins_as_the_base_and_from_the_seed_alone() -> None:
    base, adapter = made(tied=False), adapter_of(shape(tied=False), rank=4, targets=("qkv", "down", "embed"))
    model = adapted(made(tied=False), adapter, drawn=False)
    idx, _ = tokens()
    assert torch.equal(base(idx), model(idx))
    begun, other = lora.start(adapter, base.shape, seed=7), lora.start(adapter, base.shape, seed=8)
    factors = {name: one for name, one in model.weights().items() if ".lora_" in name}
    assert all(np.array_equal(factors[name].numpy(), begun[name]) for name in begun) and set(factors) == set(begun)
    a = begun["blocks.0.mlp.down.lora_a"]
    bound = 1 / np.sqrt(a.shape[1])
    assert a.shape[0] == 4 and 0.9 * bound < np.abs(a).max() <= bound and abs(a.mean()) < bound / 5
    assert abs(begun["embed.lora_b"].std() - 1) < 0.1 and not begun["embed.lora_a"].any()
    assert not np.array_equal(a, other["blocks.0.mlp.down.lora_a"])


def test_dropout_drops_of_the_adapters_input_alone_and_the_same_when_computed_again() -> None:
    model = adapted(made(), adapter_of(shape(), dropout=0.5))
    idx, targets = tokens()
    whole = model.eval()(idx)
    model.train()
    state = model.masks.state
    first, second = model(idx), model(idx)
    assert not torch.equal(first, second) and not torch.equal(first, whole)
    model.masks.load(state)
    assert torch.equal(model(idx), first)
    for name, parameter in model.named_parameters():
        if name.endswith("lora_b"):
            parameter.data.zero_()
    assert torch.equal(model(idx), model.eval()(idx))
    del targets


def test_applied_to_stored_tensors_it_is_the_product_in_float64() -> None:
    rng = np.random.default_rng(2)
    w, a, b = (rng.standard_normal(size).astype(np.float32) for size in ((6, 4), (2, 4), (6, 2)))
    table, rows = rng.standard_normal((5, 4)).astype(np.float32), rng.standard_normal((2, 4)).astype(np.float32)
    base: dict[str, Any] = {"x.weight": lora.to_tensor(w), "embed.weight": lora.narrowed(lora.to_tensor(table), "BF16")}
    given: dict[str, Any] = {
        "x.lora_a": lora.to_tensor(a),
        "x.lora_b": lora.to_tensor(b),
        "embed.rows": lora.to_tensor(rows),
    }
    found = lora.applied(base, given, 1.5, range(4, 6))
    exact = w.astype(np.float64) + 1.5 * b.astype(np.float64) @ a
    assert np.abs(lora.to_numpy(found["x.weight"]) - exact).max() < 1e-6
    kept = torch.from_numpy(table).bfloat16().float().numpy()
    assert np.array_equal(lora.to_numpy(found["embed.weight"]), np.concatenate([kept[:4], rows]))
    with pytest.raises(CheckpointError, match=r"embed.rows of shape \[2, 4\] for 3 tokens"):
        lora.applied(base, given, 1.5, range(4, 7))
    with pytest.raises(CheckpointError, match="the base does not have"):
        lora.applied({"embed.weight": base["embed.weight"]}, given, 1.5, range(4, 6))


@pytest.mark.parametrize(
    ("targets", "said"),
    [(("query",), "no query"), (("head",), "head is tied"), (("embed", "up"), "head is tied"), ((), "is empty")],
)
def test_targets_that_cannot_be(targets: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        adapter_of(shape(), targets=targets)
    assert error.value.hint
