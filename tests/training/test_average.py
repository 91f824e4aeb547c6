"""Averages of the weights: numpy in float64 over the weights of each step, to the bit through stops and kills."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pylm
from pylm import checkpoint
from pylm.cli import run as command
from pylm.config.schema import Train
from pylm.data import Loader
from pylm.data.stories import stories
from pylm.errors import CheckpointError, ConfigError, Interrupted
from pylm.runs import read_lines
from pylm.training import events, record
from pylm.training.average import Averaging
from pylm.training.loop import train
from pylm.wording import in_options
from tests.support.plain_llama import PlainLlama, Recipe
from tests.training.test_kills_between import Kill, Killed

CONTEXT = 16
SMALL: Any = {"n_layers": 1, "n_heads": 2, "d_model": 32, "context_length": CONTEXT, "batch_tokens": 64,
              "max_steps": 9, "save_every": 4, "eval_every": 4, "keep_last": 9, "log_every": 1, "learning_rate": 1e-2,
              "device": "cpu", "compile": False, "backend": "torch", "precision": "fp32"}  # fmt: skip
VOLATILE = {"seconds", "tokens_per_second", "phase", "mfu", "memory"}
Weights = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("averages")
    (folder / "stories.txt").write_text("".join(stories(60_000)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYLM_CACHE", str(folder / "cache"))
        assert command(["tokenize", "stories.txt", "--vocab-size", "280", "--val", "0.1", "--out", "data"]) == 0
        trained("off")
        trained("ema", average="ema", average_decay=0.9, average_every=2)
    return folder


@pytest.fixture(autouse=True)
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))


def trained(out: str, **keys: Any) -> list[events.Event]:
    heard: list[events.Event] = []
    shutil.rmtree(out, ignore_errors=True)
    pylm.train(data="data", out=out, on_event=heard.append, **{**SMALL, "sample_every": None, **keys})
    return heard


def numbers(tensors: Any) -> Weights:
    return {name: np.frombuffer(one.data, np.float32).reshape(one.shape).astype(np.float64)
            for name, one in tensors.items()}  # fmt: skip


def metrics(run: str | Path) -> list[dict[str, Any]]:
    records = read_lines(Path(run) / "metrics.jsonl")
    return [{key: value for key, value in record.items() if key not in VOLATILE} for record in records]


def expected(weights: dict[int, Any], kind: str, decay: float, every: int, first: int, step: int) -> Any:
    """The mean of what was there at each averaged step, weighted by its age, in float64."""
    steps = [n for n in sorted(weights) if n % every == 0 and first <= n <= step]
    return np.average([weights[n] for n in steps], axis=0, weights=[decay ** (step - n) for n in steps])


RUNS: Any = {
    "ema": ({"average": "ema", "average_decay": 0.8, "average_every": 2}, 0.8, 2, 1),
    "mean from 5 on": ({"average": "mean", "average_every": 1, "average_from": 5, "precision": "bf16"}, 1.0, 1, 5),
    "of Muon": ({"average": "ema", "average_every": 3, "average_from": 4, "optimizer": "muon"}, 0.999, 3, 4),
    "MLX": ({"average": "ema", "average_decay": 0.7, "average_every": 2, "backend": "mlx"}, 0.7, 2, 1),
}


@pytest.mark.parametrize("name", RUNS)
def test_it_is_numpys_of_the_weights_at_each_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, decay, every, first = RUNS[name]
    if name == "MLX":
        pytest.importorskip("mlx.core")
    plain, seen = record.watch, {}

    def watch(session: Any, result: Any) -> None:
        seen[session.progress.step] = numbers(session.backend.weights())
        plain(session, result)

    monkeypatch.setattr(record, "watch", watch)
    trained("run", **keys)
    for step in (4, 8, 9):
        found = checkpoint.verify(Path(f"run/checkpoints/step_{step}")).average()
        averaged = [n for n in range(first, step + 1) if n % every == 0]
        assert (found is not None) == bool(averaged)
        if found is None:
            continue
        for tensor, value in numbers(found.weights()).items():
            weights = {n: seen[n][tensor] for n in seen}
            wanted = expected(weights, keys["average"], decay, every, first, step)
            np.testing.assert_allclose(value, wanted, rtol=3e-7, atol=3e-8)
            assert len(averaged) < 2 or np.abs(value - weights[step]).max() > 1e-5  # which an average is not


@pytest.mark.parametrize("decay", [0.5, 0.999, 0.9999999])
def test_shares_make_the_weighted_mean_over_thousands_of_steps(decay: float) -> None:
    """The rule alone, in float64 against the definition: its weights sum to one, whatever the number of steps."""
    values = np.random.default_rng(1).normal(size=3000)
    for given, weighted in (({"average": "ema", "average_decay": decay}, decay), ({"average": "mean"}, 1.0)):
        rule = Averaging.of(Train.model_validate({**given, "average_every": 3, "average_from": 10}))
        assert rule is not None
        average, count = 0.0, 0
        for step in range(1, 3001):
            if (share := rule.share(step)) is not None:
                average, count = average + share * (values[step - 1] - average), count + 1
        steps = np.arange(12, 3001, 3)
        assert count == rule.count(3000) == len(steps) and rule.count(11) == 0
        weights = weighted ** (3000.0 - steps)
        assert average == pytest.approx(np.average(values[steps - 1], weights=weights), rel=1e-9)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_changes_nothing_of_the_run(precision: str) -> None:
    trained("without", precision=precision)
    trained("with", average="ema", average_every=1, precision=precision)
    for name in ("model", "optimizer"):
        file = f"checkpoints/step_9/{name}.safetensors"
        assert Path("with", file).read_bytes() == Path("without", file).read_bytes()
    assert [{k: v for k, v in one.items() if k != "average_val_loss"} for one in metrics("with")] == metrics("without")
    manifest = Path("off/checkpoints/step_9/manifest.json").read_text()
    assert "average" not in manifest and not Path("off/checkpoints/step_9/average").exists()
    assert "average" not in checkpoint.verify(checkpoint.find("off/last")).state


def test_it_is_evaluated_beside_the_weights() -> None:
    heard = trained("run", average="mean", average_every=2, average_from=6)
    found = {one["step"]: one for one in metrics("run") if "val_loss" in one}
    assert found.keys() == {4, 8, 9} and "average_val_loss" not in found[4]  # nothing is averaged yet
    told = {event.step: event.average_val_loss for event in heard if isinstance(event, events.Evaluated)}
    assert told == {4: None, 8: found[8]["average_val_loss"], 9: found[9]["average_val_loss"]}
    windows = Loader("data", CONTEXT, 1, split="val").windows
    batch = Loader("data", CONTEXT, windows, split="val", seed=0).batch(0)
    last = found[9]
    for name, key in (("run/last", "val_loss"), ("run/average", "average_val_loss")):
        weights = numbers(checkpoint.read(checkpoint.find(name)).weights()).items()
        masters = {tensor: torch.from_numpy(value).float() for tensor, value in weights}
        plain = PlainLlama(masters, Recipe(1, 2, steps=1, learning_rate=1.0, warmup=0))
        assert last[key] == pytest.approx(plain.mean_loss(batch.inputs, batch.targets), abs=2e-5)
    assert abs(last["val_loss"] - last["average_val_loss"]) > 1e-3


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_a_resumed_run_has_the_average_of_the_uninterrupted_one(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend == "mlx":
        pytest.importorskip("mlx.core")
    keys = {"average": "ema", "average_decay": 0.9, "average_every": 2, "backend": backend}
    trained("whole", **keys)
    plain, stops = record.watch, [1, 3, 7]

    def watch(session: Any, result: Any) -> None:
        plain(session, result)
        if stops and session.progress.step == stops[0]:
            stops.pop(0)
            session.hooks.stop.ask(signal.SIGTERM)

    monkeypatch.setattr(record, "watch", watch)
    with pytest.raises(Interrupted):
        trained("parts", **keys)
    while stops:
        with pytest.raises(Interrupted):
            pylm.train(out="parts", resume="auto", on_event=lambda event: None)
    pylm.train(out="parts", resume="auto", on_event=lambda event: None)
    for step in (4, 8, 9):
        for name in ("model.safetensors", "optimizer.safetensors", "average/model.safetensors"):
            file = f"checkpoints/step_{step}/{name}"
            assert Path("parts", file).read_bytes() == Path("whole", file).read_bytes(), file
    assert metrics("parts") == metrics("whole")


def test_a_stop_within_its_evaluation_makes_both_again(session: Any, tmp_path: Path) -> None:
    settings = {"steps": 6, "eval_every": 3, "average": "mean", "average_every": 1}
    train(session("whole", **settings))
    one = session("parts", **settings)
    evaluate, calls = one.hooks.evaluate, []

    def stopping(backend: Any, asked: Any) -> Any:
        calls.append(backend.table is backend.mean)
        if calls[-1]:
            one.hooks.stop.ask(signal.SIGTERM)
        return evaluate(backend, asked)

    one.hooks.evaluate = stopping
    with pytest.raises(Interrupted):
        train(one)
    one.files.folder.close()
    assert calls == [False, True] and not [line for line in metrics(tmp_path / "parts") if "val_loss" in line]
    train(session("parts", checkpoint=checkpoint.verify(tmp_path / "parts/checkpoints/step_3"), **settings))
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    ours, wanted = (tmp_path / f"{run}/checkpoints/step_6/average/model.safetensors" for run in ("parts", "whole"))
    assert ours.read_bytes() == wanted.read_bytes()


def test_killed_anywhere_within_a_save_it_is_the_average_of_the_uninterrupted_run(
    session: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"steps": 2, "eval_every": None, "save_every": 1, "keep_last": 1, "log_every": 2, "average": "ema",
                "average_every": 1, "average_decay": 0.5}  # fmt: skip
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # still a point to be killed at, and faster
    train(session("whole", **settings))
    file, at = "checkpoints/step_2/average/model.safetensors", 0
    while True:
        at += 1
        run = tmp_path / f"killed-{at}"
        one = session(run.name, **settings)
        with monkeypatch.context() as patch:
            kill = Kill(patch, at, Killed, True)
            try:
                train(one)
            except Killed:
                pass
            one.files.saver.finish()
        one.files.folder.close()
        if kill.count < at:
            break
        if (sound := checkpoint.newest_sound(run)) is None:
            continue
        assert checkpoint.find(f"{run}/average") == sound / "average"
        train(session(run.name, checkpoint=checkpoint.verify(sound), **settings))
        assert (run / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
        assert not list((run / "checkpoints").glob(".partial*"))
        shutil.rmtree(run)
    assert at > 40


def test_it_is_a_checkpoint_everywhere(capsys: Any) -> None:
    assert command(["sample", "--checkpoint", "ema/average", "--max-tokens", "4", "--prompt", "the"]) == 0
    assert command(["verify", "ema/average"]) == 0
    found = pylm.evaluate("ema", checkpoint="average", data="data").loss
    raw = pylm.evaluate("ema", checkpoint="last", data="data").loss
    assert found != raw and pylm.evaluate("ema/step_9/average", data="data").loss == found
    trained("on", init_from="ema/average", max_steps=1, average="off")
    begun = checkpoint.verify(checkpoint.find("on/last")).state["init_from"]
    assert begun["weights"] == checkpoint.read(checkpoint.find("ema/average")).hash_of("model.safetensors")
    pylm.train(data="data", out="inherits", init_from="ema/step_4/average", learning_rate="inherit", max_steps=1,
               device="cpu", on_event=lambda event: None)  # fmt: skip
    lr = {one["step"]: one["lr"] for one in metrics("ema") if "lr" in one}
    assert pylm.Run("inherits").config.train.learning_rate == lr[4]


def refused(kind: Any, **keys: Any) -> tuple[str, str]:
    with pytest.raises(kind) as caught:
        pylm.train(on_event=lambda event: None, **keys)
    return in_options(caught.value.marked[0] or ""), in_options(caught.value.marked[1] or "")


def test_what_it_is_not_is_one_sentence() -> None:
    assert refused(CheckpointError, data="data", out="x", init_from="off/average")[0] == (
        "off/checkpoints/step_9 holds no average of the weights"
    )
    keeps = refused(CheckpointError, data="data", out="x", init_from="ema/average", optimizer_state="keep")
    assert "step_9/average holds no state of an optimizer to keep" in keeps[0]
    sentence, hint = refused(CheckpointError, resume="ema/average", out="x")
    assert "is an average of weights, from which no run goes on" in sentence and "--init-from ema" in hint
    assert "train.average ema" in refused(ConfigError, resume="auto", out="off", max_steps=12, average="ema")[0]
    assert "train.average_every 5" in refused(ConfigError, resume="auto", out="ema", average="ema", average_every=5)[0]


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"average": "mean", "average_decay": 0.9}, "average_decay is for an average that is ema, and it is mean"),
        ({"average_decay": 0.9}, "average_decay is given, and average is off"),
        ({"average_every": 5}, "average_every is given, and average is off"),
        ({"average": "off", "average_from": 5}, "average_from is given, and average is off"),
        ({"average": "ema", "average_decay": 1.0}, "1.0 is not below 1.0"),
        ({"average": "ema", "average_decay": 0}, "0 is not above 0.0"),
        ({"average": "ema", "average_every": 0}, "0 is less than 1"),
        ({"average": "emma"}, "'emma' is none of off, ema, mean"),
    ],
)
def test_keys_that_mean_nothing_together_are_refused(keys: Any, sentence: str) -> None:
    assert sentence in refused(ConfigError, data="data", out="x", **{**SMALL, **keys})[0]
    assert not Path("x").exists()


def test_a_checkpoint_whose_average_was_taken_out_is_damaged_and_not_begun_anew() -> None:
    shutil.copytree("ema", "robbed")
    for step in checkpoint.steps(Path("robbed")):
        shutil.rmtree(f"robbed/checkpoints/step_{step}/average")
    assert "robbed has no sound checkpoint" in refused(CheckpointError, resume="auto", out="robbed", max_steps=12)[0]


def test_the_plan_counts_it() -> None:
    keys: Any = {"data": "data", "probe": False, **SMALL}
    without, with_it = pylm.plan(**keys), pylm.plan(**keys, average="ema")
    assert with_it.disk_checkpoint - without.disk_checkpoint == 4 * without.parameters
    assert with_it.memory - without.memory >= 4 * without.parameters
