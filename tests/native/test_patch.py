"""The C++ kernels inside transformers' models, by `pylm_kernels.patch`: a step is that of the unpatched model."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from pylm import native_kernels
from pylm_kernels import backends, dispatch, patch

transformers = pytest.importorskip("transformers")
SIZE = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": None}  # fmt: skip
DECODER = SIZE | {"intermediate_size": 48, "num_key_value_heads": 2}
WINDOW = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1, "head_dim": 16}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
FAMILIES = {
    "Llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**DECODER)),
    "Qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**DECODER | WINDOW)),
    "GPT-2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZE | NO_DROPOUT)),
}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    backends()
    monkeypatch.setattr(dispatch, "_registered", {op: dict(have) for op, have in dispatch._registered.items()})
    native_kernels.register()
    monkeypatch.setenv("PYLM_KERNELS", "cpu")
    yield
    dispatch.candidates.cache_clear()


def step(model: Any, ids: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(ids, labels=ids).loss
    loss.backward()
    return loss.detach().double(), {name: x.grad.double() for name, x in model.named_parameters()}


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_in_float32(family: str) -> None:
    torch.manual_seed(2)
    model, ids = FAMILIES[family]().train(), torch.randint(2, 61, (2, 12))
    ours = copy.deepcopy(model)
    assert {row.backend for row in patch(ours)} == {"cpu"}
    (loss, grads), (wanted, exact) = step(ours, ids), step(model, ids)
    assert distance(loss, wanted) < 1e-6
    assert max(distance(grads[name], exact[name]) for name in exact) < 2e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_in_bfloat16_is_as_exact_as_transformers(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_KERNELS", "auto")  # not every processor has products of bfloat16
    torch.manual_seed(2)
    theirs, ids = FAMILIES[family]().train().bfloat16(), torch.randint(2, 61, (2, 12))
    ours, exact = copy.deepcopy(theirs), copy.deepcopy(theirs).double()
    patch(ours)
    (loss, grads), (their_loss, their_grads), (wanted, exactly) = (step(model, ids) for model in (ours, theirs, exact))
    assert abs(loss - wanted) < 4e-3 + abs(their_loss - wanted)
    for name, one in exactly.items():
        assert distance(grads[name], one) < 1e-3 + 1.3 * distance(their_grads[name], one), name
