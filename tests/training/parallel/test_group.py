"""What processes say to each other: sums, agreements, what one of them has for all, and what must not differ."""

from __future__ import annotations

import time
from typing import Any

from tests.support.ranks import in_ranks


def conversation(group: Any) -> Any:
    import torch

    from pylm.errors import UsageError

    rank = group.world.rank
    heard: dict[str, Any] = {"rows": group.rows([rank, 10 * rank]), "agreed": group.agree([rank == 2, False])}
    sums = [torch.full((3,), float(rank)), torch.tensor([1, rank])]
    group.sum(sums)
    heard["sums"] = [one.tolist() for one in sums]
    heard["told"] = group.told({"from": rank, "text": "a – b"})
    heard["led"] = group.led(lambda: time.sleep(0.05) or "made", "waited")
    sizes = [2, 0, 1]
    for_each = torch.arange(3.0) + 10 * rank
    heard["exchanged"] = group.exchanged(for_each, sizes).tolist()
    heard["gathered"] = [one.tolist() for one in group.gathered(torch.full((sizes[rank],), float(rank)), sizes)]
    heard["brought"] = [one.tolist() for one in group.brought(torch.full((sizes[rank],), float(rank)), sizes)]
    group.asked = lambda: 15 if rank == 1 else 0
    heard["before"] = group.signal
    group.rows([])
    heard["after"] = group.signal
    group.same("ab" * 32, "what is alike")
    try:
        group.same(("cd" if rank else "ab") * 32, "the tokenizer", "use one")
    except UsageError as error:
        heard["refused"] = error.message, error.hint
    return heard


def test_three_processes_hear_the_same():
    everyone = in_ranks(3, conversation)
    for rank, heard in enumerate(everyone):
        assert heard["rows"] == [[0, 0], [1, 10], [2, 20]] and heard["agreed"] == [True, False]
        assert heard["sums"] == [[3.0, 3.0, 3.0], [3, 3]]
        assert heard["told"] == {"from": 0, "text": "a – b"}
        assert heard["led"] == ("made" if rank == 0 else "waited")
        first, last = [[0, 1], [10, 11], [20, 21]], [[2], [12], [22]]
        assert heard["exchanged"] == (first, [[], [], []], last)[rank]
        assert heard["gathered"] == [[0, 0], [], [2]]
        assert heard["brought"] == ([[0, 0], [], [2]] if rank == 0 else [])
        assert (heard["before"], heard["after"]) == (0, 15)
        assert heard["refused"] == ("the tokenizer of ranks 1, 2 is not that of rank 0", "use one")


def margins(group: Any) -> Any:
    import torch

    from pylm.config.schema import Model, Train
    from pylm.config.shape import complete
    from pylm.training.torch_backend import make
    from pylm.training.torch_backend.parallel import parallelize

    shape = complete(Model(n_layers=1, n_heads=2, d_model=16, context_length=8), 20)
    backend = make(shape, Train(precision="fp32", device="cpu", compile=False))
    backend = parallelize(backend, group)
    mine = [torch.arange(float(group.world.rank + 1)), torch.tensor([10.0 + group.world.rank])]
    return backend.passes.margins([]), backend.passes.margins(mine).tolist()


def test_margins_of_pairs_are_those_of_all_processes():
    assert in_ranks(2, margins) == [(None, [0, 10, 0, 1, 11])] * 2
