"""A run from another's checkpoint: its moments and its rate, held to torch's own AdamW, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pylm
from pylm.checkpoint import find, steps, verify
from pylm.cli import run as command
from pylm.data import Loader
from pylm.errors import CheckpointError, ConfigError, UsageError
from pylm.training import events, record, words
from pylm.wording import in_options
from tests.support.plain_llama import PlainLlama, Recipe
from tests.support.shards import write_shards

ROWS, CONTEXT = 4, 16
SHAPE: Any = {"n_layers": 1, "n_heads": 2, "d_model": 16, "context_length": CONTEXT}
HERE: Any = {"device": "cpu", "compile": False, "backend": "torch", "precision": "fp32", "eval_every": None,
             "log_every": 1}  # fmt: skip
ONE: Any = {**SHAPE, **HERE, "batch_tokens": ROWS * CONTEXT, "max_steps": 12, "save_every": 4, "keep_last": 9}
TWO: Any = {**HERE, "data": "other", "seed": 5, "max_steps": 6, "schedule": "linear"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYLM_CACHE", str(folder / "cache"))
        write_shards(folder / "ids", 60, np.random.default_rng(2), count=4000)
        write_shards(folder / "other", 60, np.random.default_rng(3), count=4000)
        trained("one", data="ids", learning_rate=1e-2, **ONE)
        muon = {"optimizer": "muon", "embed_lr": 5e-2, "scalar_lr": 1e-3, "weight_decay": 0.2, "betas": (0.8, 0.9)}
        trained("muon", data="ids", learning_rate=1e-2, schedule="wsd", **muon, **ONE)
    return folder


@pytest.fixture(autouse=True)
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))


def trained(out: str, **keys: Any) -> list[events.Event]:
    heard: list[events.Event] = []
    shutil.rmtree(out, ignore_errors=True)
    pylm.train(out=out, on_event=heard.append, **keys)
    return heard


def steps_of(run: str, what: str) -> list[float]:
    return [record[what] for record in pylm.Run(run).metrics() if "lr" in record]


def tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    stored = verify(folder).weights() if name == "model" else verify(folder).optimizer()
    kinds = {"F32": torch.float32, "I64": torch.int64}
    return {name: torch.frombuffer(bytearray(one.data), dtype=kinds[one.dtype]).view(one.shape)
            for name, one in stored.items()}  # fmt: skip


@pytest.mark.parametrize("state", ["keep", "fresh"])
def test_it_is_torchs_adamw_with_those_moments_from_that_rate_down_to_zero(state: str) -> None:
    trained("two", init_from="one/step_8", optimizer_state=state, learning_rate="inherit", **TWO)
    begun = steps_of("one", "lr")[7]
    assert begun < 8e-3  # on its way down
    assert steps_of("two", "lr") == pytest.approx([begun * (1 - step / 5) for step in range(6)], abs=1e-12)
    assert steps_of("two", "lr")[0] == begun and steps_of("two", "lr")[-1] == 0.0

    plain = PlainLlama(tensors(find("one/step_8"), "model"), Recipe(1, 2, steps=6, learning_rate=begun, warmup=0))
    if state == "keep":
        moments = tensors(find("one/step_8"), "optimizer")
        for name, tensor in plain.w.items():
            plain.optimizer.state[tensor] = {
                "step": moments["step"].float(),
                "exp_avg": moments[f"first.{name}"].clone(),
                "exp_avg_sq": moments[f"second.{name}"].clone(),
            }
        plain.optimizer.load_state_dict(plain.optimizer.state_dict())
    loader = Loader("other", CONTEXT, ROWS, seed=5)
    batches = [loader.batch(number) for number in range(6)]
    losses = [plain.step(one.inputs, one.targets, begun * (1 - n / 5))[0] for n, one in enumerate(batches)]
    assert steps_of("two", "loss") == pytest.approx(losses, abs=2e-5)
    taken = int(tensors(find("two/last"), "optimizer")["step"])
    assert taken == (14 if state == "keep" else 6)


def test_moments_make_a_difference_that_the_bound_above_sees() -> None:
    losses = []
    for state in ("keep", "fresh"):
        trained("two", init_from="one/step_8", optimizer_state=state, learning_rate="inherit", **TWO)
        losses.append(steps_of("two", "loss"))
    assert losses[0][0] == losses[1][0] and max(abs(a - b) for a, b in zip(*losses, strict=True)) > 1e-3


def test_what_nobody_gives_is_the_checkpoints_and_is_said_and_kept() -> None:
    heard = trained("two", init_from="muon/step_4", optimizer_state="keep", learning_rate="inherit", **TWO)
    found, before = pylm.Run("two").config.train, pylm.Run("muon").config.train
    assert found.optimizer == "muon" and found.betas == (0.8, 0.9) and found.weight_decay == 0.2
    assert found.learning_rate == before.learning_rate == 1e-2  # a wsd that does not fall yet
    assert (found.embed_lr, found.head_lr, found.scalar_lr) == (5e-2, None, 1e-3)
    assert found.batch_tokens == ROWS * CONTEXT and found.warmup_steps == 0 and found.min_lr_ratio == 0
    (said,) = [event for event in heard if isinstance(event, events.Initialised)]
    (line,) = words.said(said)
    assert line == (
        "weights and optimizer of muon/checkpoints/step_4, batch_tokens 64, optimizer muon, betas (0.8, 0.9), "
        "weight_decay 0.2, grad_clip 1, learning_rate 0.01, embed_lr 0.05, scalar_lr 0.001, warmup_steps 0; "
        "schedule and data are fresh"
    )
    state = verify(find("two/last")).state["init_from"]
    assert state == json.loads(Path("two/environment.json").read_text())["init_from"]
    assert (state["checkpoint"], state["step"]) == ("muon/checkpoints/step_4", 4)
    assert state["weights"] == verify(find("muon/step_4")).hash_of("model.safetensors")
    assert state["train"]["embed_lr"] == 5e-2


def test_rates_of_groups_fall_with_the_schedule_and_those_given_stay_as_given() -> None:
    keys = {"init_from": "muon/step_12", "learning_rate": "inherit", **TWO}
    share = steps_of("muon", "lr")[-1] / 1e-2
    assert share == pytest.approx(0.1)
    trained("two", head_lr=3e-4, warmup_steps=2, batch_tokens=32, **keys)
    found = pylm.Run("two").config.train
    assert found.learning_rate == pytest.approx(1e-3) and found.embed_lr == pytest.approx(5e-3)
    assert found.scalar_lr == pytest.approx(1e-4) and found.head_lr == 3e-4
    assert found.warmup_steps == 2 and found.batch_tokens == 32 and found.optimizer == "adamw"


def test_the_rate_of_a_run_under_a_clock_is_the_one_it_wrote_down() -> None:
    keys = {**ONE, "max_steps": 8, "max_time": 600, "save_every": 3}
    trained("clock", data="ids", learning_rate=1e-2, **keys)
    for step in (3, 6):
        trained("two", init_from=f"clock/step_{step}", learning_rate="inherit", **{**TWO, "max_steps": 1})
        assert steps_of("two", "lr") == [steps_of("clock", "lr")[step - 1]]


def test_mlx_keeps_the_same_moments() -> None:
    pytest.importorskip("mlx.core")
    keys = {"init_from": "one/step_8", "optimizer_state": "keep", "learning_rate": "inherit", **TWO}
    trained("two", **keys)
    trained("mlx", **{**keys, "backend": "mlx"})
    assert steps_of("mlx", "loss") == pytest.approx(steps_of("two", "loss"), abs=1e-4)
    assert steps_of("mlx", "lr") == steps_of("two", "lr")


@pytest.fixture(scope="module")
def foreign(workplace: Path) -> str:
    """Weights alone, as `save_pretrained` leaves them."""
    shutil.copytree(workplace / "one/checkpoints/step_8", workplace / "weights")
    for name in ("manifest.json", "optimizer.safetensors", "state.json"):
        (workplace / "weights" / name).unlink()
    return "weights"


REFUSED: Any = [
    ({"init_from": "weights", "optimizer_state": "keep"}, CheckpointError, "weights holds no state of an optimizer",
     "--optimizer-state fresh begins with its weights alone"),
    ({"init_from": "weights", "learning_rate": "inherit"}, CheckpointError, "does not say where its learning rate",
     "--learning-rate 0.0003"),
    ({"init_from": "one/step_8", "optimizer_state": "keep", "optimizer": "muon"}, ConfigError,
     "of another optimizer: muon is adamw there", "leave --optimizer out"),
    ({"init_from": "one/step_8", "optimizer_state": "keep", **SHAPE, "d_model": 32}, ConfigError,
     "another model: d_model 32 is 16 there", "leave the shape out"),
    ({"learning_rate": "inherit", **SHAPE}, ConfigError, "--learning-rate inherit is for a run that begins",
     "--init-from CHECKPOINT"),
    ({"optimizer_state": "keep", **SHAPE}, ConfigError, "--optimizer-state keep is for a run that begins",
     "--init-from CHECKPOINT"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "kind", "sentence", "hint"), REFUSED)
def test_what_cannot_be_kept_is_one_sentence(foreign: str, keys: Any, kind: Any, sentence: str, hint: str) -> None:
    with pytest.raises(kind) as caught:
        trained("refused", **{**TWO, **keys})
    message, advice = (in_options(text or "") for text in caught.value.marked)
    assert sentence in message and hint in advice and not Path("refused").exists()


def test_a_rate_of_zero_is_not_inherited_and_the_hint_trains_one_that_is() -> None:
    trained("annealed", data="ids", learning_rate=1e-2, **{**ONE, "min_lr_ratio": 0.0, "max_steps": 4})
    with pytest.raises(CheckpointError, match="step_4 was annealed to the end: its learning rate stood at 0") as caught:
        trained("two", init_from="annealed", learning_rate="inherit", **TWO)
    hint = in_options(caught.value.marked[1] or "")
    line = "pylm train --data ids --schedule constant"
    assert hint.startswith(line) and "before its decay" in hint
    small = [
        f"--{key.replace('_', '-')}={value}" for key, value in {**ONE, "max_steps": 2}.items() if value is not None
    ]
    assert command([*line.split()[1:], *small, "--out", "constant"]) == 0
    trained("two", init_from="constant", learning_rate="inherit", **TWO)
    assert steps_of("two", "lr")[0] == steps_of("constant", "lr")[-1] > 0


def test_a_run_that_goes_on_inherits_nothing_anew() -> None:
    with pytest.raises(ConfigError, match="this one goes on"):
        pylm.train(out="one", resume="auto", max_steps=14, learning_rate="inherit", on_event=lambda event: None)
    with pytest.raises(ConfigError, match="optimizer_state keep"):
        pylm.train(out="one", resume="auto", max_steps=14, optimizer_state="keep", on_event=lambda event: None)
    with pytest.raises(UsageError, match="goes on with a run"):
        pylm.train(out="one", resume="auto", init_from="one/step_8", learning_rate="inherit")


def test_a_run_that_goes_on_in_a_straight_line_ends_at_zero_unless_it_is_told_otherwise() -> None:
    for given, floor in (({}, 0.0), ({"min_lr_ratio": 0.5}, 5e-3)):
        trained("bent", data="ids", learning_rate=1e-2, **{**ONE, "max_steps": 2})
        pylm.train(out="bent", resume="auto", max_steps=4, schedule="linear", on_event=lambda event: None, **given)
        assert steps_of("bent", "lr")[-1] == floor
        pylm.train(out="bent", resume="auto", max_steps=6, schedule="linear", on_event=lambda event: None)
        assert steps_of("bent", "lr")[-1] == floor


def left_at(step: int, monkeypatch: pytest.MonkeyPatch, **keys: Any) -> None:
    """Train until a step, after which nothing is done any more but what a checkpoint's thread has begun."""
    plain = record.watch

    def watch(session: Any, result: Any) -> None:
        plain(session, result)
        if session.progress.step == step:
            raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(record, "watch", watch)
        with pytest.raises(MemoryError):
            pylm.train(on_event=lambda event: None, **keys)


def test_left_before_and_after_its_first_checkpoint_it_is_the_uninterrupted_run(monkeypatch: Any) -> None:
    keys = {"init_from": "one/step_8", "optimizer_state": "keep", "learning_rate": "inherit", **TWO, "save_every": 3}
    trained("whole", **keys)
    left_at(2, monkeypatch, out="parts", **keys)
    assert not steps(Path("parts"))
    left_at(1, monkeypatch, out="parts", resume="auto")
    left_at(5, monkeypatch, out="parts", resume="auto")
    assert steps(Path("parts")) == [3]
    pylm.train(out="parts", resume="auto", on_event=lambda event: None)
    for name in ("model", "optimizer"):
        ours, wanted = (Path(run, f"checkpoints/step_6/{name}.safetensors") for run in ("parts", "whole"))
        assert ours.read_bytes() == wanted.read_bytes()
    begun = [verify(find(f"{run}/last")).state["init_from"] for run in ("parts", "whole")]
    assert begun[0] == begun[1] and Path("parts/config.yaml").read_text() == Path("whole/config.yaml").read_text()


def test_another_checkpoint_in_its_place_is_no_beginning_anew(monkeypatch: Any) -> None:
    shutil.copytree("one", "moving")
    left_at(2, monkeypatch, init_from="moving/step_8", optimizer_state="keep", out="lost", **TWO)
    shutil.rmtree("moving/checkpoints/step_8")
    os.rename("moving/checkpoints/step_4", "moving/checkpoints/step_8")
    with pytest.raises(CheckpointError, match="is another checkpoint now than the one that lost began with"):
        pylm.train(out="lost", resume="auto", on_event=lambda event: None)
    shutil.rmtree("moving")
    with pytest.raises(CheckpointError, match="no checkpoint at moving"):
        pylm.train(out="lost", resume="auto", on_event=lambda event: None)
