"""Processes that hold rows step as one that holds all, and any number goes on from what another number saved."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.checkpoint import ShardedSaver, read, sharded_saver, verify, write
from pylm.config.schema import Model as Shape
from pylm.config.schema import Train
from pylm.config.shape import complete
from pylm.training.backend import IGNORED, MicroBatch, cut
from pylm.training.trained import EVERYTHING, Trained
from tests.support.ranks import in_ranks

ROWS, CONTEXT, VOCABULARY = 8, 16, 101  # padded to 128 rows: the last of four processes has padding alone
SMALL = {"n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "d_model": 32, "head_dim": 16, "d_ff": 44, "tied": False}
ALL_OF_IT = {"value_embeddings": True, "residual_lambdas": True}


def batch_of(step: int, masked: bool = False) -> tuple[Any, Any]:
    chance = np.random.default_rng(step)
    ids = chance.integers(0, VOCABULARY, (ROWS, CONTEXT + 1))
    inputs, targets = ids[:, :-1].copy(), ids[:, 1:].copy()
    if masked:
        for row in range(ROWS):
            targets[row, : row * 2] = IGNORED
    return inputs, targets


def made(group: Any, given: dict[str, Any], shape: dict[str, Any], trained: Trained = EVERYTHING) -> Any:
    """Return one's backend, in one process as it always was."""
    from pylm.training.optim import muon
    from pylm.training.torch_backend import make
    from pylm.training.torch_backend.parallel import parallelize

    muon._has_fast_bf16 = lambda device: False  # bf16 rounds what differs by 1e-8 to what differs by 4e-3
    train = Train.model_validate({"precision": "fp32", "device": "cpu", "compile": False, **given})
    whole = Shape.model_validate({**SMALL, "context_length": CONTEXT, **shape})
    backend = make(complete(whole, VOCABULARY), train, trained=trained)
    return backend if group.world.size == 1 else parallelize(backend, group, "fsdp")


def take_steps(backend: Any, group: Any, steps: range, masked: bool = False) -> list[Any]:
    rank, size = group.world.rank, group.world.size
    mine = slice(rank * ROWS // size, (rank + 1) * ROWS // size)
    results = []
    for step in steps:
        inputs, targets = batch_of(step, masked)
        results.append(backend.step(cut(inputs[mine], targets[mine], None, None, 1), lr=1e-3)[:3])
    return results


def evaluated(backend: Any) -> float:
    counts = backend.loss(MicroBatch(*batch_of(99)))
    return float(counts.loss / counts.tokens)


def trained_by_ranks(group: Any, given: dict[str, Any], masked: bool, shape: dict[str, Any], what: Trained) -> Any:
    backend = made(group, given, shape, what)
    before = evaluated(backend)
    results = take_steps(backend, group, range(3), masked)
    return {
        "results": results,
        "evaluated": [before, evaluated(backend)],
        "elements": sum(one.numel() for one in backend.masters.values()),
        "moments": sum(one.numel() for one in backend.optimizer.state().values()),
        "rng": backend.rng()["dropout"],
    }


CASES: dict[str, tuple[dict[str, Any], bool, dict[str, Any], Trained]] = {
    "adamw": ({}, False, {"tied": True}, EVERYTHING),
    "muon": ({"optimizer": "muon", "embed_lr": 0.1}, False, ALL_OF_IT, EVERYTHING),
    "odd masks": ({"activation_checkpointing": True}, True, {"mlp": "gelu", "norm": "layernorm"}, EVERYTHING),
    "dropout": ({"optimizer": "muon"}, True, {"dropout": 0.2}, EVERYTHING),
    "frozen": ({}, False, {}, Trained(frozenset({"embed.weight", "norm.weight"}), new=range(60, VOCABULARY))),
}


@pytest.mark.parametrize("case", CASES)
def test_two_and_four_processes_step_as_one_does(case):
    [alone] = in_ranks(1, trained_by_ranks, *CASES[case])
    for size in (2, 4):
        ranks = in_ranks(size, trained_by_ranks, *CASES[case])
        for rank in ranks:
            np.testing.assert_allclose(rank["results"], alone["results"], rtol=0, atol=1e-6)
            np.testing.assert_allclose(rank["evaluated"], alone["evaluated"], rtol=0, atol=1e-6)
            assert rank["rng"] == alone["rng"]
        assert sum(rank["elements"] for rank in ranks) == alone["elements"]
        assert max(rank["elements"] for rank in ranks) < 1.2 * alone["elements"] / size + 100
        assert sum(rank["moments"] for rank in ranks) == alone["moments"] + size - 1  # each counts its steps


def test_in_bf16_the_first_loss_is_the_same_and_later_ones_nearly():
    case = ({"precision": "bf16", "optimizer": "muon"}, True, {}, EVERYTHING)
    [alone], both = in_ranks(1, trained_by_ranks, *case), in_ranks(2, trained_by_ranks, *case)
    assert both[0]["results"] == both[1]["results"]
    assert both[0]["results"][0][0] == pytest.approx(alone["results"][0][0], abs=1e-6)
    np.testing.assert_allclose(both[0]["results"], alone["results"], rtol=2e-3)


MUON: dict[str, Any] = {"optimizer": "muon", "embed_lr": 0.1}


def save_and_go_on(group: Any, run: Path, consolidates: bool) -> Any:
    """Train two steps, save by all processes, change every weight at once, and then go on from what was saved."""
    from pylm.training.torch_backend.fsdp import gather_of

    backend = made(group, MUON, {})
    take_steps(backend, group, range(2))
    backend.average(1.0)
    state = {"step": 2, "average": {"kind": "ema", "steps": 1}}
    if group.world.size == 1:
        tensors = {"weights": backend.weights(), "optimizer": backend.optimizer_state()}
        write(
            run / "checkpoints" / "step_2",
            **tensors,
            average=backend.average_weights(),
            state=state,
            config="",
            texts={},
        )
    else:
        go, writes = threading.Event(), sharded_saver.write_shard
        sharded_saver.write_shard = lambda path, kept: (go.wait(20), writes(path, kept))[1]
        run.mkdir(exist_ok=True)
        saver = ShardedSaver(run, 2, "", {}, rank=group.world.rank, gather=gather_of(group), consolidates=consolidates)
        average = backend.average_weights() if consolidates else {}
        saver.save(backend.weights(), backend.optimizer_state(), state, False, average)
        kept = {name: one.clone() for name, one in {**backend.masters, **backend.optimizer.state()}.items()}
        for one in (*backend.masters.values(), *backend.optimizer.state().values(), *backend._average.values()):
            one.zero_()  # what is written is what was handed over
        go.set()
        saver.wait()
        for name, one in {**backend.masters, **backend.optimizer.local.state()}.items():
            one.copy_(kept[name])
    return take_steps(backend, group, range(2, 4))


def load_and_go_on(group: Any, paths: list[Path]) -> Any:
    found = []
    for path in paths:
        backend, checkpoint = made(group, MUON, {}), read(path)
        backend.load(checkpoint.weights(), checkpoint.optimizer())
        if (average := checkpoint.average()) is not None:
            backend.load_average(average.weights())
        bits = [
            {name: (getattr(one, "first", 0), one.shape, bytes(one.data)) for name, one in part.items()}
            for part in (backend.weights(), backend.optimizer_state(), backend.average_weights())
        ]
        found.append((bits, take_steps(backend, group, range(2, 4))))
    return found


def bits_of(checkpoint: Any) -> list[dict[str, bytes]]:
    average = checkpoint.average()
    parts = (checkpoint.weights(), checkpoint.optimizer(), {} if average is None else average.weights())
    return [{name: bytes(one.data) for name, one in part.items()} for part in parts]


@pytest.mark.parametrize("consolidates", [True, False])
def test_what_some_save_others_load_to_the_bit(tmp_path, consolidates):
    """Saved on one, two and four, loaded on one, two and four."""
    runs, went_on = {size: tmp_path / f"on_{size}" for size in (1, 2, 4)}, {}
    for size, run in runs.items():
        went_on[size] = in_ranks(size, save_and_go_on, run, consolidates)[0]
    paths = [run / "checkpoints" / "step_2" for run in runs.values()]
    wanted = [bits_of(verify(path)) for path in paths]
    for size in (1, 2, 4):
        ranks = in_ranks(size, load_and_go_on, paths)
        for at, saved_on in enumerate(runs):
            joined: list[dict[str, bytes]] = [{}, {}, {}]
            for found, _ in (rank[at] for rank in ranks):
                for part, into in zip(found, joined, strict=True):
                    for name, (first, _, data) in sorted(part.items(), key=lambda item: item[1][0]):
                        assert first == 0 or name in into
                        into[name] = into.get(name, b"") + data
            assert joined == wanted[at], (saved_on, size)
            for rank in ranks:
                np.testing.assert_allclose(rank[at][1], went_on[saved_on], rtol=0, atol=1e-6)
                if size == saved_on:
                    assert rank[at][1] == went_on[saved_on]


def with_its_average(group: Any) -> list[float]:
    backend = made(group, {}, {})
    scores = []
    for step in range(3):
        take_steps(backend, group, range(step, step + 1))
        backend.average(0.5)
        for inside in (backend.averaged(), nullcontext()):
            with inside:
                scores.append(evaluated(backend))
        scores.append(float(backend.logits([1, 2, 3])[7]))
    return scores


def test_the_average_is_computed_with_and_left_again():
    [alone], two = in_ranks(1, with_its_average), in_ranks(2, with_its_average)
    assert len(set(alone)) == len(alone) - 1  # an average begins as the weights are
    for rank in two:
        np.testing.assert_allclose(rank, alone, rtol=0, atol=1e-6)


def refused(group: Any, given: dict[str, Any], tuning: dict[str, Any]) -> str:
    from pylm.config.schema import Finetune
    from pylm.errors import PylmError
    from pylm.training.trained import trained_by

    shape = complete(Shape.model_validate({**SMALL, "context_length": CONTEXT}), VOCABULARY)
    try:
        made(group, given, {}, trained_by(shape, Finetune.model_validate(tuning), None))
    except PylmError as error:
        return str(error)
    return ""


def test_what_rows_cannot_do_is_said():
    for sentence in in_ranks(2, refused, {"determinism": "bitwise"}, {}):
        assert "sums in an order" in sentence
    for sentence in in_ranks(2, refused, {}, {"method": "lora"}):
        assert "does not train adapters" in sentence
