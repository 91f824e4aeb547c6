"""What a process of many holds, beside what torch's fake processes hold of the same model."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from pylm.config.schema import Model as Shape
from pylm.config.schema import Train
from pylm.config.shape import complete
from pylm.model.parameters import parameters
from pylm.training.estimate.memory import moments
from pylm.training.estimate.rows import held_by
from pylm.training.torch_backend.owners import UNIT
from tests.support.ranks import in_ranks

SHAPES = {
    "rows for all": {"n_layers": 3, "n_heads": 4, "d_model": 128, "context_length": 16},
    "fewer rows than processes": {"n_layers": 2, "n_heads": 2, "d_model": 32, "context_length": 16, "tied": False},
}
VOCABULARY = 5001


def shape_of(name: str) -> Shape:
    return complete(Shape.model_validate(SHAPES[name]), VOCABULARY)


CASES = [(name, optimizer, count) for name in SHAPES for optimizer in ("adamw", "muon") for count in (64, 1024)]


def held(group: Any, rank: int, name: str, optimizer: str, processes: int) -> dict[str, Any]:
    """Return bytes and row counts of one of so many processes, the others of which are fakes."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    from pylm.training.backend import MicroBatch
    from pylm.training.torch_backend import make
    from pylm.training.torch_backend.parallel import parallelize
    from pylm.training.world import World

    dist.init_process_group("fake", rank=rank, world_size=processes, store=FakeStore())
    group.world = World(rank, processes, 0, 1)
    train = Train.model_validate({"precision": "fp32", "device": "cpu", "compile": False, "optimizer": optimizer})
    backend = parallelize(make(shape_of(name), train, whole=False), group, "fsdp")
    ids = np.zeros((1, 16), np.int64)
    backend._accumulate([MicroBatch(ids, ids)])  # what is gathered from fakes is nonsense, and as large as it would be
    rows = [len(one.to_local()) for one in backend.working.values()]
    found = {
        "masters": 4 * sum(one.to_local().numel() for one in backend.working.values()),
        "moments": 4 * (sum(one.numel() for one in backend.optimizer.state().values()) - 1),  # the step is none
        "matrices": 4 * sum(one.numel() for one in backend.optimizer.matrices.values()),
        "gradients": 4 * sum(one.grad.to_local().numel() for one in backend.working.values()),
        "fewest rows": min(rows),
    }
    dist.destroy_process_group()
    group.world = World()
    return found


def first_and_last(group: Any) -> list[list[dict[str, Any]]]:
    return [[held(group, rank, *case) for rank in (0, case[-1] - 1)] for case in CASES]


def test_figures_are_what_the_fullest_of_64_and_of_1024_processes_holds():
    [found] = in_ranks(1, first_and_last)
    for (name, optimizer, processes), (first, last) in zip(CASES, found, strict=True):
        figures = held_by(shape_of(name), optimizer, "fp32", processes)
        for part in ("masters", "moments", "matrices", "gradients"):
            assert first[part] == getattr(figures, part) >= last[part], (name, optimizer, processes, part)
        assert first["fewest rows"] >= 1 and (last["fewest rows"] == 0 or processes == 64)


def moments_of_all(group: Any) -> list[tuple[int, int]]:
    """Return bytes of moments of the fullest process and of all, of so many that each have the whole model."""
    from pylm.training.torch_backend import make
    from pylm.training.torch_backend.parallel import parallelize
    from pylm.training.world import World

    found = []
    for name, optimizer, processes in CASES:
        group.world = World(0, processes, 0, 1)
        train = Train.model_validate({"precision": "fp32", "device": "cpu", "compile": False, "optimizer": optimizer})
        shares = parallelize(make(shape_of(name), train), group, "ddp").optimizer.moments
        sizes = [4 * sum(piece.size for piece, _ in share) for share in shares]
        found.append((max(sizes), sum(sizes)))
    group.world = World()
    return found


def test_of_1024_whole_models_each_has_a_share_of_the_moments_no_larger_than_planned():
    [found] = in_ranks(1, moments_of_all)
    for (name, optimizer, processes), (most, whole) in zip(CASES, found, strict=True):
        count = sum(
            prod(one.shape) * moments(optimizer, kind, len(one.shape))
            for kind, one in parameters(shape_of(name)).items()
        )
        assert whole == 4 * count
        planned = held_by(shape_of(name), optimizer, "fp32", processes).moments
        assert most <= planned + 2 * 4 * UNIT, (name, optimizer, processes)  # nobody has a part of a unit
