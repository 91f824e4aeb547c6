"""Presets: each resolves, and its model has the shape and the size that its name says."""

import pytest

from pylm.config.cascade import resolve
from pylm.config.preset_files import preset_names, preset_path
from pylm.config.shape import complete, count_parameters
from pylm.errors import ConfigError


def shape(preset, vocab_size):
    return complete(resolve(preset=preset, environ={}).config.model, vocab_size)


@pytest.mark.parametrize(
    ("preset", "layers", "heads", "width", "parameters"),
    [
        # as counted in transformers' GPT2LMHeadModel for gpt2, gpt2-medium, gpt2-large and gpt2-xl
        ("gpt2-124m", 12, 12, 768, 124_439_808),
        ("gpt2-350m", 24, 16, 1024, 354_823_168),
        ("gpt2-774m", 36, 20, 1280, 774_030_080),
        ("gpt2-1.5b", 48, 25, 1600, 1_557_611_200),
    ],
)
def test_gpt2_is_gpt2(preset, layers, heads, width, parameters):
    model = shape(preset, 50257)
    assert (model.n_layers, model.n_heads, model.d_model, model.d_ff) == (layers, heads, width, 4 * width)
    assert (model.norm, model.mlp, model.position, model.bias, model.tied) == (
        "layernorm",
        "gelu",
        "learned",
        True,
        True,
    )
    assert model.context_length == 1024
    assert count_parameters(model) == parameters


@pytest.mark.parametrize(
    ("preset", "vocab_size", "named"),
    [("llama-25m", 32000, 25e6), ("llama-110m", 32000, 110e6), ("llama-350m", 32000, 350e6), ("llama-1b", 32000, 1e9),
     ("nue-144m", 32000, 144e6), ("tiny", 4096, 1.4e6)],
)  # fmt: skip
def test_sizes_are_what_the_names_say(preset, vocab_size, named):
    assert count_parameters(shape(preset, vocab_size)) == pytest.approx(named, rel=0.06)


@pytest.mark.parametrize(
    ("preset", "vocab_size", "qk_norm", "parameters"),
    [
        # as counted in transformers 5's LlamaForCausalLM of these shapes, and in Qwen3ForCausalLM where qk_norm is on
        ("llama-110m", 32000, False, 109_529_856),
        ("llama-1b", 32000, False, 1_017_202_688),
        ("llama-25m", 4096, False, 15_735_168),
        ("llama-25m", 4096, True, 15_735_168 + 8 * 2 * 64),
    ],
)
def test_llama_is_llama(preset, vocab_size, qk_norm, parameters):
    assert count_parameters(shape(preset, vocab_size).model_copy(update={"qk_norm": qk_norm})) == parameters


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_every_preset_resolves_and_shares_its_batch(preset, world):
    config = resolve("train", preset, environ={}).config
    assert config.batch(world).tokens == config.train.batch_tokens
    assert config.batch(world).tokens % (config.model.context_length * world) == 0
    assert preset_path(preset).read_text().splitlines()[-1].strip()


def test_all_that_are_promised_are_there_and_a_wrong_one_is_answered():
    promised = (
        "tiny gpt2-124m gpt2-350m gpt2-774m gpt2-1.5b llama-25m llama-110m llama-350m llama-1b speed speed-portable "
        "nue-144m"
    ).split()
    assert set(promised) <= set(preset_names())
    assert resolve(preset="GPT2_124M", environ={}).config.model.n_layers == 12
    with pytest.raises(ConfigError, match="no such preset: gpt-124m") as caught:
        resolve(preset="gpt-124m", environ={})
    assert "gpt2-124m" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        preset_path("../presets/tiny")
    assert "there are" in caught.value.hint or "did you mean" in caught.value.hint


def test_a_shape_is_completed():
    model = shape("llama-350m", 1000)
    assert (model.n_kv_heads, model.d_ff, model.vocab_size) == (16, 2752, 1000)
    for given_, expected in ((1000, 1000), (None, 1000)):
        assert complete(model.model_copy(update={"vocab_size": given_}), 1000).vocab_size == expected
    with pytest.raises(ConfigError, match="vocab_size 999 .* 1000"):
        complete(model.model_copy(update={"vocab_size": 999}), 1000)
    with pytest.raises(ConfigError, match="n_layers"):
        complete(resolve(environ={}).config.model, 1000)
