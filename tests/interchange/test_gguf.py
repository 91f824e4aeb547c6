"""GGUF files: a plain reading of them computes the same, they come back bitwise, what has no twin is named."""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("gguf")

import pylm
from pylm._rust import Bpe
from pylm.checkpoint import open_weights
from pylm.errors import CheckpointError, ConfigError, PylmError, TokenizerError, UsageError
from pylm.interchange import gguf_file
from pylm.interchange.modelfile import TURNS, modelfile
from pylm.model.torch import load
from tests.generation.small import END, small_model, write_run
from tests.interchange.plain_gguf import Plain
from tests.interchange.plain_modelfile import commands
from tests.interchange.runs import LAYOUTS, small_run

SERVED = {**{name: shape for name, shape in LAYOUTS.items() if name not in ("mistral", "nanochat")},
          "llama, biases": {"bias": True}, "llama, attention's biases": {"attention_bias": "all"},
          "qwen3, yarn": {"qk_norm": True, "rope_scaling": {"type": "yarn", "factor": 4.0, "attention_factor": 1.3,
                                                             "original_max_positions": 12.0}}}  # fmt: skip
IDS = [5, 17, 256, 3, 258, 100, 42, 7, 7, 90, 201, 33]


def ours(folder: str = "runs/a") -> np.ndarray:
    with torch.no_grad():
        return load(open_weights(folder)).eval()(torch.tensor([IDS]))[0].double().numpy()


@pytest.mark.parametrize("layout", SERVED)
def test_a_plain_reading_computes_the_same_and_it_comes_back_bitwise(layout: str) -> None:
    name = small_run(
        **({"layout": layout} if layout in LAYOUTS else SERVED[layout]),
        chat=True,
        n_kv_heads=4 if layout == "gpt2" else 2,
    )
    made = pylm.export(name, to="gguf", out="out")
    assert made.layout == layout.split(",")[0] and set(made.files) == {"model.gguf", "Modelfile", "README.md"}
    mine, plain = ours(), Plain("out/model.gguf").logits(IDS)
    assert np.abs(mine - plain).max() / mine.std() < 1e-5
    back = pylm.import_("out/model.gguf", out="back")
    held, found = open_weights(name).weights(), back.weights()
    assert held.keys() == found.keys() and all(bytes(held[key].data) == bytes(found[key].data) for key in held)
    assert load(open_weights("back")).shape.rope_scaling == load(open_weights(name)).shape.rope_scaling
    one, two = pylm.Tokenizer.load("runs/a/checkpoints/step_5"), pylm.Tokenizer.load("back")
    assert one.identity == two.identity and one.chat_template == two.chat_template and one.eot == two.eot
    pylm.export("back", to="gguf", out="again")
    assert Plain("again/model.gguf").fields.items() >= {
        key: value for key, value in Plain("out/model.gguf").fields.items() if key != "general.name"
    }.items()  # fmt: skip


def test_the_fields_of_the_vocabulary() -> None:
    pylm.export(small_run(chat=True), to="gguf", out="out")
    fields = Plain("out/model.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"]
    end, turn = tokens.index(END), tokens.index("<|im_end|>")
    ids = {name: fields[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "eos", "eot", "padding")}
    assert ids == {"bos": end, "eos": end, "eot": turn, "padding": end}
    assert fields["tokenizer.ggml.add_bos_token"] is False and fields["tokenizer.ggml.add_eos_token"] is False
    kinds = fields["tokenizer.ggml.token_type"]
    assert [tokens[number] for number, kind in enumerate(kinds) if kind == 3] == [END, "<|im_start|>", "<|im_end|>"]
    assert fields["tokenizer.ggml.pre"] == "gpt-2" and fields["tokenizer.ggml.merges"] == ["t h", "a t", "o n"]
    assert fields["tokenizer.chat_template"].startswith("{% for message in messages %}")
    assert (fields["general.file_type"], fields["llama.attention.key_length"]) == (0, 16)


def tokenizer(pattern: str, *specials: str, ignore_merges: bool = False) -> pylm.Tokenizer:
    """With ignore_merges a whole word that no merge makes: what is read without them has other ids."""
    merges = [(83, 71), (64, 83), (256, 257)]
    value = json.loads(Bpe.from_merges(merges, pattern, list(specials)).to_tokenizer_json())
    if ignore_merges:
        value["model"]["merges"].pop()
        value["model"]["ignore_merges"] = True
    return pylm.Tokenizer.from_tokenizer_json(json.dumps(value))


@pytest.mark.parametrize(
    ("pattern", "ignore_merges", "pre"),
    [("gpt2", False, "gpt-2"), ("qwen2", False, "qwen2"), ("cl100k", False, "dbrx"), ("llama3", False, "dbrx"),
     ("llama3", True, "llama-bpe")],
)  # fmt: skip
def test_each_pattern_has_its_twin_and_comes_back(pattern: str, ignore_merges: bool, pre: str) -> None:
    words = tokenizer(pattern, END, ignore_merges=ignore_merges)
    write_run(Path("runs/a"), small_model(words.vocab_size + 5), words)
    config = Path("runs/a/checkpoints/step_5")
    pylm.export(str(config), to="gguf", out="out")
    fields = Plain("out/model.gguf").fields
    assert fields["tokenizer.ggml.pre"] == pre
    assert fields["tokenizer.ggml.tokens"][-5:] == [f"[PAD{words.vocab_size + each}]" for each in range(5)]
    assert fields["tokenizer.ggml.token_type"][-5:] == [5] * 5
    pylm.import_("out/model.gguf", out="back")
    assert pylm.Tokenizer.load("back").identity == words.identity


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("o200k", END), "llama.cpp approximates the pattern o200k: its ids would be others"),
        (("[A-Za-z]+|[^A-Za-z]+", END), "llama.cpp has no pre-tokenizer that cuts as this one, "),
        (("gpt2",), "the tokenizer has no end of text, for which llama.cpp would take the id 11"),
    ],
)
def test_a_vocabulary_without_a_twin_is_refused(words: Any, sentence: str) -> None:
    made = tokenizer(*words)
    write_run(Path("runs/a"), small_model(made.vocab_size), made)
    with pytest.raises(TokenizerError, match=re.escape(sentence)):
        pylm.export("runs/a", to="gguf", out="out")
    assert not Path("out").exists()


def test_a_pre_tokenizer_can_be_forced_and_the_card_says_so() -> None:
    made = tokenizer("o200k", END)
    write_run(Path("runs/a"), small_model(made.vocab_size), made)
    pylm.export("runs/a", to="gguf", out="out", force_pre="gpt-4o")
    assert Plain("out/model.gguf").fields["tokenizer.ggml.pre"] == "gpt-4o"
    assert "llama.cpp's gpt-4o, which was asked for" in Path("out/README.md").read_text()
    with pytest.raises(UsageError, match="force_pre= is 'gpt4o'"):
        pylm.export("runs/a", to="gguf", out="x", force_pre="gpt4o")


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ({"layout": "mistral"}, "llama.cpp's mistral has no window 7"),
        ({"layout": "qwen3", "attention_bias": "all"}, "llama.cpp's qwen3 has no attention_bias all"),
        (
            {"rope_scaling": {"type": "yarn", "factor": 2.0, "original_max_positions": 16.0, "beta_fast": 16.0}},
            "llama.cpp's llama has no rope_scaling beta_fast 16.0",
        ),
        (
            {"layout": "qwen3", "rope_scaling": {"type": "llama3", "factor": 2.0, "original_max_positions": 16.0}},
            "llama.cpp's qwen3 has no rope_scaling llama3",
        ),
        ({"mlp": "relu2"}, "no layout that other programs load has mlp relu2"),
    ],
)
def test_what_llama_cpp_has_not_is_named(shape: dict[str, Any], sentence: str) -> None:
    run = small_run(**shape)
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        pylm.export(run, to="gguf", out="out")


def test_matrices_in_fewer_bits() -> None:
    run = small_run(layout="llama, untied, wide heads", d_ff=80)
    exact, mine = pylm.export(run, to="gguf", out="exact"), ours()
    pylm.export(run, to="gguf", out="bf16", dtype="bf16")
    wide = Plain("exact/model.gguf").tensors
    for quantize, bound in (("q8_0", 0.01), ("q4_0", 0.2)):
        made = pylm.export(run, to="gguf", out=quantize, quantize=quantize)
        plain = Plain(f"{quantize}/model.gguf")
        assert plain.types["blk.0.attn_q.weight"] == quantize.upper() and plain.types["blk.0.attn_norm.weight"] == "F32"
        assert plain.types["blk.0.ffn_down.weight"] == plain.types["blk.0.attn_output.weight"] == "F16"  # 80 wide
        for name, numbers in plain.tensors.items():
            assert np.linalg.norm(numbers - wide[name]) <= bound * np.linalg.norm(wide[name]), name
        assert "blk.0.ffn_down.weight" in Path(quantize, "README.md").read_text()
        assert made.files["model.gguf"] < exact.files["model.gguf"] * 0.6
    assert np.abs(Plain("q8_0/model.gguf").logits(IDS) - mine).max() / mine.std() < 0.3
    told: list[str] = []
    back = pylm.import_("q8_0/model.gguf", out="back", say=told.append)
    assert told == ["unpacked to fp32: tensors in Q8_0"] and back.weights()["embed.weight"].dtype == "F32"
    half = pylm.import_("bf16/model.gguf", out="half").weights()["blocks.0.attention.qkv.weight"]
    exact_held = torch.from_numpy(
        np.frombuffer(open_weights(run).weights()["blocks.0.attention.qkv.weight"].data, "<f4").copy()
    )
    assert half.dtype == "BF16"
    assert torch.equal(torch.frombuffer(bytearray(half.data), dtype=torch.bfloat16), exact_held.bfloat16())


def test_more_than_a_file_holds_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_file, "SHARD", 100_000)
    made = pylm.export(small_run(), to="gguf", out="out")
    parts = sorted(name for name in made.files if name.endswith(".gguf"))
    assert len(parts) > 2 and parts[0].startswith("model-00001-of-")
    assert f"FROM ./{parts[0]}\n" in Path("out/Modelfile").read_text()
    back, held = pylm.import_("out", out="back").weights(), open_weights("runs/a").weights()
    assert all(bytes(held[name].data) == bytes(back[name].data) for name in held)
    with pytest.raises(CheckpointError, match=f"{parts[1]} is one of {len(parts)} files") as caught:
        pylm.import_(f"out/{parts[1]}", out="x")
    assert caught.value.hint == f"name the first: NAME-00001-of-{len(parts):05d}.gguf"
    Path("out", parts[1]).unlink()
    with pytest.raises(CheckpointError, match=f"is one of {len(parts)} files, and {parts[1]} is not beside it"):
        pylm.import_("out", out="x")
    Path("out/other.gguf").touch()
    with pytest.raises(CheckpointError, match="out is none of what is read: a folder with Modelfile, README.md, "):
        pylm.import_("out", out="x")


@pytest.mark.parametrize("chat", [True, False])
def test_ollama_reads_the_modelfile_and_chats_end(chat: bool) -> None:
    pylm.export(small_run(chat=chat), to="gguf", out="out")
    found = commands(Path("out/Modelfile").read_text())
    assert found == [
        ("from", "./model.gguf"), ("template", TURNS if chat else "{{ .Prompt }}"), ("stop", END),
        *[("stop", "<|im_end|>")] * chat, ("num_ctx", "48"),
    ]  # fmt: skip
    assert TURNS.count("{{") == TURNS.count("}}")


@pytest.mark.parametrize("stop", ['<"x">', '"q"', '""', "\\end\\", " s ", "a#b", '"""', "</s>"])
def test_any_text_can_be_a_stop(stop: str) -> None:
    words = SimpleNamespace(chat_template="{{ messages }}", added={stop: 7})
    model: Any = SimpleNamespace(tokenizer=words, ends=(7,), shape=SimpleNamespace(context_length=9))
    assert commands(modelfile(model, "m.gguf")) == [("from", "./m.gguf"), ("stop", stop), ("num_ctx", "9")]


def test_plain_tokens_that_end_what_llama_cpp_generates_are_told() -> None:
    value = json.loads(Bpe.from_merges([(27, 14), (256, 82), (257, 29)], "gpt2", [END]).to_tokenizer_json())
    words = pylm.Tokenizer.from_tokenizer_json(json.dumps(value))
    assert words.decode([258]) == "</s>"
    write_run(Path("runs/a"), small_model(words.vocab_size), words)
    told: list[str] = []
    pylm.export("runs/a", to="gguf", out="out", say=told.append)
    assert told == ["</s> is a token of plain text here, and llama.cpp ends what it generates there"]


def damaged(change: Any) -> str:
    data = bytearray(Path("out/model.gguf").read_bytes())
    change(data)
    Path("bad.gguf").write_bytes(data)
    return "bad.gguf"


def test_damaged_files_are_one_sentence() -> None:
    pylm.export(small_run(), to="gguf", out="out")

    def put(at: int, form: str, value: int) -> Any:
        return lambda data: data.__setitem__(slice(at, at + struct.calcsize(form)), struct.pack(form, value))

    for change, sentence in (
        (put(0, "<I", 7), "bad.gguf is no GGUF file"),
        (put(4, "<I", 9), "bad.gguf is GGUF of version 9; 2 and 3 are read"),
        (put(8, "<Q", 1 << 40), "claims 1,099,511,627,776 tensors, and 200,000 are the most"),
        (put(16, "<Q", 1 << 40), "claims 1,099,511,627,776 fields"),
        (lambda data: data.__delitem__(slice(9, None)), "bad.gguf is damaged: it ends after 9 bytes"),
        (lambda data: data.__delitem__(slice(600, None)), "bad.gguf is damaged: its header does not parse"),
        (lambda data: data.__delitem__(slice(-500, None)), "bad.gguf is damaged"),
    ):
        with pytest.raises(CheckpointError, match=sentence):
            pylm.import_(damaged(change), out="x")
    tensors = Path("out/model.gguf").read_bytes().index(b"blk.0.attn_norm.weight")
    with pytest.raises(CheckpointError, match=r"bad.gguf is damaged: tensor blk\..* begins within the one before it"):
        pylm.import_(damaged(put(tensors + 22 + 4 + 8 + 4, "<Q", 64)), out="x")
    name = b"general.architecture"
    at = Path("out/model.gguf").read_bytes().index(name) + len(name) + 12
    with pytest.raises(CheckpointError, match="is of the architecture bertx; gpt2, llama, qwen3, qwen2 are read"):
        pylm.import_(damaged(lambda data: data.__setitem__(slice(at, at + 5), b"bertx")), out="x")
    random = np.random.default_rng(3)
    header = Path("out/model.gguf").read_bytes().index(b"token_embd") + 40
    for _ in range(40):
        place, value = int(random.integers(24, header)), int(random.integers(256))
        try:
            pylm.import_(damaged(put(place, "<B", value)), out=f"y{place}")
        except PylmError:
            continue
    with pytest.raises(UsageError, match="quantize= is for to='gguf'|quantize= is for to="):
        pylm.export("runs/a", to="hf", out="x", quantize="q8_0")


def test_a_header_of_more_than_100_MB_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs nothing to find, whatever it claims: nothing is made of it."""
    monkeypatch.setitem(sys.modules, "gguf", None)
    start = struct.pack("<4sIQQQ", b"GGUF", 3, 1, 1, 1) + b"x" + struct.pack("<I", 9)
    for array, sentence in (
        (struct.pack("<IQ", 4, 30_000_000), "bad.gguf has a header of more than 100,000,000 bytes, which are the most"),
        (struct.pack("<IQQ", 8, 5, 1 << 62), "bad.gguf has a header of more than 100,000,000 bytes"),
        (struct.pack("<IQ", 8, 1 << 60), "bad.gguf is damaged: its header does not parse"),
        (struct.pack("<IQ", 9, 1 << 60), "bad.gguf is damaged: its header does not parse"),
    ):
        Path("bad.gguf").write_bytes(start + array)
        with pytest.raises(CheckpointError, match=sentence):
            pylm.import_("bad.gguf", out="x")


def test_a_file_s_name_is_no_folder() -> None:
    with pytest.raises(UsageError, match="out= is a folder: model.gguf lies in it") as caught:
        pylm.export(small_run(), to="gguf", out="a.gguf")
    assert caught.value.hint == 'out="a"'


def test_without_the_package_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UsageError) as caught:
        pylm.export(small_run(), to="gguf", out="x")
    assert "the package gguf, which is not installed" in str(caught.value) and caught.value.hint == "pip install gguf"


@pytest.mark.parametrize("name", ["blk.1.attn_k.weight", "blk.0.ffn_down.weight", "blk.0.attn_norm.weight"])
def test_a_tensor_of_other_sizes_is_named(name: str) -> None:
    """It has a row less than its header said: what others would multiply is another matrix."""
    gguf = pytest.importorskip("gguf")
    pylm.export(small_run(), to="gguf", out="out")
    held = next(one for one in gguf.GGUFReader("out/model.gguf").tensors if one.name == name)
    sizes = [int(size) for size in reversed(held.shape)]
    place = held.field.offset + 8 + len(name) + 4 + 8 * (len(sizes) - 1)  # the last of its sizes is that of its rows
    less = [sizes[0] - 1, *sizes[1:]]

    def shorten(data: bytearray) -> None:
        assert struct.unpack_from("<Q", data, place) == (sizes[0],)
        struct.pack_into("<Q", data, place, less[0])

    with pytest.raises(CheckpointError) as caught:
        pylm.import_(damaged(shorten), out="x")
    assert str(caught.value) == f"bad.gguf: {name} is of shape {less}, the model's is {sizes}"
    assert not Path("x").exists()
