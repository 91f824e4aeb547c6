"""What one dial derives fits together, yields to what was given, and is no larger than there is time for."""

import pytest

from pylm.config.cascade import Setting, resolve
from pylm.config.depth import derive, for_machine, still_open
from pylm.config.shape import complete, count_parameters
from pylm.wording import in_options


def settings(values):
    return [Setting(key, value, "--depth") for key, value in values.items()]


@pytest.mark.parametrize("depth", range(1, 65))
def test_every_depth_is_a_configuration_whose_batches_fit(depth):
    values = derive(depth)
    config = resolve("train", settings=settings(values), environ={}).config
    assert config.model.n_layers == depth
    assert config.model.d_model // config.model.n_heads in (64, 128)
    for world in (1, 2, 4, 8):
        assert config.batch(world).tokens == config.train.batch_tokens
    blocks = count_parameters(complete(config.model, 1)) - config.model.d_model
    assert config.train.max_tokens == pytest.approx(20 * blocks, rel=0.12)


def test_sizes_rates_and_batches_are_those_that_the_field_uses():
    values = derive(12)
    assert (values["model.d_model"], values["model.n_heads"], values["model.context_length"]) == (768, 12, 1024)
    assert values["train.learning_rate"] == 6e-4
    assert values["train.batch_tokens"] == 2**19
    assert values["train.max_tokens"] == 20 * 12 * 12 * 768**2
    grown = [derive(depth) for depth in range(1, 40)]
    for key, sign in (("train.learning_rate", -1), ("train.batch_tokens", 1), ("train.max_tokens", 1)):
        assert all(sign * (after[key] - before[key]) >= 0 for before, after in zip(grown, grown[1:], strict=False))
    assert derive(12, text=1_000_000)["train.max_tokens"] == 4_000_000
    assert derive(12, text=1_000_000)["train.batch_tokens"] == 8 * 1024
    assert derive(3, text=0)["train.max_tokens"] == 1


@pytest.mark.parametrize(
    ("given", "gone", "batch"),
    [
        ({}, set(), 131072),
        ({"train.learning_rate": 1}, {"train.learning_rate"}, 131072),
        ({"train.max_time": "5m"}, {"train.max_tokens"}, 131072),
        ({"train.batch_tokens": 2048 * 3}, {"train.batch_tokens"}, 2048 * 3),
        ({"model.context_length": 1000}, {"model.context_length"}, 131000),
        ({"train.micro_batch": 3}, set(), 512 * 3 * 85),
        ({"train.micro_batch": 3, "train.grad_accum_steps": 5}, {"train.batch_tokens"}, None),
        ({"model.n_layers": 9}, {"model.n_layers"}, 131072),
    ],
)
def test_what_was_given_holds(given, gone, batch):
    typed = [Setting(key, value, "typed") for key, value in given.items()]
    values = still_open(derive(6), resolve("train", settings=typed, environ={}))
    assert derive(6).keys() - values.keys() == gone
    config = resolve("train", settings=settings(values) + typed, environ={}).config
    assert config.train.batch_tokens == batch
    for key, value in given.items():
        section, _, name = key.partition(".")
        assert getattr(getattr(config, section), name) == (300 if value == "5m" else value)


def test_a_machine_gets_what_it_has_time_and_text_for():
    assert for_machine(60, 1e11, 10**6, 4096).depth == 2
    minutes = [for_machine(seconds, 3e12, 10**9, 4096) for seconds in (60, 600, 6000, 60000)]
    assert [choice.depth for choice in minutes] == sorted(choice.depth for choice in minutes)
    assert minutes[0].depth < minutes[-1].depth
    for choice in minutes[1:]:
        model = complete(resolve(settings=settings(choice.values), environ={}).config.model, 4096)
        assert 6 * count_parameters(model) * choice.values["train.max_tokens"] <= 1.2 * 0.35 * 3e12 * 60000
    for few in (10**4, 10**6, 10**7):
        choice = for_machine(10**6, 1e15, few, 50257)
        assert choice.depth == 2 or 20 * 12 * choice.depth**3 * 64**2 <= 4 * few
        assert f"tokens of text train well: more text, or --depth {choice.depth + 2}, gives a" in in_options(choice.why)
    assert for_machine(10**9, 1e18, 10**15, 50257).depth == 32
    assert in_options(for_machine(300, 4e11, 10**7, 4096).why) == (
        "2 layers of 128, what this machine trains in 5 min: --max-time with more than that gives a larger model"
    )
