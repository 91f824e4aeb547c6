"""Who steps what: every element once, matrices whole and balanced, the rest to where room is; sums in one order."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from pylm.config.schema import Model as Shape
from pylm.config.schema import Train
from pylm.config.shape import complete
from pylm.model.parameters import parameters
from pylm.training.optim.groups import groups
from pylm.training.torch_backend.owners import UNIT, shares_of_parameters, units_of
from pylm.training.torch_backend.passes import Tree

SMALL = {"n_layers": 6, "n_heads": 6, "d_model": 384, "context_length": 64}


def shapes_of(vocabulary: int) -> dict[str, tuple[int, ...]]:
    shape = complete(Shape.model_validate(SMALL), vocabulary)
    return {name: tuple(one.shape) for name, one in parameters(shape).items()}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7, 64])
def test_every_element_has_one_owner(optimizer, processes):
    shapes = shapes_of(8191)
    rules = groups({name: torch.empty(shape, device="meta") for name, shape in shapes.items()},
                   Train.model_validate({"optimizer": optimizer}))  # fmt: skip
    shares = shares_of_parameters(shapes, rules, processes)
    owned = {name: np.zeros(int(np.prod(shape)), np.int8) for name, shape in shapes.items()}
    muon = {name for one in rules if one.rule == "muon" for name in one.names}
    for share in shares:
        assert len({piece.name for piece in share}) == len(share)  # one piece of a tensor in each process
        for piece in share:
            owned[piece.name][piece.start : piece.stop] += 1
            assert piece.start % UNIT == 0 and [start for start, _ in units_of(piece)][0] == piece.start
            assert piece.name not in muon or piece.size == len(owned[piece.name])
    assert all((one == 1).all() for one in owned.values())
    sizes = [sum(piece.size for piece in share) for share in shares]
    largest = max((len(owned[name]) for name in muon), default=0)
    assert max(sizes) <= -(-sum(sizes) // processes) + max(largest, 2 * UNIT)


def test_matrices_are_balanced_by_what_they_take():
    """By Graham's bound no process has more than 4/3 of the best there could be."""
    chance = random.Random(5)
    for _ in range(50):
        shapes = {
            f"blocks.{n}.mlp.up.weight": (16 * chance.randint(1, 30), 16 * chance.randint(1, 30)) for n in range(9)
        }
        rules = groups({name: torch.empty(shape, device="meta") for name, shape in shapes.items()},
                       Train.model_validate({"optimizer": "muon"}))  # fmt: skip
        work = {name: rows * columns * min(rows, columns) for name, (rows, columns) in shapes.items()}
        shares = shares_of_parameters(shapes, rules, 3)
        most = max(sum(work[piece.name] for piece in share) for share in shares)
        assert most <= 4 / 3 * max(max(work.values()), sum(work.values()) / 3) + max(work.values())


def test_the_tree_of_passes_is_that_of_pairs_whoever_has_which():
    """Sums of quarters, put together as the halves that they are of, have the bits of the whole sum."""
    numbers = np.random.default_rng(1).standard_normal((16, 100)).astype(np.float32)

    def by_pairs(rows: np.ndarray) -> np.ndarray:
        return rows[0] if len(rows) == 1 else by_pairs(rows[::2] + rows[1::2])

    def by_tree(rows: np.ndarray) -> np.ndarray:
        tree = Tree()
        for row in rows:
            tree.add({"one": torch.from_numpy(row.copy())})
        return tree.total()["one"].numpy()

    whole = by_tree(numbers)
    np.testing.assert_array_equal(whole, by_pairs(numbers))
    quarters = np.stack([by_tree(part) for part in np.split(numbers, 4)])
    np.testing.assert_array_equal(by_pairs(quarters), whole)
    assert (whole != numbers.cumsum(0)[-1]).any()  # in another order they are others
