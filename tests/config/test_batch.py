"""batch_tokens, micro_batch and grad_accum_steps: two fix the third."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylm.config.batch import Batch, plan_batch
from pylm.config.cascade import Setting, resolve
from pylm.errors import ConfigError

small = st.integers(1, 12)


@given(small, small, small, small)
def test_any_two_fix_the_third(micro, accum, context, world):
    tokens = micro * accum * context * world
    whole = Batch(tokens, micro, accum)
    assert plan_batch(tokens, micro, None, context, world) == whole
    assert plan_batch(tokens, None, accum, context, world) == whole
    assert plan_batch(None, micro, accum, context, world) == whole
    assert plan_batch(tokens, micro, accum, context, world) == whole
    assert plan_batch(tokens, micro, accum, context, None) == whole


@given(st.integers(1, 500), small, small, small, small)
def test_a_plan_is_exact_or_refused(tokens, micro, accum, context, world):
    exact = tokens == micro * accum * context * world
    try:
        made = plan_batch(tokens, micro, accum, context, world)
    except ValueError as error:
        assert not exact and str(tokens) in str(error)
    else:
        assert exact and made == Batch(tokens, micro, accum)
    try:
        made = plan_batch(tokens, micro, None, context, world)
        assert made.grad_accum_steps * micro * context * world == tokens
    except ValueError:
        assert tokens % (micro * context * world)


@pytest.mark.parametrize(
    ("tokens", "given_", "nearest"),
    [(1024, {"micro_batch": 1}, "960 or 1152"), (1024, {"grad_accum_steps": 2}, "768 or 1152"),
     (64, {"micro_batch": 1}, "192")],
)  # fmt: skip
def test_a_step_that_is_not_shared_evenly_is_refused_with_the_nearest_that_are(tokens, given_, nearest):
    with pytest.raises(ValueError, match=f"nearest that it does: {nearest}$"):
        plan_batch(tokens, given_.get("micro_batch"), given_.get("grad_accum_steps"), 64, 3)


def test_one_alone_leaves_the_rest_open():
    assert plan_batch(None, None, None, 8, 1) == Batch(None, None, None)
    assert plan_batch(None, 4, None, 8, 1) == Batch(None, 4, None)
    assert plan_batch(64, None, None, 8, 1) == Batch(64, None, None)


def settings(**given_):
    return [Setting(key, str(value), f"--{key}") for key, value in given_.items()]


def test_a_conflict_of_one_layer_is_an_error():
    with pytest.raises(ConfigError, match=r"make 12288 tokens .* not batch_tokens 8192.*--batch_tokens"):
        resolve(settings=settings(micro_batch=3, grad_accum_steps=2, batch_tokens=8192, n_layers=2), environ={})
    with pytest.raises(ConfigError, match="no multiple of context_length 768: the nearest that are: 523776 or 524544"):
        resolve(preset="gpt2-124m", settings=settings(context_length=768), environ={})


def test_what_was_not_said_conflicts_with_nothing():
    """A shape that is open will derive its context: 3,584 is no multiple of the 2,048 that stand there until then."""
    assert resolve(settings=settings(batch_tokens=3584), environ={}).config.train.batch_tokens == 3584
    for said in ({"context_length": 2048}, {"n_layers": 2}):
        with pytest.raises(ConfigError, match="batch_tokens 3584 is no multiple of context_length 2048"):
            resolve(settings=settings(batch_tokens=3584, **said), environ={})


def test_two_given_later_outvote_the_presets_third():
    resolved = resolve(preset="gpt2-124m", settings=settings(micro_batch=3, grad_accum_steps=2), environ={})
    assert resolved.config.train.batch_tokens is None
    assert resolved.config.batch(world=1) == Batch(6144, 3, 2)
    assert resolved.origin("train.batch_tokens") == "default"
    one = resolve(preset="gpt2-124m", settings=settings(micro_batch=4), environ={}).config
    assert one.batch(world=2) == Batch(524288, 4, 64)
