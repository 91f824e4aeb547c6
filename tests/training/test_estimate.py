"""Plans: counts against torch's own, suggestions planned again, refusals in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pylm
from pylm.cli import run
from pylm.config.given import Given
from pylm.config.schema import Finetune, Model
from pylm.config.shape import complete
from pylm.errors import DataError, UsageError
from pylm.training.estimate import make
from pylm.training.estimate.adapted import memory_of
from pylm.training.estimate.heap import Heap
from pylm.training.estimate.memory import Run
from pylm.training.estimate.room import Room
from pylm.training.plan import flops_per_token
from pylm.training.request import Request
from pylm.training.trained import EVERYTHING, Trained, trained_by

SHAPE = {"n_layers": 2, "n_heads": 2, "d_model": 64, "context_length": 32}
LAYOUTS: list[dict[str, Any]] = [
    {},
    {"norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True},
    {"mlp": "relu2", "tied": False, "value_embeddings": True, "residual_lambdas": True, "qk_norm": True},
    {"mlp": "relu2", "tied": False, "qk_norm": True, "norm_gain": False, "embed_norm": True, "logit_softcap": 15.0},
]


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Plan without data and without a probe, on a machine with as much memory and disk as is given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))

    def plan(memory: int = 1 << 40, disk: int = 1 << 40, **keys: Any) -> Any:
        monkeypatch.setattr(make, "room_of", lambda machine, out: Room(memory, disk, None, "here"))
        return pylm.plan(**{"vocab_size": 300, "max_tokens": 32 * 100, "probe": False, **SHAPE, **keys})

    return plan


def test_a_heap_reuses_what_is_free_and_joins_neighbours() -> None:
    heap = Heap()
    a, b, c = (heap.take("x", 1 << 20) for _ in range(3))
    heap.give(a)
    heap.take("x", 1 << 20)  # aligned, it asks for a little more than where the first one lay
    assert heap.peak == 4 << 20
    heap.give(b)
    heap.take("x", (1 << 20) + 4096)  # the first two places are one by now
    assert heap.peak == 4 << 20
    heap.give(c)
    assert heap.live_peak == (3 << 20) + 4096


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parameters_and_states_are_those_of_a_real_backend(layout: dict[str, Any], planned: Any) -> None:
    from pylm.config.schema import Train
    from pylm.training.torch_backend.backend import make as make_backend

    shape = complete(Model(**SHAPE, **layout), 300)
    backend = make_backend(shape, Train(precision="bf16", optimizer="muon", compile=False))
    count = sum(master.numel() for master in backend.masters.values())
    moments = sum(4 * moment.numel() for name, moment in backend.optimizer.state().items() if name != "step")
    plan = planned(precision="bf16", optimizer="muon", **layout)
    assert plan.parameters == count
    assert plan.disk_checkpoint == 4 * count + moments


def live_of_a_pass(shape: Model, rows: int, trained: Trained = EVERYTHING) -> int:
    """What torch holds at the most in a pass forward and backward, by its own profiler, over what it holds before."""
    import numpy as np
    import torch

    from pylm.config.schema import Train
    from pylm.training.backend import MicroBatch
    from pylm.training.torch_backend.backend import make as make_backend

    backend = make_backend(shape, Train(precision="fp32", compile=False), trained=trained)
    ids = np.zeros((rows, shape.context_length), np.int64)
    batch = MicroBatch(ids, ids)
    if trained.dpo_beta is not None:
        halves = np.arange(0, ids.size + 1, shape.context_length // 2, dtype=np.int32)
        batch = MicroBatch(ids, ids, halves, np.zeros(ids.shape))
    backend.forward_backward(batch)
    backend.forget_gradients()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        backend.forward_backward(batch)
    events = [each for each in profile.profiler.kineto_results.events() if each.name() == "[memory]"]
    live = most = 0
    for event in sorted(events, key=lambda each: each.start_ns()):
        live += event.nbytes()
        most = max(most, live)
    return most


TUNED = ("lora", "dpo", "dpo-lora")


@pytest.mark.parametrize("method", ["full", *TUNED])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pass_holds_what_torch_says_that_it_holds(layout: dict[str, Any], method: str) -> None:
    shape = complete(Model(**{**SHAPE, "context_length": 256}, **layout), 2048)
    trained = trained_by(shape, Finetune(method=method), None)
    memory = memory_of(Run(shape, "fp32", "adamw", False, rows=8, passes=1, trained=trained))
    memory.step(8, 1)
    threads = memory.heap.parts_at_peak.get("kept", 0)  # which torch does not count
    assert memory.heap.live_peak - threads == pytest.approx(live_of_a_pass(shape, 8, trained), rel=0.01)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("new", [None, range(290, 300)])
def test_adapters_hold_what_a_real_backend_of_them_holds(precision: Any, new: range | None) -> None:
    from pylm.config.schema import Train
    from pylm.training.torch_backend.backend import make as make_backend

    shape = complete(Model(**{**SHAPE, "d_model": 128}), 300)
    trained = trained_by(shape, Finetune(method="lora"), new)
    backend = make_backend(shape, Train(precision=precision, compile=False), trained=trained)
    moments = [one for name, one in backend.optimizer.state().items() if name != "step"]
    held = [*backend.model.parameters(), *moments]
    held += backend.masters.values() if precision == "bf16" else []  # which in fp32 are the parameters themselves
    memory = memory_of(Run(shape, precision, "adamw", False, rows=8, passes=1, trained=trained))
    memory.make()
    assert memory.heap.live_peak == pytest.approx(sum(one.numel() * one.element_size() for one in held), rel=0.01)
    copies = memory.copies()
    assert sum(size for _, size, _ in copies) == pytest.approx(
        sum(4 * one.numel() for one in [*backend.masters.values(), *moments]), rel=0.01
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_flops_are_those_that_torch_counts(layout: dict[str, Any]) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from pylm.model.torch import Model as TorchModel

    # a vocabulary without padding; a window of one token: attention's own products are the same in both, and few
    shape = complete(Model(**SHAPE, **layout, attention="reference"), 512)
    model, ids = TorchModel(shape), torch.zeros(1, 32, dtype=torch.int64)
    with FlopCounterMode(display=False) as counted:
        model(ids)
    forward = counted.get_total_flops() / 32
    halves = 4 * shape.n_layers * shape.n_heads * shape.head_dim * 32 / 2  # torch counts what the mask hides too
    assert flops_per_token(shape) / 3 == pytest.approx(forward - halves, rel=1e-9)


def test_each_change_that_is_named_fits(planned: Any) -> None:
    big = {"d_model": 512, "context_length": 1024, "micro_batch": 16, "grad_accum_steps": 1, "max_tokens": 1 << 20}
    whole = planned(**big)
    assert whole.fits
    short = planned(memory=whole.memory - 100_000_000, **big)
    assert not short.fits and "of memory are needed" in short.why_not[0] and short.changes
    for change in short.changes:
        keys = {key.partition(".")[2]: value for key, value in change.keys.items() if value is not None}
        again = planned(memory=whole.memory - 100_000_000, **{**big, "grad_accum_steps": None, **keys})
        assert again.fits
        assert again.memory == pytest.approx(change.memory, rel=0.02)  # what this process holds grows meanwhile


def test_a_disk_that_is_too_small_is_said_with_what_fits(planned: Any) -> None:
    keys = {"keep_last": 8, "save_every": 1, "max_tokens": None, "max_steps": 50}
    plan = planned(disk=int(6.5 * planned(**keys).disk_checkpoint), **keys)  # four, the best, and one being written
    assert not plan.fits and "10 checkpoints of" in plan.why_not[0]
    assert dict(plan.changes[0].keys) == {"train.keep_last": 4}


def test_devices_share_tokens_and_hold_everything(planned: Any) -> None:
    keys = {"batch_tokens": 32 * 64, "micro_batch": 4}
    one, four = planned(gpus=1, **keys), planned(gpus=4, **keys)
    assert four.batch.tokens == one.batch.tokens
    assert four.batch.grad_accum_steps * 4 == one.batch.grad_accum_steps
    assert four.memory >= one.memory
    assert any("4 devices share" in note for note in four.notes)
    assert (one.parallel, one.sent) == ("none", 0)
    assert (four.parallel, four.sent) == (
        "ddp",
        3 * 8 * four.parameters // 4,
    )  # a ring's sum of fp32, as NCCL counts it
    assert any("each device sends" in note and "by NVLink" in note for note in four.notes)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_thousand_devices_hold_a_thousandth(planned: Any, precision: str, optimizer: str) -> None:
    keys = {
        "n_layers": 4,
        "d_model": 256,
        "n_heads": 4,
        "batch_tokens": 1024 * 64,
        "micro_batch": 1,
        "context_length": 64,
    }
    keys |= {"precision": precision, "optimizer": optimizer, "parallel": "fsdp"}
    one, many = planned(gpus=1, **keys), planned(gpus=1024, **keys)
    kept = one.memory_parts["weights"] + one.memory_parts["moments"]
    # rows and matrices cannot be cut finer than they are: each has a row of all, and an owner of Muon's a whole matrix
    held = sum(many.memory_parts.get(name, 0) for name in ("weights", "moments", "gradients", "matrices of Muon"))
    assert held < kept / (100 if optimizer == "adamw" else 4)
    assert many.memory < one.memory and (many.parallel, many.devices) == ("fsdp", 1024)
    assert many.sent > many.parameters  # each pass gathers all that it computes in, twice


def test_json_has_what_it_had(planned: Any) -> None:
    told = json.loads(json.dumps(planned().as_dict()))
    assert list(told) == [
        *("fits", "why_not", "changes", "parameters", "tables", "memory", "memory_parts", "memory_margin"),
        *("memory_free", "disk", "disk_checkpoint", "disk_checkpoints", "disk_shards", "disk_free", "inodes_free"),
        *("flops_per_token", "flops", "tokens", "steps", "batch", "length", "seconds", "seconds_per_step"),
        *("seconds_from", "cache_per_token", "sequences_that_fit", "devices", "parallel", "sent", "device"),
        *("precision", "notes"),
    ]
    assert sum(told["memory_parts"].values()) == told["memory"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"gpus": 0}, "gpus=0 is no number of devices"),
        ({"gpus": True}, "gpus=True is no number of devices"),
        ({"vocab_size": None}, "neither a text nor the size of a vocabulary"),
        ({"max_tokens": None}, "nothing says how long the run is"),
        ({"max_tokens": None, "max_epochs": 2.0}, "max_epochs counts a text"),
        ({"probe": "no"}, "probe='no' is neither True nor False"),
        ({"gpus": 3, "batch_tokens": 256}, "3 devices cannot share a step of 8 sequences evenly"),
        ({"n_heads": 3}, "d_model 64 is no multiple of n_heads 3"),
    ],
)
def test_bad_input_is_one_sentence(planned: Any, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        planned(**keys)
    assert said in refused.value.message
    assert "\n" not in refused.value.message


def test_the_command_leaves_with_three_where_it_does_not_fit(
    planned: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["plan", "--vocab-size", "300", "--max-steps", "10", "--no-probe", "--json"]
    words += [word for key, value in SHAPE.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    assert planned().fits  # room for everything
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out)["fits"] is True
    monkeypatch.setattr(make, "room_of", lambda machine, out: Room(1 << 20, 1 << 40, None, "here"))
    assert run(words) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["fits"] is False
    assert "of memory are needed" in err


def test_nothing_is_written(planned: Any, tmp_path: Path) -> None:
    (tmp_path / "my.txt").write_text("Once upon a time. " * 500)
    plan = make.plan(Request(Given("train"), text=("my.txt",), depth=2), probe=False)
    assert any("not tokenized yet" in note for note in plan.notes)
    assert sorted(path.name for path in tmp_path.iterdir()) in (["cache", "my.txt"], ["my.txt"])


def test_text_that_training_refuses_is_no_plan_without_a_word(planned: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("Once upon a time.")
    with pytest.raises(DataError, match="^there is no text to train on"):
        make.plan(Request(Given("train"), text=("empty.txt",), depth=2), probe=False)
    plan = make.plan(Request(Given("train"), text=("short.txt",), depth=2), probe=False)
    assert "training refuses text that does not fill a window of 256" in plan.notes


def test_the_step_that_is_named_for_devices_is_shared_evenly(planned: Any) -> None:
    with pytest.raises(UsageError) as refused:
        planned(gpus=3, batch_tokens=256)
    assert refused.value.hint == "batch_tokens=192 or batch_tokens=288"
    assert planned(gpus=3, batch_tokens=288).batch.tokens == 288
