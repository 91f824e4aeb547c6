"""What processes hold where nobody said: all of the model while it fits everywhere, else a part, as planned."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pylm
from pylm.errors import ConfigError
from pylm.training.estimate.room import Room
from pylm.training.estimate.sharing import Sharing
from tests.support.ranks import in_ranks, in_world, lines
from tests.support.shards import write_shards

SHAPE: dict[str, Any] = {"n_layers": 3, "n_heads": 2, "d_model": 64, "context_length": 32}
SHORT: dict[str, Any] = {
    **SHAPE, "backend": "torch", "device": "cpu", "precision": "fp32", "compile": False, "batch_tokens": 128,
    "micro_batch": 1, "max_steps": 3, "save_every": 2, "eval_every": 3, "eval_batches": 2, "sample_every": None,
    "learning_rate": 1e-3, "schedule": "constant", "warmup_steps": 0, "metrics": {"log_every": 1}, "keep_last": 9,
}  # fmt: skip
ROOM = 1 << 40


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharing")
    write_shards(folder / "ids", 600, np.random.default_rng(2), count=4000)
    return folder


@pytest.fixture(autouse=True)
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))


def planned(monkeypatch: pytest.MonkeyPatch, memory: int | None, gpus: int = 2, **keys: Any) -> Any:
    """Plan for devices that have so much free, none of it taken by the program itself."""
    from pylm.training.estimate import make, need

    monkeypatch.setattr(make, "room_of", lambda machine, out: Room(memory, ROOM, None, "here"))
    monkeypatch.setattr(make, "need_of", lambda subject, machine, *a: need.need_of(subject, bare(machine), *a))
    monkeypatch.setattr(make, "shared_as", lambda subject, machine, *a: shared_as(subject, bare(machine), *a))
    return pylm.plan(data="ids", gpus=gpus, probe=False, **{**SHORT, **keys})


def shared_as(*args: Any) -> Sharing:
    from pylm.training.estimate import sharing

    return sharing.shared_as(*args)


def bare(machine: Any) -> Any:
    return machine._replace(overhead=1)


def needed(plan: Any) -> int:
    return int(plan.memory + plan.memory_margin)


def test_a_plan_takes_ddp_to_the_byte_that_it_needs_and_then_fsdp(monkeypatch):
    whole, cut = (planned(monkeypatch, ROOM, parallel=mode) for mode in ("ddp", "fsdp"))
    assert cut.memory < whole.memory
    enough, short = (planned(monkeypatch, needed(whole) - less) for less in (0, 1))
    assert (enough.parallel, enough.memory, enough.fits) == ("ddp", whole.memory, True)
    assert (short.parallel, short.memory) == ("fsdp", cut.memory)
    [said] = [note for note in short.notes if note.startswith('parallel="fsdp"')]
    assert "as ddp" in said and "are needed on each of 2, and" in said and "free on the one that has least" in said
    assert planned(monkeypatch, needed(cut)).fits
    assert not planned(monkeypatch, needed(cut) - 1).fits


def test_what_only_ddp_can_do_stays_ddp_and_says_so(monkeypatch):
    whole = planned(monkeypatch, ROOM)
    plan = planned(monkeypatch, needed(whole) - 1, determinism="bitwise")
    assert plan.parallel == "ddp" and not plan.fits
    assert any('determinism="bitwise" sums in an order that fsdp does not keep' in note for note in plan.notes)
    unknown = planned(monkeypatch, None)
    assert unknown.parallel == "ddp" and any("what is free there is not known" in note for note in unknown.notes)
    assert planned(monkeypatch, 1 << 20, parallel="ddp").parallel == "ddp"
    assert planned(monkeypatch, 1 << 20, gpus=1).parallel == "none"


def test_fsdp_is_refused_beside_bitwise_before_anything_is_read():
    with pytest.raises(ConfigError, match="determinism bitwise sums in an order that parallel fsdp does not keep"):
        pylm.train(data="nowhere", out="never", parallel="fsdp", determinism="bitwise")
    assert not Path("never").exists()


def test_one_process_notes_nothing_of_others():
    before = {"micro_batch": 4, **Sharing("fsdp", "why").noted({}, 2)}
    assert before == {"micro_batch": 4, "parallel": "fsdp", "parallel_why": "why", "processes": 2}
    assert Sharing("none").noted(before, 1) == {"micro_batch": 4}
    assert Sharing("ddp").noted(before, 3)["parallel_why"] == "it was asked for"


def trained(out: str, given: dict[str, Any], free: list[float], resume: str | None = None) -> Any:
    """Train in this process, where so many bytes are free beside the program itself; the first returns the choices."""
    from pylm.training.estimate import preflight

    rank = int(os.environ.get("RANK", "0"))
    plain = preflight.machine_of
    preflight.machine_of = lambda *a, **k: plain(*a, **k)._replace(overhead=1)
    preflight.room_of = lambda machine, out: Room(int(free[rank]), ROOM, None, "here")
    heard: list[Any] = []
    run = pylm.train(data="ids", out=out, resume=resume, on_event=heard.append, **given)
    if rank:  # the first one may be writing yet
        return {}, heard
    started = [event.choices.get("parallel") for event in heard if type(event).__name__ == "Started"]
    return run.checkpoint().state["choices"], started


def test_all_processes_take_what_fits_the_smallest_and_keep_to_it(monkeypatch):
    """Of two, one has too little; a new start of as many holds to what was chosen, another number chooses anew."""
    enough = needed(planned(monkeypatch, ROOM))
    both = in_world(2, trained, "small", SHORT, [enough, enough - 1])
    assert both[0][0]["parallel"] == "fsdp" and both[0][1] == ["fsdp"] and both[1][1] == []
    assert "are free on the one that has least" in both[0][0]["parallel_why"]
    again = in_world(2, trained, "small", {"max_steps": 5}, [ROOM, ROOM], "auto")
    assert again[0][0]["parallel"] == "fsdp" and again[0][0]["parallel_why"] == both[0][0]["parallel_why"]
    [(alone, _)] = in_world(1, trained, "small", {"max_steps": 6}, [ROOM], "auto")
    assert "parallel" not in alone
    anew = in_world(2, trained, "small", {"max_steps": 7}, [ROOM, ROOM], "auto")
    assert anew[0][0]["parallel"] == "ddp"
    in_world(1, trained, "one", {**SHORT, "max_steps": 7}, [ROOM])
    losses = [lines(run, "step", "loss") for run in ("small", "one")]
    losses = [dict(rows[~np.isnan(rows[:, 1])].tolist()) for rows in losses]
    assert losses[0] == pytest.approx(losses[1], rel=0, abs=1e-6)


def cut(group: Any, compile: Any = False, optimizer: str = "adamw") -> Any:
    """Return a backend of processes that each hold a part, of weights that no device held whole."""
    from pylm.config.schema import Train
    from pylm.training.torch_backend import make
    from pylm.training.torch_backend.parallel import parallelize

    keys = {"precision": "fp32", "device": "cpu", "compile": compile, "micro_batch": "auto", "optimizer": optimizer}
    made = make(shape(), Train.model_validate(keys), run_seconds=lambda step: 1e9, whole=False)
    return parallelize(made, group, "fsdp")


def shape() -> Any:
    from pylm.config.schema import Model
    from pylm.config.shape import complete

    return complete(Model.model_validate(SHAPE), 600)


def batch(rows: int) -> Any:
    from pylm.training.backend import MicroBatch

    ids = np.random.default_rng(0).integers(0, 600, (rows, 33))
    return MicroBatch(ids[:, :-1].copy(), ids[:, 1:].copy())


def bytes_alive(group: Any, optimizer: str) -> int:
    """Return the bytes of all tensors that there are once a model is cut."""
    import gc

    import torch
    from torch.distributed.tensor import DTensor

    def storages() -> dict[int, int]:
        gc.collect()
        tensors = [one for one in gc.get_objects() if isinstance(one, torch.Tensor) and not isinstance(one, DTensor)]
        kept = [one.untyped_storage() for one in tensors if one.device.type == "cpu" and one.numel()]
        return {one.data_ptr(): one.nbytes() for one in kept if one.nbytes()}

    before = storages()
    backend = cut(group, optimizer=optimizer)
    alive = {place: size for place, size in storages().items() if place not in before}
    assert backend.working
    return sum(alive.values())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_process_keeps_nothing_whole_of_what_is_cut(optimizer):
    from pylm.training.estimate.rows import held_by

    held = held_by(shape(), optimizer, "fp32", 4)
    wanted = held.masters + held.moments + held.matrices
    assert max(in_ranks(4, bytes_alive, optimizer)) < 1.1 * wanted


def probed(group: Any, compile: Any) -> Any:
    """Return what was computed for a probe, what was chosen, and the loss of a step after it."""
    passes: list[int] = []
    backend = cut(group, compile)
    plain = backend.forward_backward
    backend.forward_backward = lambda some: (passes.append(len(some.inputs)), plain(some))[1]
    before = backend.rng()
    choices = backend.probe(batch, 128)
    assert backend.rng() == before and all(one.grad is None for one in backend.working.values())
    chosen = {key: choices[key] for key in ("micro_batch", "compile", "seconds_per_step")}
    return passes, chosen, backend.step([batch(4)], 1e-3).loss


def test_a_probe_of_parts_takes_the_same_passes_everywhere():
    first, other = in_ranks(2, probed, False)
    assert first == other
    assert set(first[0]) == {64, 128} and first[1]["micro_batch"] in (64, 128)


def probed_without_a_compiler(group: Any) -> Any:
    """Probe where compiling a block fails, in all processes, as where there is no C++ compiler."""
    from pylm.training.torch_backend.backend import TorchBackend

    def compile(self: Any) -> None:
        block = self.model.blocks[1]
        plain = block.forward

        def fails(*args: Any, **kwargs: Any) -> Any:
            block.forward = plain
            raise ValueError("no mill is here")

        block.forward = fails

    TorchBackend.compile = compile  # type: ignore[method-assign]
    return probed(group, "auto")


def test_a_compiler_that_fails_leaves_all_computing_without():
    first, other = in_ranks(2, probed_without_a_compiler)
    plain = in_ranks(2, probed, False)[0]
    assert first == other and first[1]["compile"] is False
    assert first[2] == plain[2]


def too_little(group: Any) -> Any:
    """Ask whether twice as much fits where it does in one process alone."""
    from pylm.training.torch_backend import machine
    from pylm.training.torch_backend.together import _may_grow

    backend, room = cut(group), [1000, 999]
    backend.memory = lambda: 500
    machine.device_memory = lambda device: room[group.world.rank]
    from pylm.training.torch_backend import together

    together.MEMORY_SHARE = 1.0
    return [_may_grow(backend, 0, factor) for factor in (1.9, 2.0)]


def test_more_is_tried_only_where_every_process_has_room():
    assert in_ranks(2, too_little) == [[True, False], [True, False]]
