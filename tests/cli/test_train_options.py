"""What may be typed after `pylm train`: other programs' options, options alone, several devices, completion."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest

from pylm.cli import run
from pylm.cli.frame.entry import root
from pylm.cli.train import train


def refused(capsys: Any, *words: str, code: int = 2) -> str:
    assert run(["train", *words]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("error:") == 1 and "Traceback" not in err
    return str(err)


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("--lr 1e-3", "--learning-rate 1e-3"),
        ("--lr=1e-3", "--learning-rate 1e-3"),
        ("--epochs 5", "--max-epochs 5"),
        ("--steps 100", "--max-steps 100"),
        ("--iters 100", "--max-steps 100"),
        ("--temp 0.3", "--temperature 0.3"),
        ("--layers 3", "--n-layers 3"),
        ("--block-size 64", "--context-length 64"),
        ("--max-new-tokens 9", "--sample.max-tokens 9"),
        ("--n_epochs 2", "--max-epochs 2"),
        ("--batch-size 4", "--micro-batch 4"),
    ],
)
def test_an_option_of_another_program_is_answered_with_ours_that_works(capsys: Any, typed: str, hint: str) -> None:
    said = refused(capsys, *typed.split())
    assert hint in said and "did you mean" not in said
    # what is hinted is taken: the next complaint is that there is nothing to train on
    assert "nothing to train on" in refused(capsys, *hint.split())


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("--model gpt2", "--preset NAME"),
        ("--gpu 0", "train.device"),
        ("--devices 2", "`pylm train --gpus N`"),
        ("--world_size 4", "`pylm train --gpus N`"),
        ("--wandb", "it is metrics.trackers here (wandb, or wandb:PROJECT)"),
        ("--tensorboard", "it is metrics.trackers here"),
        ("--invalid replace", "an option of `pylm tokenize`"),
        ("--tokenizer gpt2", "an option of `pylm tokenize`"),
        ("--outt x", "did you mean --out?"),
        ("--resum", "did you mean --resume?"),
        ("--optimiser muon", "did you mean optimizer?"),
        ("--xyzzy", "pylm config show"),
    ],
)
def test_what_cannot_be_typed_is_answered(capsys: Any, typed: str, says: str) -> None:
    said = refused(capsys, *typed.split())
    assert says in said and "--help?" not in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--resume"], ("auto", (), ())),
        (["--resume", "--out", "x"], ("auto", (), ())),
        (["--resume", "max_steps=30"], ("auto", (), (("train.max_steps", "30", "max_steps=30"),))),
        (["--resume", "auto", "my.txt"], ("auto", ("my.txt",), ())),
        (["--resume", "runs/x/step_5"], ("runs/x/step_5", (), ())),
        (["--resume=runs/x"], ("runs/x", (), ())),
        (["a.txt", "b.txt", "--lr-nothing"], None),
    ],
)
def test_resume_alone_is_auto(words: list[str], expected: Any) -> None:
    if expected is None:
        with pytest.raises(Exception, match="lr.nothing"):
            train.make_context("train", words)
        return
    ctx = train.make_context("train", words)
    assert (ctx.params["resume"], ctx.params["files"], ctx.meta["pylm.settings"]) == expected


@pytest.mark.parametrize(
    ("typed", "says", "hint"),
    [
        ("--gpus 2", "--gpus 2: this machine has no GPU that torch reaches", "--device cpu"),
        ("--gpus 9999 --device cpu", "--gpus 9999: this machine has ", "--gpus "),
        ("--gpus 2 --device cuda", "this machine has no GPU that torch reaches", "--device cpu"),
        ("--gpus 2 --device mps", "MPS trains on one device, not on 2", "leave --gpus out"),
        ("--gpus 2 --backend mlx", "MLX trains on one device, not on 2", "leave --gpus out"),
        ("--gpus 2 --device cuda:1", "--device cuda:1 is one device, and --gpus 2 are several", "--device cuda"),
        ("--gpus 0", "--gpus 0 is no number of devices", "1 is one process"),
        ("--gpus -1", "--gpus -1 is no number of devices", "1 is one process"),
        ("--gpus 2 --device cpu --max-restarts -1", "--max-restarts -1 is no number of new starts", "0 starts none"),
        ("--nodes a,b", "--nodes a,b goes with --gpus", "--gpus 8"),
        ("--nodes a,b --gpus 2 --device cpu", "machines that train together write to one folder", "--out runs/x"),
        ("--max-restarts 2", "--max-restarts 2 goes with --gpus", "--gpus 8"),
    ],
)
def test_more_devices_than_can_train_are_refused(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, typed: str, says: str, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    said = refused(capsys, *typed.split())
    assert says in said and hint in said and os.listdir(tmp_path) == []


def test_fewer_gpus_than_asked_for_are_counted(capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    said = refused(capsys, "--gpus", "4")
    assert "--gpus 4: this machine has 3 GPUs" in said and "hint: --gpus 3" in said
    monkeypatch.setattr("torch.distributed.is_nccl_available", lambda: False)
    assert "has no NCCL" in refused(capsys, "--gpus", "3")


def test_a_launcher_of_another_number_of_processes_is_refused(
    capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert "--gpus 4, and a launcher started 2 processes here" in refused(capsys, "--gpus", "4")


@pytest.mark.parametrize(
    ("before", "typed", "offered"),
    [
        (["--optimizer"], "", ["adamw", "muon"]),
        (["--schedule"], "c", ["cosine", "constant"]),
        (["--precision"], "", ["bf16", "fp16", "fp32", "auto"]),
        (["--sample-every"], "", ["auto", "null"]),
        (["--data", "x", "--train.optimizer"], "m", ["muon"]),
    ],
)
def test_the_words_that_a_key_accepts_are_completed(before: list[str], typed: str, offered: list[str]) -> None:
    from click.shell_completion import ShellComplete

    completions = ShellComplete(root, {}, "pylm", "_PYLM_COMPLETE").get_completions(["train", *before], typed)
    assert [one.value for one in completions] == offered
    assert isinstance(train, click.Command)
