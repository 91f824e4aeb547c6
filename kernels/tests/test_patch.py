"""`patch` on models of transformers: losses, gradients and outputs are those of the same model unpatched."""

from __future__ import annotations

import inspect
from collections import Counter
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers")
from patched import FAMILIES, NEAR, VOCABULARY, assert_near, distance, random_ids, random_model, step, twin  # noqa: E402

from pylm_kernels import patch  # noqa: E402 (once transformers is known to be there)


@pytest.fixture(autouse=True)
def reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our operations run, by their references: left to itself a CPU without kernels runs transformers' own lines."""
    monkeypatch.setenv("PYLM_KERNELS", "reference")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a patched model calls each operation."""
    from pylm_kernels.patching import attention, language_models, layers

    counted: Counter[str] = Counter()

    def counting(module: Any, name: str) -> None:
        usual = getattr(module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            counted[name] += 1
            return usual(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    for name in ("rms_norm", "layer_norm", "swiglu", "gelu", "relu2"):
        counting(layers, name)
    counting(attention, "rope_attention")
    counting(language_models, "linear_cross_entropy")
    return counted


def compared(model: Any, bound: float = NEAR, **inputs: Any) -> None:
    """One step of the model and one of its twin that is patched."""
    ours = twin(model)
    patch(ours)
    assert_near(step(ours, **inputs), step(model, **inputs), bound)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients(family: str, calls: Counter[str]) -> None:
    ids = random_ids()
    compared(random_model(family), input_ids=ids, labels=ids)
    assert (
        calls
        == {
            "llama": {"rms_norm": 5, "swiglu": 2, "rope_attention": 2, "linear_cross_entropy": 1},
            "qwen3": {"rms_norm": 9, "swiglu": 2, "rope_attention": 2, "linear_cross_entropy": 1},
            "gpt2": {"layer_norm": 5, "gelu": 2, "rope_attention": 2, "linear_cross_entropy": 1},
        }[family]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_by_triton(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("PYLM_KERNELS", "triton")
    ids = random_ids(2, 9)
    compared(random_model(family), input_ids=ids, labels=ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_as_near_to_double_precision_as_transformers_is(family: str) -> None:
    exact, ids = random_model(family), random_ids()
    theirs, ours = twin(exact).bfloat16(), twin(exact).bfloat16()
    exact.load_state_dict(theirs.state_dict())
    patch(ours)
    wanted = step(exact.double(), input_ids=ids, labels=ids)
    (their_loss, their_grads), (loss, grads) = (step(model, input_ids=ids, labels=ids) for model in (theirs, ours))
    assert abs(loss - wanted[0]) < 4e-3 + abs(their_loss - wanted[0])
    for name, exactly in wanted[1].items():
        assert distance(grads[name], exactly) < 1e-3 + 1.3 * distance(their_grads[name], exactly), name


def masked(left: bool) -> torch.Tensor:
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, slice(0, 4) if left else slice(8, None)] = 0
    return mask


LABELS = random_ids()
INPUTS: dict[str, Any] = {
    "some labels ignored": lambda ids: {"labels": torch.where(torch.arange(12) % 3 == 0, -100, ids)},
    "another index ignored": lambda ids: {"labels": torch.where(torch.arange(12) % 3 == 0, 5, ids), "ignore_index": 5},
    "no label counts": lambda ids: {"labels": torch.full_like(ids, -100), "num_items_in_batch": 3},
    "labels apart from ids": lambda ids: {"labels": ids.flip(1)},
    "items of the whole batch": lambda ids: {"labels": ids, "num_items_in_batch": 57},
    "items as a tensor": lambda ids: {"labels": ids, "num_items_in_batch": torch.tensor(57)},
    "labels shifted before": lambda ids: {"labels": ids, "shift_labels": ids.roll(-1, 1)},
    "no cache": lambda ids: {"labels": ids, "use_cache": False},
    "a mask of ones": lambda ids: {"labels": ids, "attention_mask": torch.ones_like(ids)},
    "padding on the left": lambda ids: {"labels": ids, "attention_mask": masked(left=True)},
    "padding on the right": lambda ids: {"labels": ids, "attention_mask": masked(left=False)},
    "padding with positions": lambda ids: {
        "labels": ids, "attention_mask": masked(left=True), "position_ids": masked(left=True).cumsum(1).sub(1).clamp(0),
    },
    "packed rows": lambda ids: {
        "labels": ids, "position_ids": torch.arange(12).remainder(7).expand(2, 12), "use_cache": False,
    },
    "packed rows and a cache": lambda ids: {"labels": ids, "position_ids": torch.arange(12).remainder(7).expand(2, 12)},
    "later positions": lambda ids: {"labels": ids, "position_ids": torch.arange(12).add(9).expand(2, 12)},
    "hidden states": lambda ids: {"labels": ids, "output_hidden_states": True},
    "a tuple": lambda ids: {"labels": ids, "return_dict": False},
    "logits of the end": lambda ids: {"labels": ids[:, -4:], "logits_to_keep": 4},
    "both directions": lambda ids: {"labels": ids, "is_causal": False, "attention_mask": torch.ones_like(ids)},
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("inputs", INPUTS)
def test_inputs(family: str, inputs: str) -> None:
    ids = random_ids()
    if inputs == "no label counts":
        compared_nothing(random_model(family), input_ids=ids, **INPUTS[inputs](ids))
    else:
        compared(random_model(family), input_ids=ids, **INPUTS[inputs](ids))


def compared_nothing(model: Any, **inputs: Any) -> None:
    """A loss of 0 and gradients of 0, or NaN where it is a mean: as transformers has it."""
    ours = twin(model)
    patch(ours)
    (found, grads), (wanted, exact) = step(ours, **inputs), step(model, **inputs)
    assert found == wanted == 0 and all(not grads[name].any() and not exact[name].any() for name in exact)
    inputs.pop("num_items_in_batch")
    assert ours(**inputs).loss.isnan() and model(**inputs).loss.isnan()


SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "tied embeddings": ("llama", {"tie_word_embeddings": True}),
    "head apart": ("gpt2", {"tie_word_embeddings": False}),
    "biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "one head of keys": ("llama", {"num_key_value_heads": 1}),
    "as many heads of keys": ("qwen3", {"num_key_value_heads": 4}),
    "another width of heads": ("llama", {"head_dim": 24}),
    "gelu in the gate": ("llama", {"hidden_act": "gelu_pytorch_tanh"}),
    "relu in the gate": ("llama", {"hidden_act": "relu"}),
    "swish": ("qwen3", {"hidden_act": "swish"}),
    "exact gelu": ("gpt2", {"activation_function": "gelu"}),
    "relu squared": ("gpt2", {"activation_function": "relu2"}),
    "scores by layer": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
    "scores as they are": ("gpt2", {"scale_attn_weights": False}),
    "dropout of attention": ("llama", {"attention_dropout": 0.3}),
    "dropout everywhere": ("gpt2", {"attn_pdrop": 0.2, "resid_pdrop": 0.2, "embd_pdrop": 0.2}),
    "no windows": ("qwen3", {"use_sliding_window": False}),
    "linear": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0}}),
    "dynamic": ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 500.0},
                          "max_position_embeddings": 8}),
    "llama3": ("llama", {"rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16}}),
    "yarn": ("qwen3", {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 500.0,
                                           "original_max_position_embeddings": 16}}),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str) -> None:
    family, settings = SETTINGS[name]
    ids = random_ids()
    compared(random_model(family, **settings), input_ids=ids, labels=ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing(family: str) -> None:
    model, ids = random_model(family), random_ids()
    model.activation_checkpointing_enable()
    compared(model, input_ids=ids, labels=ids, use_cache=False)


@pytest.mark.parametrize("frozen", ["lm_head", "norm", "embed_tokens", "mlp"])
def test_frozen_parameters(frozen: str) -> None:
    model, ids = random_model("llama"), random_ids()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(frozen not in name)
    compared(model, input_ids=ids, labels=ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_autocast(family: str) -> None:
    model, ids = random_model(family), random_ids()
    with torch.autocast("cpu", torch.bfloat16):
        compared(model, 3e-2, input_ids=ids, labels=ids)


@pytest.mark.parametrize("family, backend", [("llama", "reference"), ("qwen3", "reference"), ("gpt2", "auto")])
def test_compiled(family: str, backend: str, monkeypatch: pytest.MonkeyPatch, calls: Counter[str]) -> None:
    monkeypatch.setenv("PYLM_KERNELS", backend)
    torch.compiler.reset()
    model, ids = random_model(family), random_ids()
    ours = twin(model)
    patch(ours)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    assert_near(step(ours, compiled, input_ids=ids, labels=ids), step(model, input_ids=ids, labels=ids), NEAR)
    # transformers makes a mask for every batch that it compiles; that of whole rows is not looked at
    assert calls["rope_attention"] == 2


def test_compiled_with_padding() -> None:
    torch.compiler.reset()
    model, inputs = random_model("qwen3"), {"input_ids": random_ids(), "attention_mask": masked(left=False)}
    ours = twin(model)
    patch(ours)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    labels = inputs["input_ids"]
    assert_near(step(ours, compiled, labels=labels, **inputs), step(model, labels=labels, **inputs), NEAR)


def test_a_model_compiled_before_runs_what_was_put_in(calls: Counter[str]) -> None:
    torch.compiler.reset()
    model, ids = random_model("llama"), random_ids()
    compiled = torch.compile(model, backend="aot_eager")
    wanted = step(model, compiled, input_ids=ids, labels=ids)
    patch(model)
    assert_near(step(model, compiled, input_ids=ids, labels=ids), wanted, NEAR)
    assert calls["rms_norm"] == 5


@pytest.mark.parametrize("family", FAMILIES)
def test_which_calls_our_attention_takes(family: str, calls: Counter[str]) -> None:
    model, ids = random_model(family), random_ids()
    patch(model)

    def taken(**inputs: Any) -> int:
        calls.clear()
        model(input_ids=ids, **inputs)
        return calls["rope_attention"]

    # a window of 5 makes a mask of every call that is not known to have whole rows
    full = 1 if family == "qwen3" else 2
    assert taken() == taken(use_cache=False) == taken(labels=ids) == 2
    assert taken(attention_mask=torch.ones_like(ids)) == full
    assert taken(attention_mask=masked(left=True)) == taken(attention_mask=masked(left=False)) == 0
    assert taken(**INPUTS["packed rows"](ids)) == 0
    cache = model(ids[:, :3]).cache
    assert taken(cache=cache) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_left_out_in_training_with_labels_alone(family: str, calls: Counter[str]) -> None:
    model, ids = random_model(family), random_ids()
    ours = twin(model)
    patch(ours)
    outputs = ours(ids, labels=ids, output_hidden_states=True)
    usual = model(ids, labels=ids, output_hidden_states=True)
    assert outputs.logits is None and type(outputs) is type(usual) and len(outputs.hidden_states) == 3
    assert set(usual.keys()) - set(outputs.keys()) == {"logits"}
    torch.testing.assert_close(ours(ids).logits, model(ids).logits)
    torch.testing.assert_close(ours(ids, logits_to_keep=1).logits, model(ids, logits_to_keep=1).logits)
    calls.clear()
    ours.eval(), model.eval()
    outputs, usual = ours(ids, labels=ids), model(ids, labels=ids)
    torch.testing.assert_close(outputs.logits, usual.logits)
    torch.testing.assert_close(outputs.loss, usual.loss)
    assert not calls["linear_cross_entropy"]


def test_a_loss_of_the_users_own_is_computed(calls: Counter[str]) -> None:
    model, ids = random_model("llama"), random_ids()
    patch(model)
    model.loss_function = lambda logits, labels, **_: logits.sum() * 0 + 42
    assert model(ids, labels=ids).loss.item() == 42 and not calls["linear_cross_entropy"]


def test_a_head_that_is_changed_later_is_not_passed_by(calls: Counter[str]) -> None:
    model, ids = random_model("llama"), random_ids()
    patch(model)
    wanted = model(ids, labels=ids).loss.item()
    handle = model.lm_head.register_forward_hook(lambda module, args, y: y * 0)
    assert model(ids, labels=ids).loss.item() == pytest.approx(torch.tensor(float(VOCABULARY)).log().item())
    handle.remove()
    assert model(ids, labels=ids).loss.item() == wanted
    model.lm_head = torch.nn.Linear(32, VOCABULARY, bias=True)
    assert model(ids, labels=ids).logits is not None and calls["linear_cross_entropy"] == 2


def test_arguments_by_position(calls: Counter[str]) -> None:
    model, ids = random_model("llama").double(), random_ids()
    ours = twin(model)
    patch(ours)
    arguments = (ids, masked(left=True), None, None, None, ids)
    torch.testing.assert_close(ours(*arguments).loss, model(*arguments).loss)
    assert calls["linear_cross_entropy"] == 1
    with pytest.raises(TypeError, match="input_ids"):
        ours(ids, input_ids=ids)
    with pytest.raises(TypeError, match="positional"):
        ours(*[None] * 20)
    assert list(inspect.signature(ours.forward).parameters) == list(inspect.signature(model.forward).parameters)


GENERATED: dict[str, dict[str, Any]] = {
    "greedy": {},
    "without a cache": {"use_cache": False},
    "static": {"cache_implementation": "static", "disable_compile": True},
    "beams": {"num_beams": 3},
    "sampled": {"do_sample": True, "top_k": 5},
}


@pytest.mark.parametrize("family", ["qwen3", "gpt2"])
@pytest.mark.parametrize("way", GENERATED)
def test_generate(family: str, way: str) -> None:
    """Past Qwen3's window of 5, with padding on the left and without."""
    model = random_model(family).double().eval()
    ours = twin(model)
    patch(ours)
    prompt, mask = random_ids(2, 7), torch.ones(2, 7, dtype=torch.long)
    mask[0, :3] = 0

    def made(model: Any, mask: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return model.generate(prompt, attention_mask=mask, max_new_tokens=4, min_new_tokens=4, **GENERATED[way])

    for each in (torch.ones_like(mask), mask):
        found = made(ours, each)
        assert found.shape == (2, 11) and torch.equal(found, made(model, each))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_static_cache_filled_by_hand(family: str) -> None:
    """Its keys are longer than the queries, and transformers makes no mask of the first call."""
    model, ids = random_model(family).eval(), random_ids()
    ours = twin(model)
    patch(ours)

    def logits(model: Any) -> torch.Tensor:
        cache = transformers.StaticCache(model.config, max_cache_len=20)
        return torch.cat([model(part, cache=cache).logits for part in (ids[:, :7], ids[:, 7:11], ids[:, 11:])], 1)

    torch.testing.assert_close(logits(ours), logits(model))
