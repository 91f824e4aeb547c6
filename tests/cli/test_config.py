"""`pylm config`, and the options that are keys."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from pylm.cli import run
from pylm.cli.commands import COMMANDS


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("PYLM_"):
            monkeypatch.delenv(name)


def shown(capsys, *args):
    assert run(["config", "show", "--json", *args]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys, *args):
    assert run(["config", "show", *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err


@pytest.mark.parametrize(
    "spelling",
    [
        "--max_steps 50",
        "--max-steps 50",
        "--max-steps=50",
        "--train.max_steps 50",
        "--train.max-steps=50",
        "max_steps=50",
        "train.max_steps=50",
        "max-steps=5e1",
    ],
)
def test_four_spellings(capsys, spelling):
    assert shown(capsys, *spelling.split(), "max_steps") == {"train": {"max_steps": 50}}


@pytest.mark.parametrize(
    ("args", "key", "value"),
    [
        (["--no-tied"], "model.tied", False),
        (["--qk-norm"], "model.qk_norm", True),
        (["--qk_norm", "off"], "model.qk_norm", False),
        (["--qk-norm", "train"], "model.qk_norm", True),  # `train` is the section to show, not its value
        (["--compile", "auto"], "train.compile", "auto"),
        (["--no-compile"], "train.compile", False),
        (["--presence-penalty", "-1.5"], "sample.presence_penalty", -1.5),
        (["stop=[a, 'b, c']"], "sample.stop", ["a", "b, c"]),
        (["--stop", "a,b"], "sample.stop", ["a,b"]),
        (["--betas", "0.8,0.9"], "train.betas", [0.8, 0.9]),
        (["mix={data/x: 1, data/y: 2}"], "data.mix", {"data/x": 1.0, "data/y": 2.0}),
        (["data.path=a=b"], "data.path", "a=b"),
        (["--eval-every", "none"], "train.eval_every", None),
        (["--max-steps", "1", "--max-steps", "2"], "train.max_steps", 2),
    ],
)
def test_values_on_the_command_line(capsys, args, key, value):
    section, _, name = key.partition(".")
    assert shown(capsys, key, *args)[section][name] == value


def test_layers_and_their_origins(capsys, tmp_path, monkeypatch):
    (tmp_path / "a.yaml").write_text("train:\n  max_steps: 1\n  seed: 1\n")
    (tmp_path / "b.yaml").write_text("train:\n  seed: 2\n")
    monkeypatch.setenv("PYLM_TRAIN__KEEP_LAST", "7")
    args = ["--preset", "tiny", "--config", "a.yaml", "--config", "b.yaml", "n_layers=3"]
    rows = shown(capsys, "--origin", *args)
    assert rows["model.n_layers"] == {"value": 3, "origin": "n_layers=3"}
    assert rows["model.n_heads"] == {"value": 4, "origin": "preset tiny:4"}
    assert rows["train.max_steps"] == {"value": 1, "origin": "a.yaml:2"}
    assert rows["train.seed"] == {"value": 2, "origin": "b.yaml:2"}
    assert rows["train.keep_last"] == {"value": 7, "origin": "PYLM_TRAIN__KEEP_LAST"}
    assert rows["train.grad_clip"] == {"value": 1.0, "origin": "default"}
    assert run(["config", "show", "--origin", *args]) == 0
    lines = [line.split(None, 2) for line in capsys.readouterr().out.splitlines()]
    assert ["train.seed", "2", "b.yaml:2"] in lines and len(lines) == len(rows)


def test_a_projects_own_file_is_read_unless_another_is_named(capsys, tmp_path):
    (tmp_path / "pylm.yaml").write_text("train:\n  seed: 5\n")
    assert shown(capsys, "train.seed") == {"train": {"seed": 5}}
    assert shown(capsys, "train.seed", "--preset", "tiny") == {"train": {"seed": 1337}}


def test_what_is_printed_runs(capsys, tmp_path):
    assert run(["config", "show", "--preset", "speed", "--stop", "null", "max_time=90s"]) == 0
    first = capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text(first)
    assert run(["config", "show", "--config", "mine.yaml"]) == 0
    assert capsys.readouterr().out == first
    assert run(["config", "show", "train", "sample.n"]) == 0
    assert list(yaml.safe_load(capsys.readouterr().out)) == ["train", "sample"]


@pytest.mark.parametrize(
    ("args", "sentence", "hint"),
    [
        (["--max-steps"], "error: --max-steps has no value", "hint: such as: --max-steps 100"),
        (["--max-steps", "--json"], "error: --max-steps has no value", "such as"),
        (["--max-stps", "5"], "error: no such key: max_stps", "did you mean max_steps"),
        (["--orgin"], "pylm config show has no option --orgin", "did you mean --origin"),
        (["--batch-size", "5"], "no such key: batch_size", "it is train.micro_batch here"),
        (["--training.batch_size", "5"], "no such section: training", "it is train.micro_batch here"),
        (["--seed", "5"], "seed could be train.seed or sample.seed", "--train.seed"),
        (["--no-seed"], "no such key", ""),
        (["--preset", "tinny"], "no such preset: tinny", "did you mean tiny?"),
        (["--config", "gone.yaml"], "cannot read gone.yaml: no such file or directory", ""),
        (["max_stps=5"], "no such key: max_stps", "did you mean max_steps"),
        (["sed"], "no such key: sed", "did you mean seed"),
        (["--max-steps", "five"], "train.max_steps (--max-steps): 'five' is not a whole number", ""),
    ],
)
def test_mistakes_are_answered(capsys, args, sentence, hint):
    err = refused(capsys, *args)
    assert sentence in err and hint in err, err
    assert err.count("error:") == 1


def test_the_schema_is_json(capsys):
    assert run(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["extends"]


def test_an_old_file_is_rewritten(capsys, tmp_path):
    (tmp_path / "old.yaml").write_text(
        "model: {n_embd: 64, n_layers: 2, n_heads: 2}\ntraining: {batch_size: 4, wandb_project: x}\n"
    )
    assert run(["config", "import", "old.yaml"]) == 0
    out, err = capsys.readouterr()
    assert yaml.safe_load(out)["train"] == {"micro_batch": 4}
    assert err == (
        "not carried over: training.wandb_project: see metrics.trackers: 'x' is for W&B, which is not asked for\n"
    )
    assert run(["config", "import", "old.yaml", "--out", "new.yaml"]) == 0
    assert (tmp_path / "new.yaml").read_text() == out
    assert run(["config", "import", "old.yaml", "--out", "new.yaml"]) == 2
    assert "new.yaml is there already" in capsys.readouterr().err
    assert run(["config", "import", "old.yaml", "--from", "nash"]) == 2
    assert "did you mean nash-llm?" in capsys.readouterr().err
    assert run(["config", "import", "gone.yaml"]) == 2
    assert shown(capsys, "--config", "new.yaml", "model.d_model") == {"model": {"d_model": 64}}


def complete(line):
    words = line.split(" ")
    env = {**os.environ, "_PYLM_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([sys.executable, "-m", "pylm"], env=env, capture_output=True, text=True)
    assert done.stderr == ""
    return [item.partition(",")[2] for item in done.stdout.splitlines()]


def test_shells_complete_commands_presets_and_keys():
    assert complete("pylm con") == ["config"]
    assert set(complete("pylm ")) == set(COMMANDS)
    assert complete("pylm config s") == ["schema", "show"]
    assert complete("pylm config show --preset gpt2-3") == ["gpt2-350m"]
    assert {"--max-steps", "--max-tokens"} < set(complete("pylm config show --max-st=5 --max"))
    assert complete("pylm config show train.max_st") == ["train.max_steps"]
    assert complete("pylm config show --nonsense 5 --qk") == ["--qk-norm"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(capsys, shell):
    assert run(["completion", shell]) == 0
    assert f"_PYLM_COMPLETE={shell}_complete" in capsys.readouterr().out
