"""Where a value comes from: the order of the layers, the spelling of keys, what is refused and how."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylm.config.cascade import Setting, resolve
from pylm.config.keys import all_keys, find_key
from pylm.config.schema import SECTIONS, Config
from pylm.errors import ConfigError
from pylm.wording import in_options


def cli(**settings):
    return [Setting(key.replace("__", "."), value, f"--{key}") for key, value in settings.items()]


def refused(match, hint=None, **arguments):
    arguments.setdefault("environ", {})
    with pytest.raises(ConfigError, match=match) as caught:
        resolve(**arguments)
    assert caught.value.exit_code == 2
    if hint is not None:
        assert hint in in_options(caught.value.marked[1] or ""), caught.value.hint
    return caught.value


def test_defaults_are_those_that_are_promised():
    config = resolve(environ={}).config
    promised = {
        "model": {"n_kv_heads": None, "d_ff": None, "vocab_size": None, "context_length": 2048, "norm": "rmsnorm",
                  "norm_eps": 1e-5, "mlp": "swiglu", "position": "rope", "rope_theta": 10000.0, "qk_norm": False,
                  "bias": False, "tied": True, "dropout": 0.0, "attention": "auto", "init_std": 0.02},
        "train": {"micro_batch": "auto", "grad_accum_steps": None, "min_lr_ratio": 0.1, "schedule": "cosine",
                  "weight_decay": 0.1, "grad_clip": 1.0, "precision": "auto", "compile": "auto",
                  "activation_checkpointing": False, "keep_last": 2, "seed": 1337, "backend": "auto", "device": "auto"},
        "sample": {"temperature": 0.8, "max_tokens": 256},
    }  # fmt: skip
    for section, keys in promised.items():
        for key, value in keys.items():
            assert getattr(getattr(config, section), key) == value, (section, key)


@given(st.randoms(use_true_random=False))
def test_later_layers_win(rng):
    """A plain model of the cascade: for each key the last layer that gives it, whatever the others give."""
    import tempfile
    from pathlib import Path

    pool = ["train.max_steps", "train.seed", "train.eval_every", "sample.max_tokens", "metrics.log_every", "sample.n"]
    preset = {"train.eval_every": 100}  # what tiny says of these
    layers = [{key: rng.randrange(1, 10**6) for key in pool if rng.random() < 0.4} for _ in range(4)]
    use_preset = rng.random() < 0.5
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, layer in enumerate(layers[:2]):
            files.append(Path(folder) / f"{number}.yaml")
            tree = {}
            for key, value in layer.items():
                tree.setdefault(key.split(".")[0], []).append(f"  {key.split('.')[1]}: {value}\n")
            files[-1].write_text("".join(f"{section}:\n{''.join(lines)}" for section, lines in tree.items()))
        environ = {f"PYLM_{key.upper().replace('.', '__')}": str(value) for key, value in layers[2].items()}
        settings = [Setting(key, str(value), "--it") for key, value in layers[3].items()]
        resolved = resolve("train", "tiny" if use_preset else None, files, settings, environ)
        sources = [preset if use_preset else {}, *layers]
        names = ["preset tiny:", f"{files[0]}:", f"{files[1]}:", "PYLM_", "--it"]
        for key in pool:
            section, name = key.split(".")
            last = max((rank for rank, layer in enumerate(sources) if key in layer), default=None)
            value = getattr(getattr(resolved.config, section), name)
            if last is None:
                assert value == SECTIONS[section].model_fields[name].default and resolved.origin(key) == "default"
            else:
                assert value == sources[last][key] and resolved.origin(key).startswith(names[last])


def test_the_four_spellings_and_the_environment_are_one():
    for word in ("max_steps", "max-steps", "train.max_steps", "train.max-steps"):
        assert find_key(word) == ("train", "max_steps")
    assert (
        resolve(
            environ={"PYLM_TRAIN__MAX_STEPS": "1k", "PYLM_KERNELS": "x", "PYLM_CACHE": "y", "HOME": "z"}
        ).config.train.max_steps
        == 1000
    )


@pytest.mark.parametrize("section", SECTIONS)
def test_a_short_key_is_sought_in_the_running_commands_section_first(section):
    for key in SECTIONS[section].model_fields:
        assert find_key(key, section) == (section, key)
    for other in all_keys():
        home, _, key = other.partition(".")
        if key not in SECTIONS[section].model_fields:
            homes = [name for name in SECTIONS if key in SECTIONS[name].model_fields]
            if len(homes) == 1:
                assert find_key(key, section) == (home, key)


def test_an_ambiguous_key_lists_its_candidates():
    refused("seed could be train.seed or sample.seed", "--train.seed", settings=cli(seed="1"))
    refused("window could be model.window or data.window", settings=cli(window="1"), section="train")
    assert resolve("sample", settings=cli(max_tokens="9"), environ={}).config.sample.max_tokens == 9
    assert resolve("train", settings=cli(max_tokens="9"), environ={}).config.train.max_tokens == 9


@pytest.mark.parametrize(
    ("word", "sentence", "hint"),
    [
        ("max_stps", "no such key: max_stps", "did you mean max_steps"),
        ("train.max_stepz", "no such key: train.max_stepz", "did you mean train.max_steps"),
        ("trian.max_steps", "no such section: trian", "did you mean train?"),
        ("mine.yaml", "no such section: mine", "--config mine.yaml"),
        ("xyzzy", "no such key: xyzzy", "pylm config show"),
        ("batch_size", "no such key: batch_size", "it is train.micro_batch here"),
        ("training.batch_size", "no such section: training", "it is train.micro_batch here"),
        ("training.max_steps", "no such section: training", "it is train.max_steps here"),
        ("gradient_accumulation_steps", "no such key", "it is train.grad_accum_steps here"),
        ("mixed_precision", "no such key", "it is train.precision here"),
        ("wandb_enabled", "no such key: wandb_enabled", "it is metrics.trackers here (wandb, or wandb:PROJECT)"),
        ("max_seq_len", "no such key", "it is model.context_length here"),
        ("seq-len", "no such key", "it is model.context_length here"),
    ],
)
def test_a_wrong_key_is_answered_with_the_right_one(word, sentence, hint):
    refused(sentence, hint, settings=[Setting(word, "1", f"--{word}")])


def test_environment_mistakes_are_named():
    refused(r"no such key: train.max_step \(PYLM_TRAIN__MAX_STEP\)", "max_steps", environ={"PYLM_TRAIN__MAX_STEP": "1"})
    refused(r"no such section: trian \(PYLM_TRIAN__SEED\)", "train", environ={"PYLM_TRIAN__SEED": "1"})
    refused(r"train.max_steps \(PYLM_TRAIN__MAX_STEPS\): 'two' is not", environ={"PYLM_TRAIN__MAX_STEPS": "two"})


def test_files_extend_files_and_presets(tmp_path):
    (tmp_path / "base.yaml").write_text("extends: gpt2-124m\ntrain:\n  max_steps: 10\n  seed: 1\n")
    (tmp_path / "mine.yaml").write_text("extends: [base.yaml]\ntrain:\n  seed: 2\n")
    resolved = resolve(files=[tmp_path / "mine.yaml"], environ={})
    assert resolved.config.model.n_layers == 12 and resolved.origin("model.n_layers") == "preset gpt2-124m:3"
    assert resolved.config.train.max_steps == 10 and resolved.origin("train.max_steps").endswith("base.yaml:3")
    assert resolved.config.train.seed == 2 and resolved.origin("train.seed").endswith("mine.yaml:3")


def test_extending_oneself_or_nothing_is_refused(tmp_path):
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {base}.yaml\n")
    refused("extends itself", files=[tmp_path / "a.yaml"])
    (tmp_path / "d.yaml").write_text("train:\n  seed: 1\nextends: nowhere\n")
    refused("d.yaml:3: there is no nowhere", "gpt2-124m", files=[tmp_path / "d.yaml"])
    (tmp_path / "e.yaml").write_text("extends:\n  a: b\n")
    refused("extends names a preset or a file", files=[tmp_path / "e.yaml"])


def test_a_file_is_answered_with_file_and_line(tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text("model:\n  n_layers: 2\ntraining:\n  batch_size: 4\n")
    refused(r"no such section: training \(.*old.yaml:3\)", "the section is train here", files=[path])
    path.write_text("train:\n\n  batch_size: 4\n")
    refused(r"no such key: train.batch_size \(.*old.yaml:3\)", "train.micro_batch", files=[path])
    path.write_text("train:\n  seed: 1\n  optimizer: adamz\n")
    refused(r"train.optimizer \(.*old.yaml:3\): 'adamz' is none of adamw, muon", "did you mean adamw", files=[path])
    path.write_text("max_steps: 5\n")
    refused("no such section: max_steps", "belongs under train", files=[path])
    path.write_text("train: 5\n")
    refused("train holds keys", files=[path])
    path.write_text("train:\n")
    assert resolve(files=[path], environ={}).config == Config()
    refused("cannot read .*none.yaml: no such file", files=[tmp_path / "none.yaml"])
    refused("cannot read .*: is a directory", files=[tmp_path])


@pytest.mark.parametrize("preset", ["tiny", "speed", "gpt2-1.5b", None])
def test_the_resolved_file_is_itself_runnable(tmp_path, preset):
    texts = ["null", "1e3", "- a", "a: b", "[x]", "#", "\n", "true", "ü", "'", '"', "~", "a,b", "yes"]
    settings = cli(
        learning_rate="3e-5", betas="0.8,0.99", max_time="1h30m", mix="data/x=0.7,data/y=0.3", device="cuda:1"
    )
    settings.append(Setting("sample.stop", texts, "--stop"))
    first = resolve("train", preset, settings=settings, environ={})
    path = tmp_path / "config.yaml"
    path.write_text(first.to_yaml(), encoding="utf-8")
    again = resolve("train", files=[path], environ={})
    assert again.config == first.config
    assert again.config.sample.stop == tuple(texts)
    assert again.to_yaml() == first.to_yaml()


def random_value(value_type, rng):
    kind = type(value_type).__name__
    return {
        "Whole": lambda: rng.randrange(value_type.least, 10**9),
        "Flag": lambda: rng.random() < 0.5,
        "Word": lambda: rng.choice(value_type.of),
        "Device": lambda: f"cuda:{rng.randrange(8)}",
        "Text": lambda: rng.choice(["data/x", "/a b/ü", "1", "null x"]),
        "Texts": lambda: tuple(rng.choice(["a", "null", "1", " b"]) for _ in range(rng.randrange(3))),
        "Duration": lambda: rng.uniform(0.1, 1e6),
        "Reals": lambda: (rng.random(), rng.random()),
        "Scaling": lambda: {"type": "yarn", "factor": 1 + rng.random(), "original_max_positions": 64.0},
        "Weights": lambda: {"a/b": rng.random() + 0.1, "c": 2.0},
            "Cleaning": lambda: rng.choice(["c4", {"rules": "c4", "near": "0.5", "set": {"c4.sentences": None}}]),
        "Real": lambda: _inside(value_type, rng),
    }[kind]()  # fmt: skip


def _inside(real, rng):
    low = max(real.least, real.above, 0)
    return rng.uniform(low, min(real.most, real.below, low + 10)) or 0.5


def test_any_configuration_survives_being_written_and_read(tmp_path):
    rng = random.Random(5)
    between = {
        "d_model",
        "n_heads",
        "n_kv_heads",
        "head_dim",
        "position",
        "norm_gain",
        "batch_tokens",
        "micro_batch",
        "grad_accum_steps",
        "context_length",
        "path",
        "mix",
        "sources",
        "average_decay",
        "average_every",
        "average_from",
        "consolidate",
        "parallel",
    }
    for _ in range(30):
        settings = []
        for section, kind in SECTIONS.items():
            for key, field in kind.model_fields.items():
                if key not in between and rng.random() < 0.7:
                    settings.append(Setting(f"{section}.{key}", random_value(field.metadata[-1], rng), "--it"))
        first = resolve(settings=settings, environ={})
        for setting in settings:
            section, _, key = setting.key.partition(".")
            assert getattr(getattr(first.config, section), key) == setting.value, setting
        (tmp_path / "c.yaml").write_text(first.to_yaml(), encoding="utf-8")
        assert resolve(files=[tmp_path / "c.yaml"], environ={}).config == first.config


@pytest.mark.parametrize(
    "given",
    [
        {"average": "ema", "average_decay": 0.9, "average_every": 3, "average_from": 100},
        {"average": "mean", "average_every": 3},
        {"average": "off"},
        {"learning_rate": "inherit", "optimizer_state": "keep", "schedule": "linear"},
    ],
)
def test_averages_and_what_is_inherited_survive_it_too(given, tmp_path):
    first = resolve(settings=[Setting(f"train.{key}", value, "--it") for key, value in given.items()], environ={})
    assert {key: getattr(first.config.train, key) for key in given} == given
    (tmp_path / "c.yaml").write_text(first.to_yaml(), encoding="utf-8")
    assert resolve(files=[tmp_path / "c.yaml"], environ={}).config == first.config
    (tmp_path / "plain.yaml").write_text(f"train:\n  average: {given.get('average', 'off')}\n", encoding="utf-8")
    read = resolve(files=[tmp_path / "plain.yaml"], environ={}).config.train.average
    assert read == given.get("average", "off")  # and `off` is a word here, which it is not in YAML 1.1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (dict(d_model="10", n_heads="3"), r"d_model 10 is no multiple of n_heads 3 \(--d_model, --n_heads\)"),
        (dict(n_heads="4", n_kv_heads="3"), "n_heads 4 is no multiple of n_kv_heads 3"),
        (dict(d_model="12", n_heads="4"), "heads of even width"),
        (dict(head_dim="7"), "rope needs heads of even width, and head_dim is 7"),
        (dict(rope_scaling="type=linear,factor=2", position="learned"), "rope_scaling is for position rope"),
        (dict(norm_gain="false", norm="layernorm"), "norm_gain false is for norm rmsnorm, and it is layernorm"),
        (dict(rope_scaling="linear"), "'linear' has no type among|has no type among linear, ntk, yarn, llama3"),
        (dict(rope_scaling="type=yarn,factor=2"), "yarn needs original_max_positions"),
        (dict(rope_scaling="type=linear,factor=2,beta_fast=1"), "linear knows no beta_fast"),
        (dict(rope_scaling="type=linear,factor=0.5"), "factor 0.5 is less than 1"),
        (dict(rope_scaling="type=linear,factor=x"), "'x' is not a number"),
        (dict(rope_scaling={"type": ["linear"], "factor": 2}), "has no type among linear, ntk, yarn, llama3"),
        (dict(attention_bias="some"), "'some' is none of all, qkv"),
        (dict(data__path="a", mix="b=1"), "path and mix both say"),
        (dict(dropout="1"), "1 is not below 1.0"),
        (dict(dropout="-0.1"), "-0.1 is less than 0"),
        (dict(top_p="0"), "0 is not above 0"),
        (dict(temperature="-1"), "-1 is less than 0"),
        (dict(learning_rate="nan"), "'nan' is not a number"),
        (dict(max_steps="0"), "0 is less than 1"),
        (dict(max_steps="1.5"), "'1.5' is not a whole number"),
        (dict(n_layers="true"), "'true' is not a whole number"),
        (dict(tied="maybe"), "'maybe' is neither true nor false"),
        (dict(compile="soon"), "'soon' is neither true nor false"),
        (dict(device="gpu"), "'gpu' is none of auto, cpu, cuda"),
        (dict(device="cpu:1"), "'cpu:1' is none of"),
        (dict(betas="0.9"), "is not 2 numbers"),
        (dict(betas="0.9,1"), "1 is not below 1.0"),
        (dict(mix="a"), "is not a list of weights|is not a number"),
        (dict(mix="a=0"), "0 is not above 0"),
        (dict(max_time="0"), "0 is not a time above zero"),
        (dict(data__path=""), "it is empty"),
        (dict(context_length="none"), "'none' is not a whole number"),
    ],
)
def test_values_that_cannot_be_are_refused(settings, sentence):
    error = refused(sentence, settings=cli(**settings))
    assert any(f"--{key}" in error.message for key in settings), error.message


def test_all_mistakes_are_said_at_once():
    error = refused("max_steps", settings=cli(max_steps="x", dropout="2", optimizer="sgd"))
    assert error.message.count(";") == 2


def test_configurations_are_frozen_and_know_no_other_keys():
    from pydantic import ValidationError

    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.train.seed = 1
    with pytest.raises(ValidationError, match="[Ee]xtra"):
        Config(train={"sed": 1})
    for wrong in (
        {"n_layers": True},
        {"dropout": False},
        {"n_layers": 1.5},
        {"d_model": [1]},
        {"norm_eps": float("nan")},
    ):
        with pytest.raises(ValidationError, match="is not a"):
            Config(model=wrong)
