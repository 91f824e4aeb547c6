"""Models of others come in weight by weight, go out again bitwise, and pickles harm nobody."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

import pylm
from pylm._rust import Bpe
from pylm.checkpoint import Tensor, open_weights, read_tensors, verify
from pylm.errors import CheckpointError, ConfigError, TokenizerError, UsageError
from pylm.interchange.nanogpt import from_nanogpt
from pylm.interchange.pickle_child import main as child
from pylm.model.torch import load
from tests.generation.small import small_tokenizer
from tests.interchange.runs import LAYOUTS, small_run
from tests.support import hub_server
from tests.support.hub_server import HubServer

COPIED = ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_out_in_and_out_is_bitwise(layout: str) -> None:
    pylm.export(small_run(layout=layout, chat=True), to="hf", out="one")
    made = pylm.import_("one", out="back")
    with pytest.raises(CheckpointError, match="back was imported, with no optimizer to go on with"):
        made.check_resumable()
    assert verify(made.path).step == 0 and made.state["imported"]["format"] == "Hugging Face's layout"
    pylm.export("back", to="hf", out="two")
    for name in COPIED:
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes(), name


def test_what_transformers_saved_comes_in_and_goes_back() -> None:
    torch.manual_seed(3)
    peer = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_positions=32, n_embd=48, n_layer=2, n_head=3, bos_token_id=0,
                                      eos_token_id=0)).to(torch.bfloat16).eval()  # fmt: skip
    peer.save_pretrained("theirs", max_shard_size="50KB")
    small_tokenizer().save("tok")
    pylm.import_("theirs", out="in", tokenizer="tok")
    assert pylm.generate("in", "that", max_tokens=3).text()  # though it has ids that the tokenizer has not
    pylm.export("in", to="hf", out="out")
    back = AutoModelForCausalLM.from_pretrained("out")
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in peer.state_dict().items())


def test_progress_counts_every_byte_of_the_weights_once() -> None:
    run, told = small_run(layout="qwen2"), []
    for number, ask in enumerate([{"to": "hf"}, {"to": "hf", "dtype": "bf16"}, {"to": "gguf", "quantize": "q8_0"}]):
        if ask["to"] == "gguf":
            pytest.importorskip("gguf")
        pylm.export(run, out=f"out{number}", progress=lambda done, total: told.append((done, total)), **ask)
    pylm.import_("out0", out="in", progress=lambda done, total: told.append((done, total)))
    starts = [0, *(at for at in range(1, len(told)) if told[at][0] < told[at - 1][0]), len(told)]
    assert len(starts) == 5
    for first, after in zip(starts, starts[1:], strict=False):
        counts = told[first:after]
        assert counts[-1][0] == counts[-1][1] > 0 and len(counts) > 10


def nanogpt(file: str, tensors: dict[str, Any], **arguments: Any) -> None:
    torch.save({"model": tensors, "model_args": {"n_head": 4, **arguments}, "iter_num": 7, "optimizer": {}}, file)


def test_nanogpts_file_goes_out_and_comes_in() -> None:
    run = small_run(layout="gpt2", bias=False)
    made = pylm.export(run, to="torch", out="out")
    assert made.layout == "nanogpt" and set(made.files) >= {"ckpt.pt", "tokenizer.json", "README.md"}
    held = torch.load("out/ckpt.pt", weights_only=True)
    assert held["model_args"] == {"n_layer": 2, "n_head": 4, "n_embd": 64, "vocab_size": 260, "block_size": 48,
                                  "bias": False, "dropout": 0.0}  # fmt: skip
    assert held["model"]["transformer.wte.weight"].data_ptr() == held["model"]["lm_head.weight"].data_ptr()
    assert held["model"]["transformer.h.1.attn.c_attn.weight"].shape == (192, 64)
    pylm.import_("out", out="back")
    mine, back = open_weights(run).weights(), open_weights("back").weights()
    assert mine.keys() == back.keys() and all(bytes(mine[name].data) == bytes(back[name].data) for name in mine)


def plain_nanogpt(held: dict[str, Any], idx: torch.Tensor) -> torch.Tensor:
    """nanoGPT's forward pass with GELU's tanh form, as plainly as torch says it."""
    from torch.nn import functional as F

    w, args = held["model"], held["model_args"]
    x = w["transformer.wte.weight"][idx] + w["transformer.wpe.weight"][: idx.shape[1]]
    for layer in range(args["n_layer"]):

        def get(name: str, layer: int = layer) -> Any:
            return w.get(f"transformer.h.{layer}.{name}")

        h = F.layer_norm(x, x.shape[-1:], get("ln_1.weight"), get("ln_1.bias"))
        qkv = F.linear(h, get("attn.c_attn.weight"), get("attn.c_attn.bias")).split(x.shape[-1], 2)
        q, k, v = (part.unflatten(2, (args["n_head"], -1)).transpose(1, 2) for part in qkv)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + F.linear(y, get("attn.c_proj.weight"), get("attn.c_proj.bias"))
        h = F.layer_norm(x, x.shape[-1:], get("ln_2.weight"), get("ln_2.bias"))
        h = F.gelu(F.linear(h, get("mlp.c_fc.weight"), get("mlp.c_fc.bias")), approximate="tanh")
        x = x + F.linear(h, get("mlp.c_proj.weight"), get("mlp.c_proj.bias"))
    x = F.layer_norm(x, x.shape[-1:], w["transformer.ln_f.weight"], w.get("transformer.ln_f.bias"))
    return F.linear(x, w["lm_head.weight"])


def test_nanogpts_class_computes_the_same() -> None:
    pylm.export(small_run(layout="gpt2"), to="torch", out="out")
    idx = torch.randint(0, 260, (2, 40), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        mine = load(open_weights("runs/a")).eval()(idx)
        theirs = plain_nanogpt(torch.load("out/ckpt.pt", weights_only=True), idx)
    assert (mine - theirs).abs().max() / mine.std() < 1e-5


def test_padding_of_the_vocabulary_is_cut_where_asked() -> None:
    pylm.export(small_run(layout="gpt2"), to="torch", out="out")
    held = torch.load("out/ckpt.pt", weights_only=True)["model"]
    wide = torch.cat([held["transformer.wte.weight"], torch.zeros(4, 64)])
    named = {f"_orig_mod.{name}": wide if name in ("transformer.wte.weight", "lm_head.weight") else tensor
             for name, tensor in held.items()}  # fmt: skip
    nanogpt("wide.pt", named)
    small_tokenizer().save("tok")
    made = pylm.import_("wide.pt", out="all", tokenizer="tok")
    assert made.step == 7 and made.weights()["embed.weight"].shape == (264, 64)
    pylm.export("all", to="hf", out="hf")
    cut = pylm.import_("hf", out="cut", vocab_size=260)
    assert bytes(cut.weights()["embed.weight"].data) == held["transformer.wte.weight"].numpy().tobytes()
    with pytest.raises(UsageError, match="vocab_size=265 of a vocabulary of 264"):
        pylm.import_("hf", out="x", vocab_size=265)
    with pytest.raises(CheckpointError, match="the tokenizer has 260 ids and the model 250: it is another model's"):
        pylm.import_("hf", out="x", vocab_size=250)


def test_another_vocabularys_tokenizer_is_refused() -> None:
    """It may have as many ids or fewer: they would mean other tokens."""
    run = small_run()
    pylm.export(run, to="hf", out="hf")
    pylm.export(run, to="gguf", out="gguf")
    other = pylm.Tokenizer.from_tokenizer_json(
        Bpe.from_merges([(83, 71)], "gpt2", ["<|endoftext|>"]).to_tokenizer_json()
    )
    other.save("other")
    small_tokenizer().save("same")
    with pytest.raises(TokenizerError, match="other is not the tokenizer that hf was trained with, which it carries"):
        pylm.import_("hf", out="x", tokenizer="other")
    assert not Path("x").exists()
    assert pylm.import_("hf", out="x", tokenizer="same").state["tokenizer"] == small_tokenizer().identity
    with pytest.raises(TokenizerError, match=r"other is not the tokenizer that gguf/\S+gguf was trained with"):
        pylm.import_("gguf", out="y", tokenizer="other")
    assert not Path("y").exists()
    assert pylm.import_("gguf", out="y", tokenizer="same").state["tokenizer"] == small_tokenizer().identity


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"num_hidden_layers": 10**9}, r"1,000,000,000 layers are described, and the weights are \d+ tensors"),
        ({"model_type": ["x"]}, r"config.json is of a \['x'\] model"),
        ({"vocab_size": None}, "config.json describes no model that fits: vocab_size is null"),
    ],
    ids=["layers", "type", "vocabulary"],
)
def test_a_configuration_of_no_model_is_one_sentence(changed: dict[str, Any], says: str) -> None:
    pylm.export(small_run("llama"), to="hf", out="hf")
    config = Path("hf/config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | changed))
    with pytest.raises(CheckpointError, match=says):
        pylm.import_("hf", out="x")
    assert not Path("x").exists()


class Harmful:
    def __reduce__(self) -> Any:
        return os.system, ("touch harmed",)


def test_a_pickle_runs_nothing_and_its_global_is_named() -> None:
    torch.save({"model": Harmful()}, "bad.pt")
    with pytest.raises(CheckpointError, match="bad.pt asks for posix.system, and nothing but tensors"):
        pylm.import_("bad.pt", out="x")
    assert not Path("harmed").exists() and not Path("x").exists()


def test_what_the_child_makes_of_other_files() -> None:
    with open("old.pt", "wb") as file:
        pickle.dump({"model": Harmful()}, file, protocol=2)
    assert child("old.pt", "out") == {"global": "posix.system"}
    Path("torn.pt").write_bytes(b"PK\x03\x04 and then nothing")
    assert "PytorchStreamReader failed" in child("torn.pt", "out")["error"]
    Path("text.pt").write_text("no pickle at all")
    assert set(child("text.pt", "out")) == {"error"}
    torch.save({"state_dict": {"a": torch.ones(2), "b": 3}, "epoch": 3, "args": {"lr": 0.1, "x": [1]}}, "other.pt")
    said = child("other.pt", "out")
    assert said["sizes"] == {"a": ["float32", [2]]} and said["beside"]["args"] == {"lr": 0.1}
    assert said["beside"]["epoch"] == 3 and list(read_tensors(Path("out"))) == ["a"]
    torch.save([torch.ones(2)], "list.pt")
    assert child("list.pt", "out") == {"sizes": {}, "beside": {}}
    assert not Path("harmed").exists()


def test_files_that_are_none_of_these_are_one_sentence() -> None:
    torch.save({"model": {"a.b": torch.zeros(3), "c": torch.zeros(2, 2)}, "epoch": 3}, "other.pt")
    with pytest.raises(CheckpointError, match=r"no program that is known here: a\.b \[3\], c \[2, 2\]"):
        pylm.import_("other.pt", out="x")
    Path("folder").mkdir()
    Path("folder/readme").write_text("x")
    for source, sentence in (("folder", "a folder with readme"), ("nowhere", "it is not there")):
        with pytest.raises(CheckpointError, match=f"{source} is none of what is read: {sentence}"):
            pylm.import_(source, out="x")
    with pytest.raises(UsageError, match="folder exists already"):
        pylm.import_("folder", out="folder")


def test_a_damaged_folder_of_others_is_to_be_fetched_again() -> None:
    pylm.export(small_run(), to="hf", out="hf")
    said, weights = Path("hf/generation_config.json"), Path("hf/model.safetensors")
    whole = said.read_bytes(), weights.read_bytes()
    for data in (b"\xff\xfe", b"{no", b"[1]"):
        said.write_bytes(data)
        with pytest.raises(CheckpointError, match="hf/generation_config.json"):
            pylm.import_("hf", out="x")
    said.write_bytes(whole[0])
    weights.write_bytes(whole[1][:-9])
    with pytest.raises(CheckpointError, match="model.safetensors is damaged") as caught:
        pylm.import_("hf", out="x")
    assert caught.value.hint == "fetch it, or save it, again" and not Path("x").exists()
    weights.write_bytes(whole[1])
    assert pylm.import_("hf", out="x").weights()


@pytest.mark.parametrize("layout", ["gpt2", "qwen3", "nanochat"])
def test_a_tensor_of_other_sizes_is_named(layout: str) -> None:
    """Each of them, a row longer: a matrix that is kept transposed too."""
    pylm.export(small_run(layout=layout), to="hf", out="hf")
    held = safetensors.numpy.load_file("hf/model.safetensors")
    for name, numbers in held.items():
        longer = np.concatenate([numbers, numbers[:1]])
        safetensors.numpy.save_file({**held, name: longer}, "hf/model.safetensors")
        sizes = f"{name} is of shape {list(longer.shape)}, the model's is {list(numbers.shape)}"
        with pytest.raises(CheckpointError, match=re.escape(sizes)):
            pylm.import_("hf", out="x")
    assert not Path("x").exists()


def test_a_head_of_its_own_and_missing_names_are_refused() -> None:
    pylm.export(small_run(layout="gpt2"), to="torch", out="out")
    child("out/ckpt.pt", "tensors")
    held: dict[str, Any] = {**read_tensors(Path("tensors"))}
    other = Tensor("F32", (260, 64), memoryview(bytes(260 * 64 * 4)))
    lacking = {name: tensor for name, tensor in held.items() if "ln_2.weight" not in name}
    for tensors, heads, sentence in (
        ({**held, "lm_head.weight": other}, 4, "lm_head is another matrix"),
        ({**held, "transformer.h.0.attn.extra": other}, 4, "it holds transformer.h.0.attn.extra"),
        (lacking, 4, "it lacks transformer.h.0.ln_2.weight"),
        (held, "3", "its model_args name no n_head"),
        (held, 7, "its model_args say n_head 7, and its width 64 is no multiple"),
    ):
        with pytest.raises(CheckpointError, match=sentence):
            from_nanogpt(tensors, {"n_head": heads})


def test_nanogpt_refuses_what_its_class_has_not() -> None:
    with pytest.raises(ConfigError, match="nanoGPT's class has no norm rmsnorm and mlp swiglu"):
        pylm.export(small_run(), to="torch", out="x")
    with pytest.raises(ConfigError, match="nanoGPT's class has no tied false and d_ff 100"):
        pylm.export(small_run("runs/b", layout="gpt2", tied=False, d_ff=100), to="torch", out="x")


def test_a_model_of_the_hub_is_fetched_and_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    pylm.export(small_run(chat=True), to="hf", out="one")
    files = {path.name: path.read_bytes() for path in Path("one").iterdir()}
    monkeypatch.setattr(hub_server, "LARGE", 1 << 30)
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add("org/name", files, kind="model")
        made = pylm.import_("hub:org/name", out="in")
        assert made.state["imported"]["from"] == "hub:org/name"
        assert (
            pylm.generate("hub:org/name", "that", max_tokens=2, temperature=0).text()
            == pylm.generate("runs/a", "that", max_tokens=2, temperature=0).text()
        )
    mine, back = open_weights("runs/a").weights(), made.weights()
    assert all(bytes(mine[name].data) == bytes(back[name].data) for name in mine)


def test_numbers_of_the_layout_are_those_that_ours_computes() -> None:
    pylm.export(small_run(layout="mistral"), to="hf", out="one")
    pylm.import_("one", out="in")
    idx = torch.randint(0, 260, (2, 40), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        assert np.array_equal(load(open_weights("runs/a"))(idx).numpy(), load(open_weights("in"))(idx).numpy())
    assert json.loads(Path("one/config.json").read_text())["sliding_window"] == 7
