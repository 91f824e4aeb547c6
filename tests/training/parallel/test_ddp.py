"""A step of several processes is the step of one: losses, norms, weights, moments, by AdamW and by Muon."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pylm.config.schema import Model as Shape
from pylm.config.schema import Train
from pylm.config.shape import complete
from pylm.training.backend import IGNORED, cut
from tests.support.ranks import in_ranks

ROWS, CONTEXT, VOCABULARY = 8, 16, 61  # the vocabulary is padded, and no two processes get the same of it


def batch_of(step: int, masked: bool) -> tuple[Any, Any]:
    """Rows of a step; masked, the later ones count less and less, and the last ones hardly at all."""
    chance = np.random.default_rng(step)
    ids = chance.integers(0, VOCABULARY, (ROWS, CONTEXT + 1))
    inputs, targets = ids[:, :-1].copy(), ids[:, 1:].copy()
    if masked:
        for row in range(ROWS):
            targets[row, : row * 2] = IGNORED
    return inputs, targets


def steps_of(group: Any, given: dict[str, Any], masked: bool, shape: dict[str, Any], steps: int = 3) -> dict[str, Any]:
    """Take some steps, each process with its rows, and return all that there is to see."""
    from pylm.training.optim import muon
    from pylm.training.torch_backend import make
    from pylm.training.torch_backend.parallel import parallelize

    if given.get("determinism") != "bitwise":  # bf16 rounds what differs by 1e-8 to what differs by 4e-3
        muon._has_fast_bf16 = lambda device: False
    small = {"n_layers": 2, "n_heads": 2, "d_model": 48, "context_length": CONTEXT, **shape}
    train = Train.model_validate({"precision": "fp32", "device": "cpu", "compile": False, **given})
    backend = make(complete(Shape.model_validate(small), VOCABULARY), train)
    if given.get("parallel") != "none":
        parallelize(backend, group)
    rank, size = group.world.rank, group.world.size
    mine = slice(rank * ROWS // size, (rank + 1) * ROWS // size)
    results = []
    for step in range(steps):
        inputs, targets = batch_of(step, masked)
        results.append(backend.step(cut(inputs[mine], targets[mine], None, None, 2), lr=1e-3)[:3])
    state = {name: bytes(one.data) for name, one in backend.optimizer_state().items()} if rank == 0 else {}
    if rank:
        backend.optimizer_state()
    return {
        "results": results,
        "weights": {name: bytes(one.data) for name, one in backend.weights().items()},
        "state": state,
        "rng": backend.rng()["dropout"],
    }


def as_floats(tensors: dict[str, bytes]) -> np.ndarray:
    return np.concatenate([np.frombuffer(tensors[name], np.float32) for name in sorted(tensors) if name != "step"])


CASES = {
    "adamw": ({}, False, {}),
    "muon": ({"optimizer": "muon", "embed_lr": 0.1}, False, {}),
    "odd masks": ({}, True, {"tied": False}),
    "dropout": ({"optimizer": "muon"}, True, {"dropout": 0.2}),
}


@pytest.mark.parametrize("case", CASES)
def test_two_and_four_processes_step_as_one_does(case):
    given, masked, shape = CASES[case]
    [alone] = in_ranks(1, steps_of, {**given, "parallel": "none"}, masked, shape)
    for size in (2, 4):
        ranks = in_ranks(size, steps_of, given, masked, shape)
        for rank in ranks:
            assert rank["weights"] == ranks[0]["weights"] and rank["results"] == ranks[0]["results"]
            assert rank["rng"] == alone["rng"]
            np.testing.assert_allclose(rank["results"], alone["results"], rtol=0, atol=1e-6)
        assert ranks[0]["state"].keys() == alone["state"].keys()
        np.testing.assert_allclose(as_floats(ranks[0]["weights"]), as_floats(alone["weights"]), rtol=0, atol=1e-6)
        np.testing.assert_allclose(as_floats(ranks[0]["state"]), as_floats(alone["state"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_bitwise_one_two_and_four_processes_give_the_same_bits(case):
    given, masked, shape = CASES[case]
    [alone] = in_ranks(1, steps_of, {**given, "determinism": "bitwise"}, masked, shape)
    for size in (2, 4):
        assert in_ranks(size, steps_of, {**given, "determinism": "bitwise"}, masked, shape)[0] == alone
