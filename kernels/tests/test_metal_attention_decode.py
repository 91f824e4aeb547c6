"""attention_decode for MLX: plain, and on Metal its kernels beside MLX's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

mx = pytest.importorskip("mlx.core")
from metal.proof import BOUNDS, dtypes, error, to_mlx  # noqa: E402
from metal.shim import Shim  # noqa: E402

import pylm_kernels  # noqa: E402
import pylm_kernels.mlx as ours  # noqa: E402 (after the question whether mlx is there)

FORMS: dict[str, dict[str, Any]] = {
    "alone": {},
    "rotated": {"rope": {"dims": 12, "layout": "interleaved"}, "lengths": 7},
    "guess": {"rope": {}, "norm": True, "new": 3, "packed": True, "sinks": True},
    "capped": {"rope": {}, "new": 2, "softcap": 2.0, "window": 6, "packed": True},
    "window": {"new": 2, "window": 5, "lengths": 9},
}


def agree(dtype: torch.dtype, form: str, lengths: Any = (3, 11), new: int = 1, packed: bool = False, norm: bool = False,
          rope: Any = None, sinks: bool = False, **settings: Any) -> None:  # fmt: skip
    width, capacity = 24, 16
    made: dict[str, torch.Tensor] = {"q": torch.randn(2, new, 8 * width if packed else 4 * width).to(dtype)}
    if packed:
        settings |= {"n_heads": 4, "n_kv_heads": 2}
    else:
        made["q"] = made["q"].view(2, new, 4, width)
        made |= {name: torch.randn(2, new, 2, width).to(dtype) for name in ("k", "v")}
    if norm:
        made |= {"q_weight": torch.randn(width).to(dtype), "k_weight": torch.randn(width).to(dtype)}
    if sinks:
        made["sinks"] = torch.randn(4).to(dtype)
    caches = {name: torch.randn(2, capacity, 2, width).to(dtype) for name in ("k_cache", "v_cache")}
    filled = torch.tensor(lengths if isinstance(lengths, tuple) else (lengths, lengths))
    theirs = {name: x.double() for name, x in (made | caches).items()}
    ropes = (
        ({}, {}) if rope is None else ({"rope": pylm_kernels.Rope(width, **rope)}, {"rope": ours.Rope(width, **rope)})
    )
    exact = pylm_kernels.attention_decode(**theirs, lengths=filled, **settings, **ropes[0], backend="reference")
    o, k_cache, v_cache = ours.attention_decode(
        **{name: to_mlx(x) for name, x in (made | caches).items()},
        lengths=to_mlx(filled) if isinstance(lengths, tuple) else lengths, **settings, **ropes[1],
    )  # fmt: skip
    assert o.dtype == k_cache.dtype == to_mlx(made["q"]).dtype
    assert error(o, exact) <= BOUNDS[dtype]
    assert error(k_cache, theirs["k_cache"]) <= BOUNDS[dtype] and error(v_cache, theirs["v_cache"]) <= BOUNDS[dtype]


@dtypes
@pytest.mark.parametrize("form", FORMS)
def test_plain_mlx(form: str, dtype: torch.dtype) -> None:
    agree(dtype, form, **FORMS[form])


@pytest.mark.parametrize("form", FORMS)
def test_on_metal(form: str, metal: Shim | None) -> None:
    # MLX's own attention, on the chip, is not held to our bound in float32
    agree(torch.float32 if metal or form == "capped" else torch.float16, form, **FORMS[form])
    if metal:
        rotations = "rope" in FORMS[form]
        assert len(metal.launched) == rotations + ("softcap" in FORMS[form])


def test_what_was_never_written_is_not_read(metal: Shim | None) -> None:
    # each row its own length, and not-a-number behind them, for our own kernel
    q, cache = mx.random.normal((2, 1, 2, 8)), mx.full((2, 40, 2, 8), float("nan"))
    o, k_cache, _ = ours.attention_decode(q, q, q, k_cache=cache, v_cache=cache, lengths=mx.array([0, 0]), softcap=5.0)
    assert mx.abs(o - q).max().item() < 1e-6 and mx.isnan(k_cache).sum().item() == 39 * 2 * 2 * 8


def test_it_goes_on_as_the_whole_does() -> None:
    rope, packed = ours.Rope(8), mx.random.normal((1, 9, 4 * 8))
    whole = ours.rope_attention(packed, rope=rope, n_heads=2, n_kv_heads=1)
    k_cache, v_cache, parts = mx.zeros((1, 12, 1, 8)), mx.zeros((1, 12, 1, 8)), []
    for at in range(9):
        o, k_cache, v_cache = ours.attention_decode(
            packed[:, at : at + 1], k_cache=k_cache, v_cache=v_cache, lengths=at, rope=rope, n_heads=2, n_kv_heads=1
        )
        parts.append(o)
    assert mx.abs(mx.concatenate(parts, 1) - whole).max().item() < 1e-5


Q, CACHE, ROPE = mx.ones((2, 1, 2, 8)), mx.zeros((2, 16, 2, 8)), ours.Rope(8, max_positions=8)


def call(**changed: Any) -> Any:
    return ours.attention_decode(
        **({"q": Q, "k": Q, "v": Q, "k_cache": CACHE, "v_cache": CACHE, "lengths": 3} | changed)
    )


BAD: dict[str, dict[str, Any]] = {
    r"k_cache: shape \(2, 16, 2, 7\)": {"k_cache": CACHE[..., :7]},
    "v_cache: dtype": {"v_cache": CACHE.astype(mx.float16)},
    "v_cache: holds 15": {"v_cache": CACHE[:, :15]},
    "lengths: row 0 has 16 positions and gets 1; the cache holds 16": {"lengths": 16},
    "lengths: row 1 has -1": {"lengths": mx.array([1, -1])},
    "lengths: must be an integer, or 2": {"lengths": mx.array([1])},
    "rope: row 0 reaches position 8 of 8": {"lengths": 8, "rope": ROPE},
    "rope: row 1 reaches position 6 of 5": {"lengths": mx.array([0, 6]), "rope": ROPE.at(offset=3)},
    "k: holds 2 new": {"k": mx.ones((2, 2, 2, 8)), "v": mx.ones((2, 2, 2, 8))},
    "window: 0": {"window": 0},
}


@pytest.mark.parametrize("complaint", BAD)
def test_bad_input(complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{complaint}"):
        call(**BAD[complaint])
