"""The patches that README shows for other people's models, run as they stand there."""

from __future__ import annotations

import math
import re
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

README = Path(__file__).parents[1] / "README.md"


def recipes() -> dict[str, Any]:
    """Every name that the code under "In place of" defines."""
    part = README.read_text(encoding="utf-8").split("## In place of")[1].split("\n## ")[0]
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102 (it is ours)
    return names


# nanoGPT's model.py, the parts that the patch touches


class CausalSelfAttention(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(32, 96), nn.Linear(32, 32)
        self.attn_dropout, self.resid_dropout = nn.Dropout(dropout), nn.Dropout(dropout)
        self.n_head, self.n_embd, self.dropout = 2, 32, dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, C = x.size()
        q, k, v = (y.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for y in self.c_attn(x).split(32, 2))
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))
        scores = scores.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), float("-inf"))
        y = self.attn_dropout(functional.softmax(scores, dim=-1)) @ v
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C)))


class Block(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(32), CausalSelfAttention(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.attn(self.ln_1(x))


class GPT(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(65, 32), "wpe": nn.Embedding(16, 32), "drop": nn.Dropout(dropout),
                "h": nn.ModuleList([Block(dropout), Block(dropout)]), "ln_f": nn.LayerNorm(32),
            }
        )  # fmt: skip
        self.lm_head = nn.Linear(32, 65, bias=False)
        self.transformer.wte.weight = self.lm_head.weight

    def forward(self, idx: torch.Tensor, targets: torch.Tensor | None = None) -> Any:
        x = self.transformer.drop(self.transformer.wte(idx) + self.transformer.wpe(torch.arange(idx.size(1))))
        for block in self.transformer.h:
            x = block(x)
        x = self.transformer.ln_f(x)
        if targets is None:
            return self.lm_head(x[:, [-1], :]), None
        logits = self.lm_head(x)
        return logits, functional.cross_entropy(logits.view(-1, 65), targets.view(-1), ignore_index=-1)


def gradients(loss: torch.Tensor, model: nn.Module) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def test_the_nanogpt_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    idx, targets = torch.randint(0, 65, (2, 2, 16))
    targets[0, :5] = -1
    model = GPT()
    logits, loss = model(idx)[0], model(idx, targets)[1]
    exact = gradients(loss, model)
    for one in (GPT, CausalSelfAttention):  # put back afterwards
        monkeypatch.setattr(one, "forward", one.forward)
    recipes()["patch_nanogpt"](types.SimpleNamespace(GPT=GPT, CausalSelfAttention=CausalSelfAttention))
    nothing, patched = model(idx, targets)
    assert nothing is None
    torch.testing.assert_close(model(idx)[0], logits)
    torch.testing.assert_close(patched, loss)
    torch.testing.assert_close(gradients(patched, model), exact, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="attention has no dropout here"):
        GPT(dropout=0.1)(idx, targets)
    GPT(dropout=0.1).eval()(idx)


def test_the_llama_patch() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=99, max_position_embeddings=64,
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 5e3},
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).train()
    ids = torch.randint(3, 99, (2, 20))
    labels = ids.clone()
    labels[0, :4] = -100
    padded = torch.ones_like(ids)
    padded[0, :6] = 0

    def results() -> list[torch.Tensor]:
        with torch.no_grad():
            whole = model(ids, use_cache=False).logits
            masked = model(ids, attention_mask=padded, use_cache=False).logits[padded.bool()]
            packed = torch.arange(20).remainder(9)[None].expand(2, 20)
            documents = model(ids, position_ids=packed, use_cache=False).logits
            written = model.generate(
                ids, attention_mask=padded, max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=None
            )
        return [whole, masked, documents, written]

    before, loss = results(), model(ids, labels=labels, use_cache=False).loss
    exact = gradients(loss, model)
    names = recipes()
    names["patch_llama"](model)
    attended: list[int] = []
    fused = names["rope_attention"]
    names["rope_attention"] = lambda *given, **more: (attended.append(1), fused(*given, **more))[1]
    for ours, theirs in zip(results(), before, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert len(attended) == 2, "whole rows take the kernels, and they alone: once a layer"
    patched = names["llama_loss"](model, ids, labels)
    torch.testing.assert_close(patched, loss)
    torch.testing.assert_close(gradients(patched, model), exact, rtol=1e-3, atol=1e-6)
    model.config.attention_dropout = 0.5
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    attended.clear()
    model(ids, use_cache=False)
    assert not attended, "dropout of attention stays where it is"
