"""The torch model: values and gradients against a plain one in float64, whatever its fields say."""

import math
import zlib

import pytest
import torch
from torch._dynamo.utils import counters

from pylm.config.cascade import resolve
from pylm.config.preset_files import preset_names
from pylm.config.schema import Model as Shape
from pylm.config.shape import complete, count_parameters
from pylm.errors import CheckpointError, UsageError
from pylm.model.torch import Model
from pylm_kernels.operands import documents
from tests.model import plain

VOCAB = 101
GPT2 = {"norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True}
SPEED = {"mlp": "relu2", "qk_norm": True, "tied": False, "logit_softcap": 3, "value_embeddings": True,
         "residual_lambdas": True}  # fmt: skip
SHAPES: dict[str, dict[str, object]] = {
    "llama": {},
    "gqa": {"n_kv_heads": 2},
    "mqa, untied": {"n_kv_heads": 1, "tied": False},
    "gpt2": GPT2,
    "nue": {"norm": "layernorm", "mlp": "gelu"},
    "qwen3": {"qk_norm": True, "n_kv_heads": 2, "rope_theta": 500.0},
    "no positions": {"position": "none"},
    "no positions, qk_norm": {"position": "none", "qk_norm": True, "n_kv_heads": 2},
    "learned, qk_norm, biases": {"position": "learned", "qk_norm": True, "bias": True},
    "window": {"window": 5},
    "caps": {"attention_softcap": 2.0, "logit_softcap": 1.5},
    "speed": SPEED,
    "speed, gqa, window": {**SPEED, "n_kv_heads": 2, "window": 7, "n_layers": 2},
    "nanochat": {"mlp": "relu2", "qk_norm": True, "norm_gain": False, "embed_norm": True, "tied": False,
                 "logit_softcap": 3, "n_kv_heads": 2},
    "no gains, no positions": {"position": "none", "qk_norm": True, "norm_gain": False},
    "learned positions, then a norm": {**GPT2, "embed_norm": True},
    "all at once": {**SPEED, "position": "learned", "norm": "layernorm", "bias": True, "attention_softcap": 5,
                    "mlp": "swiglu", "d_ff": 40, "tied": True, "window": 9, "embed_norm": True},
}  # fmt: skip


def shape(vocab_size: int = VOCAB, **fields: object) -> Shape:
    given = {"n_layers": 3, "n_heads": 4, "d_model": 64, "context_length": 32, **fields}
    return complete(Shape.model_validate(given), vocab_size)


def made(dtype: torch.dtype = torch.float32, **fields: object) -> Model:
    """A model whose weights are all far from their start, gains, biases and lambdas too."""
    generator = torch.Generator().manual_seed(zlib.crc32(str(fields).encode()))
    model = Model(shape(**fields), generator=generator).to(dtype)
    for weight in model.weights().values():
        weight += torch.empty(weight.shape).normal_(0, 0.2, generator=generator)
    return model


def tokens(batch: int = 2, time: int = 14) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch * 100 + time)
    idx, targets = torch.randint(0, VOCAB, (2, batch, time), generator=generator)
    targets[0, 3] = targets[-1, -1] = -100
    return idx, targets


def plain_loss(model: Model, weights: dict[str, torch.Tensor], cu_seqlens: torch.Tensor | None = None) -> torch.Tensor:
    idx, targets = tokens()
    logits = plain.logits(model.shape, weights, idx, cu_seqlens)
    chosen = targets != -100
    return (logits.logsumexp(-1) - logits.gather(-1, targets.clamp(min=0)[..., None])[..., 0])[chosen].mean()


@pytest.mark.parametrize("documents", [None, [0, 5, 6, 19, 28]], ids=["whole rows", "documents"])
@pytest.mark.parametrize("name", SHAPES)
def test_values_and_gradients_are_the_plain_ones(name: str, documents: list[int] | None) -> None:
    model = made(torch.float64, **SHAPES[name])
    idx, targets = tokens()
    ends = None if documents is None else torch.tensor(documents)
    weights = {name: weight.clone().requires_grad_() for name, weight in model.weights().items()}
    expected = plain.logits(model.shape, weights, idx, ends)
    logits, loss = model(idx, targets, cu_seqlens=ends)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-9)
    expected_loss = plain_loss(model, weights, ends)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-9, atol=1e-9)
    expected_loss.backward()
    for way in (lambda: model(idx, targets, cu_seqlens=ends)[1], lambda: model.loss(idx, targets, ends)):
        model.zero_grad()
        loss = way()
        torch.testing.assert_close(loss, expected_loss, rtol=1e-9, atol=1e-9)
        loss.backward()
        for name, parameter in model.named_parameters():
            real = parameter.grad if name not in ("embed.weight", "head.weight") else parameter.grad[:VOCAB]
            torch.testing.assert_close(
                real, weights[name].grad, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize(
    ("name", "dtype", "bound"),
    [*((name, torch.float32, 2e-5) for name in SHAPES)]
    + [(name, torch.bfloat16, 0.06) for name in ("llama", "gpt2", "qwen3", "all at once")],
)
def test_the_kernels_of_this_machine_give_the_plain_values(name: str, dtype: torch.dtype, bound: float) -> None:
    model = made(dtype, **SHAPES[name])
    weights = {name: weight.double().requires_grad_() for name, weight in model.weights().items()}
    expected = plain_loss(model, weights)
    expected.backward()
    loss = model.loss(*tokens())
    loss.backward()
    assert abs(loss.item() - expected.item()) < bound * expected.item()
    for name, parameter in model.named_parameters():
        if "lambdas" in name and dtype == torch.bfloat16:
            continue  # two sums of thousands of terms of both signs: their roundings stay, the terms do not
        right, found = weights[name].grad, parameter.grad.double()[: len(weights[name])]
        assert (found - right).norm() < 2 * bound * right.norm() + 1e-9, name


@pytest.mark.parametrize("cuts", [[14], [1] * 14, [5, 1, 3, 1, 4]], ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_decoding_from_a_cache_is_reading_it_all_at_once(name: str, cuts: list[int]) -> None:
    model = made(torch.float64, **SHAPES[name]).eval()
    idx, _ = tokens()
    with torch.no_grad():
        expected, cache, at = model(idx), plain.PlainCache(), 0
        for cut in cuts:
            found = model(idx[:, at : at + cut], cache=cache)
            at += cut
            torch.testing.assert_close(found, expected[:, at - 1], rtol=1e-9, atol=1e-9)


# torch's tracer looks at the gradients of what it is given, and warns itself that it does
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("name", ["llama", "gpt2", "all at once"])
def test_a_block_compiles_whole(name: str) -> None:
    model, other = made(**SHAPES[name]), made(**SHAPES[name])
    for block in other.blocks:
        block.compile(fullgraph=True, backend="aot_eager")
    idx, targets = tokens()
    for each in (model, other):
        each.loss(idx, targets).backward()
    for (name, parameter), compiled in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(compiled.grad, parameter.grad, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("name", ["gqa", "gpt2"])
def test_packed_windows_never_recompile_a_block(name: str) -> None:
    torch._dynamo.reset()
    counters.clear()
    model, other = made(**SHAPES[name]), made(**SHAPES[name])
    for block in other.blocks:
        block.compile(fullgraph=True, dynamic=False, backend="aot_eager")
    idx, targets = tokens()
    for count in range(10):
        ends = torch.tensor([0, *range(3, 3 + count), 28])
        expected, found = (each.loss(idx, targets, ends) for each in (model, other))
        torch.testing.assert_close(found, expected)
        torch.autograd.backward([found, expected])
    # the first block, whose norm has nothing to add, and one for all the others
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"] and not counters["recompiles"]


def test_documents_are_looked_up_once_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    plain_check = documents.check_edges
    monkeypatch.setattr(documents, "check_edges", lambda *given: (looked.append(1), plain_check(*given)))
    model, (idx, targets) = made(), tokens()
    model.loss(idx, targets, torch.tensor([0, 5, 28]))
    assert len(looked) == 1 < len(model.blocks)


def test_a_loaders_memory_that_is_refilled_gives_the_new_documents() -> None:
    model, (idx, _) = made(torch.float64), tokens()
    ends = torch.tensor([0, 5, 28])
    for edges in ([0, 5, 28], [0, 20, 28]):
        ends.numpy()[:] = edges
        expected = plain.logits(model.shape, model.weights(), idx, torch.tensor(edges))
        torch.testing.assert_close(model(idx, cu_seqlens=ends), expected, rtol=1e-9, atol=1e-9)


def test_fused_attention_is_refused_where_nothing_computes_it() -> None:
    model = made(attention="fused").to("meta")
    with pytest.raises(UsageError, match="attention: fused has no kernel for torch on meta") as refused:
        model(torch.empty((1, 4), dtype=torch.int64, device="meta"))
    assert refused.value.hint == "take attention: auto"


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_that_the_shape_counts(name: str) -> None:
    model = made(**SHAPES[name])
    assert sum(weight.numel() for weight in model.weights().values()) == count_parameters(model.shape)


def test_the_padding_is_never_seen() -> None:
    for tied in (True, False):
        model = made(tied=tied)
        table = model.embed if tied else model.head
        assert table.weight.shape == (128, 64)
        assert torch.equal(table.weight[VOCAB:], torch.zeros(27, 64))
        assert model(tokens()[0]).shape[-1] == VOCAB
        model.loss(*tokens()).backward()
        assert torch.equal(table.weight.grad[VOCAB:], torch.zeros(27, 64))
        with pytest.raises(UsageError, match="0 to 101 leave the vocabulary of 101"):
            model(torch.tensor([[0, VOCAB]]))
        with torch.no_grad():
            table.weight[VOCAB:] = 100.0
        torch.testing.assert_close(model.loss(*tokens()), model(*tokens())[1])
    draws = [Model(shape(vocab), generator=torch.Generator().manual_seed(3)).weights() for vocab in (128, 128)]
    assert all(torch.equal(draws[0][name], draws[1][name]) for name in draws[0])


def test_weights_come_and_go() -> None:
    model, other = made(**SPEED), Model(shape(**SPEED)).to(torch.bfloat16)
    other.load_weights(model.weights())
    for name, weight in other.weights().items():
        assert torch.equal(weight, model.weights()[name].bfloat16())
    weights = dict(model.weights())
    with pytest.raises(CheckpointError, match=r"the model has no extra"):
        model.load_weights({**weights, "extra": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"norm.weight is of shape \[3\], the model's is \[64\]"):
        model.load_weights({**weights, "norm.weight": torch.ones(3)})
    with pytest.raises(CheckpointError, match=r"the weights lack norm.weight"):
        model.load_weights({name: weight for name, weight in weights.items() if name != "norm.weight"})


def test_the_start_is_small_and_scaled_by_the_depth() -> None:
    model = Model(shape(n_layers=8, vocab_size=1000, d_model=128), generator=torch.Generator().manual_seed(0))
    block = model.blocks[3]
    for matrix, std in (
        (model.embed.weight[:VOCAB], 0.02),
        (block.attention.qkv.weight, 0.02),
        (block.mlp.gate.weight, 0.02),
        (block.attention.out.weight, 0.02 / 4),
        (block.mlp.down.weight, 0.02 / 4),
    ):
        assert matrix.std().item() == pytest.approx(std, rel=0.05)
    idx, targets = tokens()
    assert model.loss(idx, targets).item() == pytest.approx(math.log(1000), rel=0.05)
    speed = Model(shape(zero_init=True, **SPEED))
    assert not speed.blocks[0].attention.out.weight.any() and not speed.blocks[2].mlp.down.weight.any()
    assert speed.loss(idx, targets).item() == pytest.approx(math.log(VOCAB), rel=1e-3)


def test_dropout_drops_in_training_alone() -> None:
    model, idx = made(dropout=0.5), tokens()[0]
    assert not torch.equal(model(idx), model(idx))
    model.eval()
    assert torch.equal(model(idx), model(idx))
    torch.testing.assert_close(model(idx), made(dropout=0.5).eval()(idx))


def test_attention_is_computed_by_what_was_asked_for() -> None:
    idx = tokens()[0]
    for field in ("sdpa", "reference"):
        torch.testing.assert_close(made(attention=field).double()(idx).shape, (2, 14, VOCAB))
    with pytest.raises(ValueError, match="soft cap"):
        made(attention="sdpa", attention_softcap=3.0)(idx)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(UsageError, match="33 tokens are more than the model's context_length 32"):
        made()(torch.zeros(1, 33, dtype=torch.int64))
    with pytest.raises(UsageError, match="open"):
        Model(Shape(n_layers=2, n_heads=2, d_model=64))


@pytest.mark.parametrize("preset", preset_names())
def test_presets_build_and_have_the_parameters_that_are_counted(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "to_empty", lambda self, device: self)  # they stay without memory
    monkeypatch.setattr(Model, "_initialise", lambda self, generator: None)
    model = Model(complete(resolve(preset=preset, environ={}).config.model, 50257))
    assert sum(weight.numel() for weight in model.weights().values()) == count_parameters(model.shape)
