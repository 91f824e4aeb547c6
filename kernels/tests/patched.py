"""Small models of transformers with random weights, and what one step of training makes of them."""

from __future__ import annotations

import copy
from typing import Any

import torch
import transformers

NEAR = 2e-5  # of float32
VOCABULARY, WIDTH, HEADS, TIME = 61, 32, 4, 12
DECODER = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": HEADS, "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1,
    "eos_token_id": None, "pad_token_id": 0,
}  # fmt: skip
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def llama(**settings: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**DECODER | settings))


def qwen3(**settings: Any) -> Any:
    """The first layer sees everything, the second a window of 5."""
    window = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1, "head_dim": 16}
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**DECODER | window | settings))


def gpt2(**settings: Any) -> Any:
    size = {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": 2, "n_head": HEADS, "n_positions": 64}
    special = {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**size | special | NO_DROPOUT | settings))


FAMILIES = {"llama": llama, "qwen3": qwen3, "gpt2": gpt2}


def random_model(family: str, **settings: Any) -> Any:
    """One in training mode, with weights that leave nothing at 1 or 0."""
    model = FAMILIES[family](**settings).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * (0.2 if parameter.dim() == 1 else 0.05))
            assert parameter.requires_grad, name
    return model


def random_ids(rows: int = 2, time: int = TIME) -> torch.Tensor:
    return torch.randint(2, VOCABULARY, (rows, time))


def step(model: Any, call: Any = None, **inputs: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss and every gradient, in double precision."""
    model.zero_grad()
    torch.manual_seed(7)
    loss = (model if call is None else call)(**inputs)[0]
    loss.backward()
    made = {name: x.grad.double().clone() for name, x in model.named_parameters() if x.grad is not None}
    return loss.detach().double(), made


def twin(model: Any) -> Any:
    """A copy that shares nothing with the model, its config included."""
    return copy.deepcopy(model)


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-30))


def assert_near(found: Any, wanted: Any, bound: float) -> None:
    """Losses and all gradients by relative norm; the same parameters have one."""
    assert distance(found[0], wanted[0]) < bound
    assert found[1].keys() == wanted[1].keys() and found[1]
    # a gradient that is 0 but for rounding (of a bias before a softmax over rows) is held to the largest one
    least = 1e-2 * max(gradient.norm() for gradient in wanted[1].values())
    apart = {name: float((found[1][name] - g).norm() / max(g.norm(), least)) for name, g in wanted[1].items()}
    assert max(apart.values()) < bound, {name: value for name, value in apart.items() if value >= bound}
