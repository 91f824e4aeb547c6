"""Every layout is loaded by transformers itself: the same logits, ids, ends and names; nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import pylm
from pylm.checkpoint import open_weights
from pylm.errors import CheckpointError, ConfigError, UsageError
from pylm.interchange import hugging_face
from pylm.model.torch import load
from tests.interchange.runs import LAYOUTS, small_run

HOSTILE = [
    "e\u0301 12345",
    "that cat on the mat",
    " \n\t that's 12345",
    "ça va? 日本語 🙂\u200d",
    "<|endoftext|><|im_end|>",
    "\0\x7f",
    "",
]


def ours_and_theirs(folder: str, dtype: torch.dtype = torch.float32) -> tuple[np.ndarray, np.ndarray]:
    idx = torch.randint(0, 260, (3, 40), generator=torch.Generator().manual_seed(5))
    peer = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    with torch.no_grad():
        return load(open_weights("runs/a"), dtype=dtype).eval()(idx).double().numpy(), peer(idx).logits.double().numpy()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_transformers_computes_the_same(layout: str) -> None:
    made = pylm.export(small_run(layout=layout), to="hf", out="out")
    assert made.layout == layout.split(",")[0].replace("qwen2", "llama") and made.to == "hf"
    ours, theirs = ours_and_theirs("out")
    assert np.abs(ours - theirs).max() / ours.std() < 1e-5
    assert not any(name.startswith("transformer.") for name in safetensors.numpy.load_file("out/model.safetensors"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ids_ends_and_templates_are_what_transformers_takes(layout: str) -> None:
    run = small_run(layout=layout, chat=True)
    pylm.export(run, to="hf", out="out")
    mine, theirs = pylm.Tokenizer.load("out"), AutoTokenizer.from_pretrained("out")
    for text in HOSTILE:
        assert mine.encode(text, "all") == theirs.encode(text), text
    talk = [{"role": "user", "content": "that"}, {"role": "assistant", "content": "one"}]
    assert theirs.apply_chat_template(talk, tokenize=False) == mine.apply_chat_template(talk, tokenize=False)
    end, turn = mine.specials["<|endoftext|>"], mine.specials["<|im_end|>"]
    peer = AutoModelForCausalLM.from_pretrained("out")
    for said in (peer.config, peer.generation_config):
        assert (said.bos_token_id, said.eos_token_id, said.pad_token_id) == (end, [end, turn], end)
    assert (theirs.eos_token, theirs.pad_token, theirs.model_max_length) == ("<|endoftext|>", "<|endoftext|>", 48)


def test_the_config_has_what_each_reader_asks_for() -> None:
    pylm.export(small_run(layout="gpt2"), to="hf", out="a")
    gpt2 = json.loads(Path("a/config.json").read_text())
    assert (gpt2["n_ctx"], gpt2["n_positions"], gpt2["tie_word_embeddings"], gpt2["dtype"]) == (48, 48, True, "float32")
    pylm.export(small_run("runs/b", layout="qwen3"), to="hf", out="b", dtype="bf16")
    qwen3 = json.loads(Path("b/config.json").read_text())
    assert qwen3["rope_theta"] == qwen3["rope_parameters"]["rope_theta"] == 77.0
    assert qwen3["dtype"] == qwen3["torch_dtype"] == "bfloat16"
    assert "lm_head.weight" not in safetensors.torch.load_file("b/model.safetensors")
    tokens = json.loads(Path("b/tokenizer_config.json").read_text())
    assert tokens["tokenizer_class"] == "PreTrainedTokenizerFast" and tokens["add_bos_token"] is False
    assert tokens["clean_up_tokenization_spaces"] is False


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_weights_are_rounded_as_torch_rounds_them(dtype: str) -> None:
    pylm.export(small_run(layout="gpt2"), to="hf", out="exact")
    pylm.export("runs/a", to="hf", out="out", dtype=dtype)
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    exact, found = (safetensors.torch.load_file(f"{name}/model.safetensors") for name in ("exact", "out"))
    assert all(torch.equal(found[name], exact[name].to(kind)) for name in exact)


def test_bits_that_torch_rounds_too_are_rounded_alike() -> None:
    from pylm.interchange.tensors import rounded

    bits = np.random.default_rng(1).integers(0, 1 << 32, 100_000, np.uint32)
    numbers = (
        np.concatenate([bits, [0x7F800001, 0xFFFFFFFF, 0x7F7FFFFF, 0x80000001]]).astype(np.uint32).view(np.float32)
    )
    with np.errstate(all="ignore"):
        wanted = torch.from_numpy(numbers.copy()).bfloat16()
    found = torch.from_numpy(rounded(numbers, "BF16", "x").view(np.int16)).view(torch.bfloat16)
    assert torch.equal(found.isnan(), wanted.isnan())
    assert torch.equal(found[~wanted.isnan()], wanted[~wanted.isnan()])
    with pytest.raises(CheckpointError, match="x holds 70000, and fp16 ends at 65504"):
        rounded(np.float32([1.0, 70000.0]), "F16", "x")


def test_more_than_a_file_holds_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run(layout="gpt2")
    monkeypatch.setattr(hugging_face, "SHARD", 100_000)
    made = pylm.export(run, to="hf", out="out")
    assert sum(name.endswith(".safetensors") for name in made.files) > 2
    ours, theirs = ours_and_theirs("out")
    assert np.abs(ours - theirs).max() / ours.std() < 1e-5


def test_a_folder_of_theirs_goes_out_as_it_came() -> None:
    pylm.export(small_run(layout="qwen2", chat=True), to="hf", out="one")
    pylm.export("one", to="hf", out="two")
    for name in ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes(), name


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ({"mlp": "relu2", "qk_norm": True}, "no layout that other programs load has mlp relu2"),
        ({"logit_softcap": 15.0}, "no layout that other programs load has logit_softcap 15.0"),
        ({"value_embeddings": True}, "no layout that other programs load has value_embeddings true"),
    ],
)
def test_what_no_layout_has_is_named_and_nothing_is_written(shape: dict[str, Any], sentence: str) -> None:
    run = small_run(**shape)
    with pytest.raises(ConfigError, match=sentence):
        pylm.export(run, to="hf", out="out")
    assert [path.name for path in Path().iterdir() if path.name != "cache"] == ["runs"]


def test_what_cannot_be_is_one_sentence() -> None:
    run = small_run(layout="gpt2", tied=False, d_ff=100)
    with pytest.raises(UsageError, match="to= is 'hff'"):
        pylm.export(run, to="hff", out="out")
    with pytest.raises(ConfigError, match="mlx-lm's gpt2 has no tied false and d_ff 100"):
        pylm.export(run, to="mlx", out="out")
    for number, (shape, sentence) in enumerate((
        ({"layout": "mistral"}, "mlx-lm's mistral has no window 7"),
    )):  # fmt: skip
        with pytest.raises(ConfigError, match=sentence):
            pylm.export(small_run(f"runs/{number}", **shape), to="mlx", out="out")
    Path("out").mkdir()
    with pytest.raises(UsageError, match="out exists already"):
        pylm.export(run, to="hf", out="out")
    with pytest.raises(CheckpointError, match="no checkpoint at nowhere"):
        pylm.export("nowhere", to="hf", out="other")


def test_the_card_says_what_it_is_and_no_licence() -> None:
    pylm.export(small_run(layout="qwen3"), to="hf", out="out")
    card = Path("out/README.md").read_text()
    assert "| layout | qwen3 |" in card and "license:" not in card and "No licence is stated" in card
    assert f"| tokenizer | {pylm.Tokenizer.load('out').identity} |" in card
