from __future__ import annotations

from typing import Any

import proof
import pytest
import torch
from proof import random

from pylm_kernels import Rope, attention_decode, qk_norm_rope, rope_attention

LENGTHS = torch.tensor([0, 37, 63], device=proof.DEVICE)
CAPACITY = 70


def filled(heads: int, kv: int, width: int, new: int, dtype: torch.dtype) -> proof.Tensors:
    """Three rows of new tokens, and caches whose unwritten places hold what must never be read."""
    caches = {name: torch.full((3, CAPACITY, kv, width), float("nan")) for name in ("k_cache", "v_cache")}
    for cache in caches.values():
        for row, length in enumerate(LENGTHS.tolist()):
            cache[row, :length] = torch.randn(length, kv, width)
    news = {"q": random(3, new, heads, width, dtype=dtype)}
    news |= {name: random(3, new, kv, width, dtype=dtype) for name in ("k", "v")}
    return news | {name: cache.to(dtype).to(proof.DEVICE) for name, cache in caches.items()}


def decode(tensors: proof.Tensors, **settings: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The output and the written caches, of copies."""
    given = {name: x.clone() if "cache" in name else x for name, x in tensors.items()}
    o = attention_decode(**given, lengths=LENGTHS, **settings)
    return o, given["k_cache"], given["v_cache"]


def test_the_reference_is_attention_over_the_whole_row() -> None:
    """Row by row, what rope_attention says of the last tokens of a sequence that is all there."""
    new, rope = 4, Rope(16, dims=8, layout="interleaved")
    weights = {"q_weight": random(16), "k_weight": random(16)}
    tensors = filled(4, 2, 16, new, torch.float32)
    settings: dict[str, Any] = {"window": 20, "softcap": 3.0, "sinks": random(4), "backend": "reference"}
    o, k_cache, v_cache = decode(tensors, rope=rope, **weights, **settings)
    for row, length in enumerate(LENGTHS.tolist()):
        one = {name: tensors[name][row : row + 1] for name in tensors}
        q, k = qk_norm_rope(one["q"], one["k"], rope=rope.at(offset=length), **weights, backend="reference")
        keys = torch.cat((one["k_cache"][:, :length], k), 1)
        values = torch.cat((one["v_cache"][:, :length], one["v"]), 1)
        assert proof.error(o[row : row + 1], rope_attention(q, keys, values, **settings)) < 1e-6
        assert torch.equal(k_cache[row, : length + new], keys[0]), "keys"
        assert torch.equal(v_cache[row, : length + new], values[0]), "values"
        assert k_cache[row, length + new :].isnan().all() and v_cache[row, length + new :].isnan().all()


BAD: dict[str, dict[str, Any]] = {
    "k_cache: shape": {"k_cache": random(3, CAPACITY, 1, 8)},
    "k_cache: dtype": {"k_cache": random(3, CAPACITY, 2, 8, dtype=torch.float16)},
    "v_cache: holds 9 positions": {"v_cache": random(3, 9, 2, 8)},
    "v_cache: requires a gradient": {"v_cache": random(3, CAPACITY, 2, 8).requires_grad_()},
    "lengths: must be 3 integers": {"lengths": torch.tensor([1, 2], device=proof.DEVICE)},
    "lengths: must be": {"lengths": torch.ones(3, device=proof.DEVICE)},
    "lengths: row 1 has 69 positions and gets 2; the cache holds 70": {
        "lengths": torch.tensor([0, 69, 3], device=proof.DEVICE)
    },
    "lengths: row 2 has -1": {"lengths": torch.tensor([0, 6, -1], device=proof.DEVICE)},
    "rope: row 1 reaches position 40 of 40": {
        "rope": Rope(8, max_positions=40), "lengths": torch.tensor([0, 39, 3], device=proof.DEVICE)
    },
    "k: holds 3 new tokens, q 2": {"k": random(3, 3, 2, 8), "v": random(3, 3, 2, 8)},
    "q: requires a gradient": {"q": random(3, 2, 4, 8).requires_grad_()},
    "window: 0": {"window": 0},
    "q_weight: the norm comes before": {"q_weight": random(8), "k_weight": random(8)},
    "sinks: shape": {"sinks": random(3)},
    "v: is missing": {"v": None},
    "n_heads: is needed": {"k": None, "v": None},
}  # fmt: skip


@pytest.mark.parametrize("complaint", BAD)
def test_bad_input(complaint: str) -> None:
    news = {"q": random(3, 2, 4, 8), "k": random(3, 2, 2, 8), "v": random(3, 2, 2, 8)}
    held = {"k_cache": random(3, CAPACITY, 2, 8), "v_cache": random(3, CAPACITY, 2, 8), "lengths": LENGTHS}
    given: dict[str, Any] = {**news, **held, **BAD[complaint]}
    before = given["k_cache"].detach().clone()
    proof.refuses(attention_decode, given, complaint)
    assert torch.equal(before, given["k_cache"]), "a refused call wrote"
