"""Which model `pylm sample` opens, what it checks before, and what it says where there is none."""

# ruff: noqa: F811 - fixtures are found by their names
from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

import pylm
from pylm.checkpoint import find
from pylm.checkpoint.verified import A_MOMENT
from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.console import PRESET_NAMES
from pylm.config.sampling import PRESETS
from tests.cli.test_sample import Given, checkpoint, elsewhere, pylm_, sample, written  # noqa: F401
from tests.generation.small import small_model, small_tokenizer, write_run

PYLM = [sys.executable, "-m", "pylm"]


def test_presets_of_sampling_are_their_own(pylm_: Given, checkpoint: Path) -> None:
    assert tuple(PRESETS) == PRESET_NAMES
    greedy = sample(pylm_, "--prompt", "The cat", "--preset", "greedy")[0]
    assert greedy == written("The cat", temperature=0) + "\n" == written("The cat", preset="greedy") + "\n"
    assert sample(pylm_, "--prompt", "The cat", "--preset", "greedy", "--temperature", 0.5)[0] == (
        written("The cat", preset="greedy", temperature=0.5) + "\n"
    )
    for command in ("sample", "chat"):
        said = pylm_(command, "--preset", "tiny", code=2)[1]
        assert "'tiny' is not one of 'creative', 'balanced', 'precise', 'greedy'" in said
        assert "gpt2" not in pylm_(command, "--help")[0]


def test_a_preset_that_is_none(checkpoint: Path) -> None:
    with pytest.raises(pylm.errors.UsageError, match="no preset 'creativ' of sampling") as caught:
        pylm.generate("runs/x", "a", preset="creativ")
    assert caught.value.hint == "did you mean creative?"


@pytest.mark.parametrize(
    ("name", "says", "hint"),
    [
        ("ckpt.pt", "ckpt.pt is a pickle as torch.save writes them, which pylm does not open", "model.safetensors and"),
        ("m.gguf", "m.gguf is GGUF, which pylm does not open", "model.safetensors and config.json"),
        ("notes.txt", "notes.txt is a file, and a checkpoint is a folder", "model.safetensors and config.json"),
        ("FILE", "model.safetensors is a file, and a checkpoint is the folder around it", "name runs/x/checkpoints/"),
        ("Some/Model-1.5B", "there is no folder Some/Model-1.5B", "hf download Some/Model-1.5B --local-dir Model-1.5B"),
        ("gpt2", "there is no folder gpt2, and pylm fetches nothing by itself", "hf download gpt2 --local-dir gpt2"),
        ("runs/y", "no checkpoint at runs/y", "did you mean runs/x?"),
        ("nowhere", "no checkpoint at nowhere", "there is runs/x"),
    ],
)
def test_a_name_that_is_no_folder_is_named_as_what_it_is(
    pylm_: Given, checkpoint: Path, name: str, says: str, hint: str
) -> None:
    for file in ("ckpt.pt", "m.gguf", "notes.txt"):
        Path(file).write_text("x")
    given = os.path.relpath(checkpoint / "model.safetensors") if name == "FILE" else name
    err = sample(pylm_, "--checkpoint", given, code=1)[1]
    first, second = err.splitlines()
    assert says in first and hint in second
    if name == "FILE":
        sample(pylm_, "--checkpoint", second.removeprefix("hint: name "))


def test_only_the_newest_runs_are_named(pylm_: Given, checkpoint: Path) -> None:
    for number in range(5):
        folder = Path(f"runs/r{number}/checkpoints/step_1")
        folder.mkdir(parents=True)
        os.utime(folder.parent, (number, number))
    assert "hint: there is runs/x, runs/r4, runs/r3 and 3 older\n" in sample(pylm_, "--checkpoint", "zzz", code=1)[1]


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 16
    path.write_bytes(data)


def test_weights_are_checked_against_their_manifest(pylm_: Given, checkpoint: Path) -> None:
    whole = sample(pylm_, "--prompt", "The cat")[0]
    damaged(checkpoint / "model.safetensors")
    out, err = sample(pylm_, "--prompt", "The cat", code=1)
    assert out == "" and "model.safetensors is damaged: its BLAKE2b is" in err
    assert "pylm verify runs/x names the newest sound" in err
    with pytest.raises(pylm.errors.CheckpointError, match="is damaged"):
        pylm.generate("runs/x", "The cat", backend="torch")
    assert sample(pylm_, "--prompt", "The cat", "--no-verify")[0]
    assert list(pylm.generate("runs/x", "The cat", backend="torch", max_tokens=2, verify=False))
    damaged(checkpoint / "model.safetensors")  # back
    assert sample(pylm_, "--prompt", "The cat")[0] == whole


def test_a_file_is_hashed_once(pylm_: Given, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    real = Path.open

    def watched(self: Path, *args: object, **keywords: object) -> object:
        if args == ("rb",) and self.parent.name == checkpoint.name:
            hashed.append(self.name)
        return real(self, *args, **keywords)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(Path, "open", watched)
    time.sleep(A_MOMENT)  # a file that was written just now is not remembered
    counts = []  # the engine opens the weights too, once each time
    for touched in (False, False, True):
        if touched:
            os.utime(checkpoint / "model.safetensors")
        hashed.clear()
        sample(pylm_)
        counts.append((hashed.count("model.safetensors"), hashed.count("tokenizer.json")))
    assert counts == [(2, 1), (1, 0), (2, 0)]


def test_a_cache_folder_that_cannot_be_written_to_hinders_nobody(pylm_: Given, checkpoint: Path) -> None:
    Path("cache").write_text("in the way")
    sample(pylm_)


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """A run that a process trains in and has not saved."""
    run = tmp_path / "runs" / "young"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("train:\n  save_every: 500\n")
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 5.0}\n{"step": 43, "loss": 4.0}\n')
    (run / ".lock").write_text(f"{os.getpid()}\n")
    return run


def test_a_run_that_has_not_saved_yet_is_told(pylm_: Given, training: Path) -> None:
    with (training / ".lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for words in ([], ["--checkpoint", "runs/young"]):
            first, second = sample(pylm_, *words, code=1)[1].splitlines()
            assert first == "error: runs/young is training, at step 43, and has saved no checkpoint yet"
            assert "the first comes at step 500; Ctrl-C there saves at once" in second
            assert "pylm train my.txt" not in second
        tokenizer = small_tokenizer()
        write_run(Path("runs/old"), small_model(tokenizer.vocab_size), tokenizer)
        err = sample(pylm_)[1]
        assert "runs/young is training, at step 43, and has saved no checkpoint yet; this is an older run:\n" in err
        assert "young" not in sample(pylm_, "--checkpoint", "runs/old")[1]
    assert "young" not in sample(pylm_)[1]  # nobody holds it any more


def test_what_is_wrong_with_another_run_is_not_hidden_by_one_in_training(
    pylm_: Given, training: Path, checkpoint: Path
) -> None:
    damaged(checkpoint / "manifest.json")
    with (training / ".lock").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        err = sample(pylm_, code=1)[1]
        assert "young" not in err and "runs/x/checkpoints/" in err
        assert "runs/young is training" in sample(pylm_, "--checkpoint", "runs/young", code=1)[1]


def test_a_run_where_there_are_no_runs_is_no_model_of_the_hub(pylm_: Given, tmp_path: Path) -> None:
    err = sample(pylm_, "--checkpoint", "runs/foo", code=1)[1]
    assert err == "error: no checkpoint at runs/foo\nhint: pylm train my.txt makes one\n"
    for runs, what in ((Path("mine"), "no checkpoint at mine/foo"), (Path("runs"), "fetches nothing by itself")):
        with pytest.raises(pylm.errors.CheckpointError, match=what):
            find("mine/foo", runs)


def test_runs_and_checkpoints_are_completed(checkpoint: Path) -> None:
    Path("runs/empty").mkdir()
    (checkpoint.parent / "best").write_text("step_5\n")
    ctx, param = click.Context(click.Command("x")), click.Option(["--checkpoint"])
    assert complete_runs(ctx, param, "") == ["runs/x"] == complete_runs(ctx, param, "runs/")
    assert complete_runs(ctx, param, "runs/x/") == ["runs/x/best", "runs/x/step_5"]
    assert complete_runs(ctx, param, "runs/x/s") == ["runs/x/step_5"] and not complete_runs(ctx, param, "z/")
    assert complete_runs(ctx, click.Option(["--resume"]), "") == ["auto", "runs/x"]
    env = {
        **os.environ,
        "_PYLM_COMPLETE": "bash_complete",
        "COMP_WORDS": "pylm sample --checkpoint ",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(PYLM, env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["plain,runs/x"]


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_shows_the_prompt_dimmed_and_a_pipe_does_not(checkpoint: Path, no_color: bool) -> None:
    env = {**os.environ, "TERM": "xterm"} | ({"NO_COLOR": "1"} if no_color else {})
    words = [*PYLM, "sample", "--prompt", "The cat", "--max-tokens", "12", "--seed", "3", "--backend", "native"]
    master, slave = os.openpty()
    done = subprocess.run(words, env=env, stdout=slave, stderr=subprocess.PIPE)
    os.close(slave)
    shown = os.read(master, 1 << 16).decode()
    os.close(master)
    plain = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == plain.returncode == 0
    prompt = "The cat" if no_color else click.style("The cat", dim=True)
    spelled = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda one: f"\\x{ord(one[0]):02x}", plain.stdout)
    assert shown == prompt + spelled.replace("\n", "\r\n") and "The cat" not in plain.stdout


def test_a_full_disk_names_the_file(pylm_: Given, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = open
    monkeypatch.setattr(
        "builtins.open",
        lambda path, mode="r", *rest, **keywords: real(
            "/dev/full" if path == "made.txt" else path, "w" if path == "made.txt" else mode, *rest, **keywords
        ),
    )
    monkeypatch.setattr(
        Path, "stat", lambda self, **keywords: os.stat("/dev/null" if self.name == "made.txt" else self)
    )
    monkeypatch.setattr(Path, "unlink", lambda self, **keywords: None)
    err = sample(pylm_, "--output", "made.txt", code=1)[1]
    assert "error: cannot write /dev/full: no space left on device\nhint: " in err


def test_another_encoding_of_stdout_takes_every_text(checkpoint: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    words = [*PYLM, "sample", "--prompt", "→ é ☃", "--return-prompt", "--max-tokens", "1", "--seed", "3"]
    done = subprocess.run(words, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"-> \xe9 \\u2603")
    Path("prompts.jsonl").write_text(json.dumps({"prompt": "☃"}) + "\n")
    words = [*PYLM, "sample", "--prompts-file", "prompts.jsonl", "--max-tokens", "1", "--json"]
    done = subprocess.run(words, env=env, capture_output=True)
    assert json.loads(done.stdout)["samples"][0]["prompt"] == "☃"
