"""Files of torch.save, of the plain modules of each program: they compute the same once they are in, or are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import pylm
from pylm.checkpoint import open_weights, read_tensors
from pylm.errors import CheckpointError
from pylm.interchange import torch_in
from pylm.interchange.pickle_child import main as child
from pylm.interchange.pickled import Unpickled
from pylm.model.torch import load

WIDTH, HEADS, VOCABULARY, CONTEXT = 32, 4, 90, 24
IDX = torch.randint(0, VOCABULARY, (2, 20), generator=torch.Generator().manual_seed(5))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child does is done here: it would import torch anew for each of these files."""

    def unpickled(file: Path, made: Path) -> Unpickled:
        said = child(str(file), str(made))
        return Unpickled(read_tensors(made), said["beside"])

    monkeypatch.setattr(torch_in, "unpickled", unpickled)


def drawn(module: nn.Module, seed: int = 3) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            centre = 1.0 if parameter.dim() == 1 else 0.0
            parameter.copy_(centre + torch.empty(parameter.shape).normal_(0, 0.3, generator=generator))
    return module.eval()


def linear(inside: int, outside: int, bias: bool = False) -> nn.Linear:
    return nn.Linear(inside, outside, bias=bias)


def modules(**named: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict(named)


def attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Causal attention of heads [B, T, H, D], its heads side by side."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


def rotated(x: torch.Tensor, base: float, sign: int = 1) -> torch.Tensor:
    """RoPE of heads [B, T, H, D], the two of a pair half a head apart; nanochat turns them the other way."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[1])[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos()[:, None], sign * angles.sin()[:, None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Nanochat(nn.Module):
    """The class of nanochat's files: no gains, RoPE by -theta, then a norm of the heads."""

    def __init__(self, kv_heads: int = 2, rows: int = 128, lambdas: bool = False) -> None:
        super().__init__()
        head = WIDTH // HEADS
        blocks = [
            modules(
                attn=modules(c_q=linear(WIDTH, WIDTH), c_k=linear(WIDTH, kv_heads * head),
                             c_v=linear(WIDTH, kv_heads * head), c_proj=linear(WIDTH, WIDTH)),
                mlp=modules(c_fc=linear(WIDTH, 4 * WIDTH), c_proj=linear(4 * WIDTH, WIDTH)),
            )
            for _ in range(3)
        ]  # fmt: skip
        self.transformer = modules(wte=nn.Embedding(rows, WIDTH), h=nn.ModuleList(blocks))
        self.lm_head = linear(WIDTH, rows)
        if lambdas:
            self.resid_lambdas, self.x0_lambdas = nn.Parameter(torch.empty(3)), nn.Parameter(torch.empty(3))
        self.lambdas = lambdas

    def forward(self, idx: torch.Tensor) -> torch.Tensor:
        x = first = self.norm(self.transformer["wte"](idx))
        for layer, block in enumerate(self.transformer["h"]):
            if self.lambdas:
                x = self.resid_lambdas[layer] * x + self.x0_lambdas[layer] * first
            h, attn = self.norm(x), block["attn"]
            q, k, v = (attn[f"c_{one}"](h).unflatten(2, (-1, WIDTH // HEADS)) for one in "qkv")
            q, k = (self.norm(rotated(one, 10000.0, -1)) for one in (q, k))
            x = x + attn["c_proj"](attended(q, k, v))
            x = x + block["mlp"]["c_proj"](F.relu(block["mlp"]["c_fc"](self.norm(x))).square())
        return 15 * torch.tanh(self.lm_head(self.norm(x))[..., :VOCABULARY] / 15)

    @staticmethod
    def norm(x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (x.shape[-1],))


def meta(kv_heads: int = 2, **more: Any) -> dict[str, Any]:
    sizes = {"sequence_len": CONTEXT, "vocab_size": VOCABULARY, "n_layer": 3, "n_head": HEADS, "n_kv_head": kv_heads}
    return {"step": 11, "model_config": {**sizes, "n_embd": WIDTH, **more}, "val_bpb": 1.0}


def nanochat_folder(tensors: dict[str, torch.Tensor], settings: dict[str, Any], folder: str = "base") -> str:
    Path(folder).mkdir()
    torch.save({}, f"{folder}/model_000002.pt")  # an older one
    torch.save({f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}, f"{folder}/model_000011.pt")
    Path(folder, "meta_000011.json").write_text(json.dumps(settings))
    return folder


def apart(folder: str, theirs: nn.Module) -> float:
    with torch.no_grad():
        ours, wanted = load(open_weights(folder)).eval()(IDX), theirs(IDX)
    assert ours.shape == wanted.shape
    return float((ours - wanted).abs().max() / wanted.std())


def test_nanochats_newest_file_comes_in_by_a_child_and_goes_to_transformers() -> None:
    theirs = drawn(Nanochat())
    made = pylm.import_(nanochat_folder(theirs.state_dict(), meta()), out="in")
    assert made.step == 11 and made.state["imported"]["format"] == "nanochat"
    assert made.weights()["embed.weight"].shape == (VOCABULARY, WIDTH)  # without its padding
    assert apart("in", theirs) < 1e-5
    pylm.export("in", to="nanochat", out="out")
    from transformers import NanoChatForCausalLM

    with torch.no_grad():
        peer = NanoChatForCausalLM.from_pretrained("out", dtype=torch.float32).eval()(IDX).logits
        assert (peer - theirs(IDX)).abs().max() / peer.std() < 1e-5


@pytest.mark.usefixtures("at_once")
def test_lambdas_are_taken() -> None:
    theirs = drawn(Nanochat(kv_heads=4, lambdas=True))
    pylm.import_(nanochat_folder(theirs.state_dict(), meta(4, window_pattern="L")), out="in")
    assert apart("in", theirs) < 1e-5
    with pytest.raises(pylm.errors.ConfigError, match="nanochat's class has no residual_lambdas true"):
        pylm.export("in", to="nanochat", out="out")


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("tensors", "settings", "sentence"),
    [
        ({"value_embeds.2.weight": (90, 16)}, {}, r"it holds value_embeds.2.weight: value embeddings behind gates"),
        ({"smear_gate.weight": (1, 24)}, {}, "it holds smear_gate.weight: smeared embeddings"),
        ({}, {"window_pattern": "SSSL"}, "its model_config says window_pattern SSSL"),
        ({}, {"n_head": None}, "its model_config names no n_head"),
        ({}, {"n_head": 0}, "its model_config describes no model that fits: n_heads 0 is less than 1"),
        ({}, {"n_head": 3}, "its model_config describes no model that fits: d_model 32 is no multiple of n_heads 3"),
        ({}, {"vocab_size": 129}, "its model_config says vocab_size 129, and its wte has 128 rows"),
        ({}, {"vocab_size": -1}, "its model_config says vocab_size -1, and its wte has 128 rows"),
        ({"x0_lambdas": (3,)}, {}, "its resid_lambdas and x0_lambdas are not two vectors of 3 numbers"),
        ({"resid_lambdas": (3,), "x0_lambdas": (4,)}, {}, "are not two vectors of 3 numbers"),
        (
            {"transformer.h.1.mlp.c_fc.weight": (100, 32)},
            {},
            r"transformer.h.1.mlp.c_fc.weight is of shape \[100, 32\]",
        ),
        ({"transformer.h.1.mlp.c_fc.weight": None}, {}, "it lacks transformer.h.1.mlp.c_fc.weight"),
        ({"transformer.extra": (3,)}, {}, "the weights hold transformer.extra"),
    ],
)
def test_what_is_not_the_nanochat_that_is_read_is_refused_by_name(
    tensors: dict[str, Any], settings: dict[str, Any], sentence: str
) -> None:
    held = drawn(Nanochat()).state_dict() | {
        name: None if size is None else torch.zeros(size) for name, size in tensors.items()
    }
    source = nanochat_folder({name: tensor for name, tensor in held.items() if tensor is not None}, meta(**settings))
    with pytest.raises(CheckpointError, match=sentence) as caught:
        pylm.import_(source, out="in")
    assert "model_000011.pt: " in str(caught.value) and not Path("in").exists()


class Gpt(nn.Module):
    """GPT-2's blocks with whatever names a program gives them; GELU in its tanh form, which ours computes."""

    def __init__(self, names: dict[str, str], tied: bool = True, rope: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        self.names, self.rope, self.eps = names, rope, eps
        sizes: dict[str, nn.Module] = {"embed": nn.Embedding(VOCABULARY, WIDTH), "norm": nn.LayerNorm(WIDTH, eps)}
        if not rope:
            sizes["position"] = nn.Embedding(CONTEXT, WIDTH)
        for layer in range(2):
            made = {
                "ln1": nn.LayerNorm(WIDTH, eps),
                "qkv": linear(WIDTH, 3 * WIDTH, True),
                "out": linear(WIDTH, WIDTH, True),
                "ln2": nn.LayerNorm(WIDTH, eps),
                "up": linear(WIDTH, 4 * WIDTH, True),
                "down": linear(4 * WIDTH, WIDTH, True),
            }
            sizes |= {f"{layer}.{name}": module for name, module in made.items()}
        sizes["head"] = linear(WIDTH, VOCABULARY)
        self.held = nn.ModuleDict({name.replace(".", "_"): module for name, module in sizes.items()})
        if tied:
            self.held["head"].weight = self.held["embed"].weight

    def tensors(self) -> dict[str, torch.Tensor]:
        named = {}
        for name, tensor in self.state_dict().items():
            part, _, kind = name.removeprefix("held.").partition(".")
            layer, _, inner = part.partition("_")
            named[f"{self.names[inner or layer].replace('N', layer)}.{kind}"] = tensor
        return named

    def forward(self, idx: torch.Tensor) -> torch.Tensor:
        x = self.held["embed"](idx)
        x = x if self.rope else x + self.held["position"].weight[: idx.shape[1]]
        for layer in range(2):
            part = {name: self.held[f"{layer}_{name}"] for name in ("ln1", "qkv", "ln2", "out", "up", "down")}
            q, k, v = (one.unflatten(2, (HEADS, -1)) for one in part["qkv"](part["ln1"](x)).split(WIDTH, 2))
            if self.rope:
                q, k = rotated(q, 500.0), rotated(k, 500.0)
            x = x + part["out"](attended(q, k, v))
            x = x + part["down"](F.gelu(part["up"](part["ln2"](x)), approximate="tanh"))
        return self.held["head"](self.held["norm"](x))


NASH = {"embed": "token_emb", "position": "pos_emb", "norm": "ln_f", "head": "lm_head", "ln1": "blocks.N.ln1",
        "qkv": "blocks.N.attn.qkv", "out": "blocks.N.attn.out_proj", "ln2": "blocks.N.ln2", "up": "blocks.N.ff.fc1",
        "down": "blocks.N.ff.fc2"}  # fmt: skip
SCRATCH = {"embed": "token_embedding.embedding", "position": "position_embedding.embedding", "norm": "ln_f",
           "head": "lm_head", "ln1": "blocks.N.ln_1", "qkv": "blocks.N.attn.c_attn", "out": "blocks.N.attn.c_proj",
           "ln2": "blocks.N.ln_2", "up": "blocks.N.mlp.c_fc", "down": "blocks.N.mlp.c_proj"}  # fmt: skip
MICRO = {"embed": "transformer.wte", "position": "transformer.wpe", "norm": "transformer.ln_f", "head": "lm_head",
         "ln1": "transformer.h.N.ln_1", "qkv": "transformer.h.N.attn.c_attn", "out": "transformer.h.N.attn.c_proj",
         "ln2": "transformer.h.N.ln_2", "up": "transformer.h.N.mlp.c_fc",
         "down": "transformer.h.N.mlp.c_proj"}  # fmt: skip


def nash(model: Gpt) -> str:
    mask = {"blocks.0.attn.mask": torch.ones(1, 1, CONTEXT, CONTEXT)}
    config = {"model": {"n_heads": HEADS, "d_model": WIDTH}, "train": {"learning_rate": 1e-3}}
    torch.save({"step": 9, "model_state_dict": {**model.tensors(), **mask}, "config": config, "metrics": {}}, "best.pt")
    return "best.pt"


def scratch(model: Gpt) -> str:
    mask = {"blocks.1.attn.bias": torch.ones(1, 1, CONTEXT, CONTEXT)}
    config = {"n_heads": HEADS, "n_embd": WIDTH, "block_size": CONTEXT}
    torch.save({"model_state_dict": {**model.tensors(), **mask}, "config": config, "step": 9, "loss": 3.0}, "m.pt")
    return "m.pt"


def micro(model: Gpt) -> str:
    Path("micro").mkdir()
    tables = {f"transformer.h.0.attn.rope.positions_{one}": torch.ones(1, 1, CONTEXT, 8) for one in ("sin", "cos")}
    torch.save({**model.tensors(), **(tables if model.rope else {})}, "micro/model.pt")
    settings = {"n_heads": HEADS, "use_rope": model.rope, "max_seq_len": CONTEXT, "rope_theta": 500.0}
    Path("micro/model.json").write_text(json.dumps(settings))
    return "micro"


OLDER: dict[str, tuple[Any, dict[str, str], dict[str, Any]]] = {
    "nash-llm": (nash, NASH, {}),
    "buildingLLMFromScratch": (scratch, SCRATCH, {"tied": False}),
    "microgpt": (micro, MICRO, {"rope": True, "eps": 1e-6}),
    "microgpt, positions in a table": (micro, MICRO, {"eps": 1e-6}),
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("name", OLDER)
def test_an_older_tools_file_computes_the_same(name: str) -> None:
    save, names, options = OLDER[name]
    theirs = drawn(Gpt(names, **options))
    made = pylm.import_(save(theirs), out="in")
    assert made.state["imported"]["format"] == name.split(",")[0] and made.step == (0 if "micro" in name else 9)
    assert apart("in", theirs) < 1e-5


@pytest.mark.usefixtures("at_once")
def test_a_misfit_of_an_older_tool_lists_names_and_sizes() -> None:
    save, names, _ = OLDER["nash-llm"]
    model = drawn(Gpt(names))
    save(model)
    whole = torch.load("best.pt", weights_only=True)
    for changes, sentence in (
        ({"blocks.0.ff.fc2.weight": torch.zeros(9, 128)}, r"blocks.0.mlp.down.weight is of shape \[9, 128\], the"),
        ({"blocks.0.gate": torch.zeros(3)}, "it holds blocks.0.gate, which nash-llm's class does not have"),
        ({"lm_head.weight": torch.zeros(VOCABULARY, WIDTH)}, "its lm_head is another matrix than its embedding"),
    ):
        torch.save({**whole, "model_state_dict": {**whole["model_state_dict"], **changes}}, "bad.pt")
        with pytest.raises(CheckpointError, match=f"bad.pt: .*{sentence}") as caught:
            pylm.import_("bad.pt", out="x")
        hint = caught.value.marked[1]
        assert (
            hint is not None
            and "its tensors: token_emb.weight [90, 32], " in hint
            and "pos_emb.weight [24, 32]" in hint
        )
    flat = {**whole["model_state_dict"], "token_emb.weight": torch.zeros(9)}
    rope = {"n_heads": 4, "use_rope": True, "rope_theta": 1e4}
    for other, sentence in (
        ({"config": {}}, "its config names no n_heads"),
        ({"config": {**rope, "max_seq_len": "long"}}, "its config describes no model that fits: context_length 'long'"),
        ({"config": {**rope, "max_seq_len": 8, "rope_theta": -1}}, "its config describes no model that fits: rope_the"),
        ({"model_state_dict": flat}, r"its token_emb.weight is of shape \[9\], and no matrix"),
    ):
        torch.save({**whole, **other}, "bad.pt")
        with pytest.raises(CheckpointError, match=f"bad.pt: {sentence}"):
            pylm.import_("bad.pt", out="x")


@pytest.mark.usefixtures("at_once")
def test_settings_of_nanochat_that_are_no_settings() -> None:
    folder = nanochat_folder(drawn(Nanochat()).state_dict(), {"model_config": [1]})
    with pytest.raises(CheckpointError, match="its model_config names no n_layer"):
        pylm.import_(folder, out="in")


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("tensor", "sentence"),
    [
        ("tok_emb.weight", "it is nue's, whose blocks replace the stream by its norm"),
        ("token_embedding.weight", "it is of Self-Attention-Implementation's torch class, whose RoPE"),
    ],
)
def test_classes_that_compute_what_ours_do_not_are_refused_with_the_reason(tensor: str, sentence: str) -> None:
    torch.save({"model_state": {tensor: torch.zeros(9, 4), "head.weight": torch.zeros(9, 4)}, "epoch": 1}, "x.pt")
    with pytest.raises(CheckpointError, match=f"x.pt: {sentence}"):
        pylm.import_("x.pt", out="in")
