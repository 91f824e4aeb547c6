"""The preset speed-portable from its text to nanochat's class; what the class has not is refused by field."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
import torch
from transformers import NanoChatForCausalLM

import pylm
from pylm.checkpoint import open_weights
from pylm.errors import ConfigError
from pylm.model.torch import load
from tests.interchange.runs import LAYOUTS, small_run

IDX = torch.randint(0, 260, (2, 40), generator=torch.Generator().manual_seed(5))
OF_MLX = ["lm_head.weight", "transformer.wte.weight"] + [
    f"transformer.h.{layer}.{name}.weight"
    for layer in range(2)
    for name in ("attn.c_q", "attn.c_k", "attn.c_v", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
]


def test_speed_portable_trains_samples_in_cpp_and_goes_to_nanochats_class() -> None:
    draw = random.Random(1)
    Path("a.txt").write_text(" ".join(draw.choices("the cat sat on a mat and then ran".split(), k=4_000)))
    run = pylm.train(
        "a.txt", preset="speed-portable", out="runs/a", model={"n_layers": 2, "n_heads": 2, "d_model": 32},
        vocab_size=270, context_length=48, batch_tokens=768, max_steps=60, warmup_steps=2, precision="fp32",
        device="cpu", backend="torch", on_event=lambda event: None,
    )  # fmt: skip
    losses = [row["loss"] for row in run.metrics() if "loss" in row]
    assert run.config.model.norm_gain is False and run.config.model.embed_norm is True
    assert losses[-1] < 0.8 * losses[0], losses
    session = pylm.generate("runs/a", "the", max_tokens=5, temperature=0, device="cpu", dtype="fp32")
    text = session.text()
    made = pylm.export("runs/a", to="nanochat", out="out")
    assert (made.layout, made.to) == ("nanochat", "nanochat")
    config = json.loads(Path("out/config.json").read_text())
    assert (config["final_logit_softcapping"], config["rope_theta"], config["hidden_act"]) == (15.0, 100000.0, "relu2")
    words, options = pylm.Tokenizer.load("out"), {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None}
    peer = NanoChatForCausalLM.from_pretrained("out", dtype=torch.float32).eval()
    idx = torch.tensor([words.encode("the")])
    found = peer.generate(idx, attention_mask=torch.ones_like(idx), **options)
    assert words.decode(found[0, idx.shape[1] :].tolist()) == text


def test_what_mlx_lm_reads_has_its_names_and_comes_back_bitwise() -> None:
    run = small_run(layout="nanochat")
    pylm.export(run, to="mlx", out="out")
    assert sorted(safetensors.numpy.load_file("out/model.safetensors")) == sorted(OF_MLX)
    pylm.import_("out", out="back")
    mine, back = open_weights(run).weights(), open_weights("back").weights()
    assert mine.keys() == back.keys() and all(bytes(mine[name].data) == bytes(back[name].data) for name in mine)


def test_the_halves_of_heads_change_places_for_queries_and_keys_alone() -> None:
    run = small_run(layout="nanochat", n_kv_heads=2)
    pylm.export(run, to="nanochat", out="out")
    held = safetensors.numpy.load_file("out/model.safetensors")
    q, k, v = load(open_weights(run)).blocks[0].attention.qkv.weight.detach().split([64, 32, 32])
    for name, part in (("q", q), ("k", k)):
        halves = part.view(-1, 2, 8, 64).flip(1).reshape(part.shape)
        assert torch.equal(torch.from_numpy(held[f"model.layers.0.self_attn.{name}_proj.weight"]), halves)
    assert torch.equal(torch.from_numpy(held["model.layers.0.self_attn.v_proj.weight"]), v)


@pytest.mark.parametrize(
    ("to", "fields", "sentence"),
    [
        ("nanochat", {"value_embeddings": True}, "nanochat's class has no value_embeddings true"),
        ("nanochat", {"embed_norm": False, "norm_gain": True},
         "nanochat's class has no norm_gain true and embed_norm false"),
        ("nanochat", {"rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_positions": 16.0}},
         "nanochat's class has no rope_scaling yarn"),
        ("hf", {"residual_lambdas": True}, "no layout that other programs load has residual_lambdas true"),
        ("mlx", {"logit_softcap": 20.0, "norm_eps": 1e-6},
         "mlx-lm's nanochat has no logit_softcap 20.0 and norm_eps 1e-06"),
        ("mlx", {"head_dim": 24}, "mlx-lm's nanochat has no head_dim 24"),
        ("gguf", {}, "llama.cpp has no class of nanochat"),
    ],
)  # fmt: skip
def test_what_a_class_has_not_is_refused_with_the_preset(to: str, fields: dict[str, Any], sentence: str) -> None:
    run = small_run(**{"layout": "nanochat", **fields})
    with pytest.raises(ConfigError, match=sentence) as caught:
        pylm.export(run, to=to, out="out")
    assert caught.value.hint is not None and ("preset" in caught.value.hint) and not Path("out").exists()


def test_the_preset_speed_is_told_of_the_one_that_goes_out() -> None:
    speed = {"value_embeddings": True, "residual_lambdas": True, "norm_gain": True, "embed_norm": False}
    run = small_run(layout="nanochat", **speed)
    for to in ("hf", "nanochat"):
        with pytest.raises(ConfigError) as caught:
            pylm.export(run, to=to, out="out")
        assert "the preset speed-portable" in str(caught.value.hint)
    assert LAYOUTS["nanochat"].keys() >= {"norm_gain", "embed_norm"}
