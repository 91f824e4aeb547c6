"""What is run on an incident: the caller's own program alone, told as JSON, never waited for by a step."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import pylm
from pylm.cli import run as command
from pylm.errors import ConfigError, UsageError
from pylm.training import events, on_incident
from pylm.training.on_incident import Alarm, program_of
from tests.support.shards import write_shards

SHORT: Any = {"n_layers": 1, "n_heads": 2, "d_model": 16, "context_length": 16, "device": "cpu", "compile": False,
              "batch_tokens": 64, "max_steps": 4, "save_every": 2, "eval_every": None, "log_every": 1,
              "backend": "torch", "micro_batch": 4}  # fmt: skip
BROKEN: Any = {**SHORT, "learning_rate": 1e30, "grad_clip": 0.0}  # whose second loss is not finite


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    write_shards(tmp_path / "ids", 60, np.random.default_rng(2), count=4000)


def program(folder: Path, then: str = "") -> list[str]:
    """One that writes down what it is told."""
    script = folder / "told.py"
    script.write_text(
        "import json, os, sys\n"
        f"about = {{key: os.environ.get(key) for key in ('PYLM_RUN', 'PYLM_INCIDENT', 'PYLM_STEP')}}\n"
        f"open({str(folder / 'told.jsonl')!r}, 'a').write("
        "json.dumps({'args': sys.argv[1:], 'told': json.loads(sys.stdin.read().partition(chr(10))[0]), **about})"
        " + '\\n')\n" + then
    )
    return [sys.executable, str(script), "a b", "$HOME; *"]


def told(folder: Path) -> list[dict[str, Any]]:
    lines = folder / "told.jsonl"
    return [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []


def test_the_program_is_told_of_each_incident_and_no_shell_reads_it(tmp_path: Path) -> None:
    run = pylm.train(data="ids", out="r", on_incident=program(tmp_path), on_event=lambda event: None, **BROKEN)
    incidents, heard = run.incidents(), told(tmp_path)
    assert incidents and [one["told"] for one in heard] == [
        {"run": str((tmp_path / "r").resolve()), **one} for one in incidents
    ]
    assert heard[0]["args"] == ["a b", "$HOME; *"]
    assert heard[0]["PYLM_INCIDENT"] == "not finite" and heard[0]["PYLM_STEP"] == str(incidents[0]["step"])


def test_the_command_line_takes_it_as_words(tmp_path: Path) -> None:
    words = [f"--{key.replace('_', '-')}={'null' if value is None else value}" for key, value in BROKEN.items()]
    line = f"{sys.executable} {program(tmp_path)[1]} 'a b' $HOME"
    assert command(["train", "--data", "ids", "--out", "r", "--on-incident", line, *words]) == 0
    assert told(tmp_path)[0]["args"] == ["a b", "$HOME"]


def test_the_users_own_file_has_it_too(tmp_path: Path) -> None:
    (tmp_path / "home" / "pylm").mkdir(parents=True)
    (tmp_path / "home" / "pylm" / "user.yaml").write_text(yaml.safe_dump({"on_incident": program(tmp_path)}))
    pylm.train(data="ids", out="r", on_event=lambda event: None, **BROKEN)
    assert told(tmp_path)


def planted_run(run: Path, evil: list[str]) -> None:
    """A run that was begun, with a program named beside its configuration."""
    pylm.train(data="ids", out=run, on_event=lambda event: None, **{**BROKEN, "max_steps": 2})
    noted = json.loads((run / "environment.json").read_text())
    argv = ["train", "--data", "ids", "--on-incident", " ".join(evil)]
    (run / "environment.json").write_text(json.dumps({**noted, "on_incident": evil, "argv": argv}))
    (run / "user.yaml").write_text(yaml.safe_dump({"on_incident": evil}))
    (run / "pylm").mkdir()
    (run / "pylm" / "user.yaml").write_text(yaml.safe_dump({"on_incident": evil}))


def planted_configuration(run: Path, evil: list[str]) -> None:
    """The same in its configuration, the checkpoint's too, whose manifest is made to agree."""
    step = run / "checkpoints" / "step_2"
    for folder in (run, step):
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["metrics"]["on_incident"] = evil
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    manifest = json.loads((step / "manifest.json").read_text())
    content = (step / "config.yaml").read_bytes()
    hashed = hashlib.blake2b(content, digest_size=32).hexdigest()
    manifest["files"]["config.yaml"] = {"size": len(content), "blake2b": hashed}
    (step / "manifest.json").write_text(json.dumps(manifest))


def test_no_run_a_configuration_or_a_recipe_can_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = program(tmp_path)
    planted_run(tmp_path / "r", evil)
    run = pylm.train(out="r", resume="auto", max_steps=4, on_event=lambda event: None)
    assert run.step == 4 and run.incidents() and not told(tmp_path)
    planted_run(tmp_path / "q", evil)
    planted_configuration(tmp_path / "q", evil)
    with pytest.raises(ConfigError, match="on_incident"):
        pylm.train(out="q", resume="auto", max_steps=4, on_event=lambda event: None)
    with pytest.raises(ConfigError, match="on_incident"):
        pylm.train(data="ids", config="q/config.yaml", out="s", on_event=lambda event: None)
    with pytest.raises(ConfigError, match="on_incident"):
        pylm.train(data="ids", out="s", metrics={"on_incident": evil}, on_event=lambda event: None, **BROKEN)
    (tmp_path / "pylm.yaml").write_text(yaml.safe_dump({"metrics": {"on_incident": evil}}))
    with pytest.raises(ConfigError, match="on_incident"):
        pylm.train(data="ids", out="s", on_event=lambda event: None, **BROKEN)
    (tmp_path / "pylm.yaml").unlink()
    monkeypatch.setenv("PYLM_METRICS__ON_INCIDENT", " ".join(evil))
    with pytest.raises(ConfigError, match="on_incident"):
        pylm.train(data="ids", out="s", on_event=lambda event: None, **BROKEN)
    assert not told(tmp_path)


@pytest.mark.parametrize(
    "step",
    [
        {"options": {"on-incident": "touch told.jsonl"}},
        {"options": {"on_incident": "touch told.jsonl"}},
        {"options": {"on-incident=touch told.jsonl": True}},
        {"options": {"allow-inexact": "--on-incident=touch told.jsonl"}},
        {"arguments": ["--on-incident=touch told.jsonl"]},
        {"arguments": ["--on_incident", "touch told.jsonl"]},
        {"options": {"data": "$x"}, "values": {"x": "--on-incident=touch told.jsonl"}},
    ],
)
def test_a_recipe_cannot_smuggle_it_in(step: dict[str, Any], tmp_path: Path, capsys: Any) -> None:
    recipe = {"values": step.pop("values", {}), "steps": {"one": {"command": "train", **step}}}
    (tmp_path / "evil.yaml").write_text(yaml.safe_dump(recipe))
    assert command(["recipe", "run", "evil.yaml", "--out", "made"]) != 0
    assert "on-incident, which runs a program: no recipe may" in capsys.readouterr().err
    assert not list(tmp_path.rglob("told.jsonl"))


@pytest.mark.parametrize(
    ("then", "said"),
    [("sys.exit('no mail here')", "it ended with 1: no mail here"), ("import time; time.sleep(60)", "still running")],
)
def test_a_program_that_fails_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, said: str
) -> None:
    monkeypatch.setattr(on_incident, "SECONDS", 20.0 if "exit" in then else 1.0)
    heard: list[events.Event] = []
    run = pylm.train(data="ids", out="r", on_incident=program(tmp_path, then), on_event=heard.append, **BROKEN)
    (warning,) = [one.text for one in heard if isinstance(one, events.Note) and "incident failed" in one.text]
    assert said in warning and len(run.incidents()) > 1 and run.finish_reason


def test_no_step_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_incident, "SECONDS", 0.3)
    alarm = Alarm([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path)
    begun = time.perf_counter()
    for step in range(100):
        alarm({"step": step, "kind": "spike", "loss": float("nan")})
    assert time.perf_counter() - begun < 0.2
    assert list(alarm.failures) == ["16 incidents wait for it, and more are not told"]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("notify-nobody now", "there is no program notify-nobody"),
        ("", "is no list of arguments"),
        ([], "is no list of arguments"),
        ("echo 'open", "No closing quotation"),
        ([1, "x"], "is no list of arguments"),
    ],
)
def test_what_cannot_be_run_is_said_before_the_first_step(asked: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        pylm.train(data="ids", out="r", on_incident=asked, **SHORT)
    assert not Path("r").exists()


def test_the_users_file_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "home" / "pylm" / "user.yaml"
    assert program_of(None) is None
    path.parent.mkdir(parents=True)
    for text, sentence in (
        ("train: {max_steps: 3}", "has train"),
        ("on_incident: echo", "is no list of arguments"),
        ("on_incident: [./here]", "there is no program|another program in each folder"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError if "train" in text else UsageError, match=sentence):
            program_of(None)
    (tmp_path / "here").write_text("#!/bin/sh\n")
    os.chmod(tmp_path / "here", 0o755)
    path.write_text("on_incident: [./here]")
    with pytest.raises(ConfigError, match="another program in each folder"):
        program_of(None)
    path.write_text("on_incident: [sh, -c, 'true']")
    assert program_of(None) == ("sh", "-c", "true")
