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
    """Rows of a step; masked, the later ones count less and less, and those of half of the processes not at all."""
    chance = np.random.default_rng(step)
    ids = chance.integers(0, VOCABULARY, (ROWS, CONTEXT + 1))
    inputs, targets = ids[:, :-1].copy(), ids[:, 1:].copy()
    if masked:
        for row in range(ROWS):
            targets[row, : row * 4] = IGNORED
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
        backend = parallelize(backend, group)
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


def poisoned_steps(group: Any) -> Any:
    """Take a step in which one process alone meets NaN, and one after it."""
    from pylm.training.torch_backend import make
    from pylm.training.torch_backend.parallel import parallelize

    shape = complete(Shape(n_layers=1, n_heads=2, d_model=16, context_length=CONTEXT), VOCABULARY)
    backend = make(shape, Train(precision="fp32", device="cpu", compile=False, optimizer="muon"))
    backend = parallelize(backend, group)
    inputs, targets = batch_of(0, masked=False)
    mine = slice(4 * group.world.rank, 4 * group.world.rank + 4)
    begun = {name: bytes(one.data) for name, one in backend.weights().items()}
    plain = backend.model.loss
    if group.world.rank == 1:
        backend.model.loss = lambda *args, **kwargs: plain(*args, **kwargs) * float("nan")
    bad = backend.step(cut(inputs[mine], targets[mine], None, None, 2), lr=1e-3)
    unchanged = {name: bytes(one.data) for name, one in backend.weights().items()} == begun
    backend.model.loss = plain
    good = backend.step(cut(inputs[mine], targets[mine], None, None, 2), lr=1e-3)
    return bad.finite, unchanged, good[:3], backend.optimizer.steps


def test_what_is_not_finite_in_one_process_is_skipped_by_all():
    first, other = in_ranks(2, poisoned_steps)
    assert first == other
    finite, unchanged, good, steps = first
    assert not finite and unchanged and good[2] and steps == 1


def drifted(group: Any, rank: int) -> Any:
    """Change a bit of a weight that no step mends, in one process."""
    from pylm.errors import PylmError
    from pylm.training.torch_backend import make
    from pylm.training.torch_backend.parallel import parallelize

    shape = complete(Shape(n_layers=1, n_heads=2, d_model=16, context_length=CONTEXT), VOCABULARY)
    backend = make(shape, Train(precision="fp32", device="cpu", compile=False, parallel_check_every=2))
    backend = parallelize(backend, group)
    inputs, targets = batch_of(0, masked=False)
    part = cut(inputs[:2], targets[:2], None, None, 2)
    backend.step(part, lr=1e-3)
    backend.step(part, lr=1e-3)
    backend.step(part, lr=1e-3)
    if group.world.rank == rank:
        padding = backend.model.weights()["embed.weight"].untyped_storage()
        padding[padding.nbytes() - 1] ^= 1  # of the rows that fill the vocabulary up: nothing is computed with them
    try:
        backend.step(part, lr=1e-3)
    except PylmError as error:
        return error.message
    return "nothing was found"


@pytest.mark.parametrize(("size", "rank", "named"), [(4, 2, "rank 2 and those of the others"), (2, 1, "ranks 0, 1")])
def test_a_process_whose_weights_drift_is_named(size, rank, named):
    found = in_ranks(size, drifted, rank)
    assert set(found) == {f"the weights of {named} are not the same any more: memory or a device computes wrongly"}


def test_a_hash_of_weights_sees_each_bit_and_where_it_is():
    import torch

    from pylm.training.torch_backend.parallel import digest

    chance = torch.Generator().manual_seed(3)
    tensors = {"a": torch.randn(5, 7, generator=chance), "b": torch.randn(9, generator=chance).bfloat16()}
    seen = {tuple(digest(tensors))}
    for one in tensors.values():
        flat = one.view(-1).view(torch.int16)
        for at in range(len(flat)):
            for bit in (0, 15):
                flat[at] ^= 1 << bit if bit < 15 else -32768
                seen.add(tuple(digest(tensors)))
                flat[at] ^= 1 << bit if bit < 15 else -32768
    assert len(seen) == 1 + 2 * (2 * 35 + 9)
    tensors["a"][[0, 1]] = tensors["a"][[1, 0]]
    assert tuple(digest(tensors)) not in seen
