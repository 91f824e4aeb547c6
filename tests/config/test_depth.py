"""What one dial derives fits together, yields to what was given, and is no larger than there is time for."""

import pytest

from pylm.config import recipe
from pylm.config.cascade import Setting, resolve
from pylm.config.depth import derive, for_machine, still_open
from pylm.config.shape import complete, count_parameters
from pylm.data.own_tokenizer import Training, own_tokenizer
from pylm.data.sources import Opened
from pylm.data.stories import stories
from pylm.data.streaming.files import Reading
from pylm.wording import in_options

BATCH = derive(6)["train.batch_tokens"]


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


def test_a_straight_line_goes_down_to_zero_whatever_the_depth_derives():
    for given, ratio in (({}, None), ({"train.min_lr_ratio": 0.2}, 0.2)):
        resolved = resolve("train", settings=settings({"train.schedule": "linear", **given}), environ={})
        derived = still_open(derive(4), resolved)
        completed = resolved.completed(derived, "derived").config.train
        assert completed.schedule == "linear" and completed.min_lr_ratio == (ratio or 0.0)


def test_sizes_rates_and_batches_are_those_that_the_field_uses():
    values = derive(12)
    assert (values["model.d_model"], values["model.n_heads"], values["model.context_length"]) == (768, 12, 1024)
    assert derive(12, optimizer="adamw")["train.learning_rate"] == 6e-4
    assert values["train.learning_rate"] == pytest.approx(3.6e-3, rel=0.15)  # the speed records', in our Muon's measure
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
        ({}, set(), BATCH),
        ({"train.learning_rate": 1}, {"train.learning_rate", "train.embed_lr", "train.head_lr"}, BATCH),
        ({"train.max_time": "5m"}, {"train.max_tokens"}, BATCH),
        ({"train.batch_tokens": 2048 * 3}, {"train.batch_tokens"}, 2048 * 3),
        ({"model.context_length": 1000}, {"model.context_length"}, BATCH // 1000 * 1000),
        ({"train.micro_batch": 3}, set(), round(BATCH / 1536) * 1536),
        ({"train.micro_batch": 3, "train.grad_accum_steps": 5}, {"train.batch_tokens"}, None),
        ({"model.n_layers": 9}, {"model.n_layers"}, BATCH),
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
    choices = [for_machine(seconds, 4e11, 10**9, 4096) for seconds in (60, 300, 3600, 8 * 3600)]
    assert [choice.depth for choice in choices] == [2, 3, 4, 5]
    for choice, seconds in zip(choices, (60, 300, 3600, 8 * 3600), strict=True):
        assert choice.values["train.max_time"] == seconds
        config = resolve("train", settings=settings(choice.values), environ={}).config
        assert config.train.optimizer == "muon" and config.model.qk_norm
        assert 300 <= recipe.expected_tokens(4e11 * seconds, choice.depth, 4096) / config.train.batch_tokens <= 4000
    for few in (10**4, 10**6, 10**7):
        choice = for_machine(10**6, 1e15, few, 50257)
        assert choice.depth == 2 or 2 * 12 * choice.depth**3 * 64**2 <= few
        assert f"tokens of text train well: more text, or --depth {choice.depth + 2}, gives a" in in_options(choice.why)
        assert choice.values["train.max_tokens"] == 4 * few
    assert for_machine(10**9, 1e18, 10**15, 50257).depth == 32
    assert in_options(for_machine(300, 4e11, 10**8, 4096).why) == (
        "3 layers of 192, what comes furthest here in 5 min: a longer --max-time gives a larger model"
    )


def test_more_work_is_never_less_of_anything():
    works = [10 ** (12 + n / 4) for n in range(40)]
    depths = [recipe.depth_for(work) for work in works]
    assert depths == sorted(depths) and depths[0] == recipe.LEAST
    assert [recipe.vocab_size(depth) for depth in depths] == sorted(map(recipe.vocab_size, depths))
    table = {1e13: 2, 1e14: 3, 1e15: 4, 1e16: 5, 1e17: 7, 1e18: 10, 1e19: 15}
    assert {work: recipe.depth_for(work) for work in table} == table
    for work in table:
        assert f"{recipe.depth_for(work)}" in recipe.__doc__.split("depth ")[1].split("\n")[0]


def test_a_short_text_is_read_in_smaller_steps():
    short, long = for_machine(300, 4e11, 300_000, 4096), for_machine(60, 4e11, 10**8, 4096)
    assert (short.depth, long.depth) == (2, 2)
    assert (short.values["train.batch_tokens"], long.values["train.batch_tokens"]) == (2048, 4096)


def test_an_optimizer_that_was_asked_for_takes_its_own_rate():
    typed = [Setting("train.optimizer", "adamw", "typed")]
    resolved = resolve("train", settings=typed, environ={})
    values = still_open(derive(3, optimizer="adamw"), resolved)
    assert values["train.learning_rate"] < 3e-3 and "train.embed_lr" not in values
    given = resolve("train", settings=[Setting("train.learning_rate", 1e-3, "typed")], environ={})
    assert not {"train.learning_rate", "train.embed_lr", "train.head_lr"} & still_open(derive(3), given).keys()


def test_the_vocabulary_of_text_without_a_tokenizer_is_no_larger_than_the_run_has_use_for(tmp_path):
    text = "".join(stories(5_000_000))
    (tmp_path / "my.txt").write_text(text, encoding="utf-8")
    asked = []

    def most():
        asked.append(1)
        return 4096

    opened = Opened([str(tmp_path / "my.txt")])
    said = []
    tok = own_tokenizer(opened, Reading(), len(text), tmp_path / "out", Training(most=most), threads=1, keep=False,
                        progress=None, say=said.append)[0]  # fmt: skip
    assert tok.vocab_size <= 4096 and asked == [1]
    assert Training(most=most).wishes == Training().wishes == {}
