from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import proof
import pytest
import torch
from proof import random

from pylm_kernels import Rope, attention_decode, qk_norm_rope, rope_attention
from pylm_kernels.operands.heads import Heads, Mask
from pylm_kernels.operands.rope import Rotation

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


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "rope": {"rope": Rope(16)},
    "rope at positions": {"rope": Rope(16).at(torch.randint(0, 99, (3, 3)).to(proof.DEVICE), offset=1)},
    "rope at positions of all": {"rope": Rope(16).at(torch.randint(0, 99, (3,)).to(proof.DEVICE))},
    "interleaved half with norm": {"rope": Rope(16, dims=8, layout="interleaved"), "norm": True, "eps": 1e-2},
    "half with norm": {"rope": Rope(16, dims=12), "norm": True},
    "window": {"window": 20},
    "window of the new ones": {"window": 2},
    "soft cap": {"softcap": 2.0, "scale": 0.3},
    "sinks": {"sinks": random(4), "rope": Rope(16)},
    "width 24": {"width": 24, "rope": Rope(24), "norm": True},
    "width 8": {"width": 8},
    "every head its own": {"kv": 4, "rope": Rope(16)},
    "multi-query": {"kv": 1, "heads": 4, "window": 30},
    "one token": {"new": 1, "rope": Rope(16)},
}


def agree(case: str, dtype: torch.dtype = torch.float32, strided: bool = False) -> None:
    """Output and caches of the kernel against the reference in double precision."""
    settings = dict(CASES[case])
    heads, kv, width, new = (settings.pop(name, usual) for name, usual in SIZES.items())
    if settings.pop("norm", False):
        settings |= {"q_weight": random(width), "k_weight": random(width)}
    tensors = filled(heads, kv, width, new, dtype)
    wide = {name: x.double() for name, x in tensors.items()}
    exact = decode(wide, **settings, backend="reference")
    if strided:  # the caches too: as [B, heads, S, D], which some models keep
        tensors = {name: x.transpose(1, 2).contiguous().transpose(1, 2) for name, x in tensors.items()}
        tensors |= {name: proof.spread(tensors[name]) for name in ("q", "k", "v")}
    ours = decode(tensors, **settings, backend="triton")
    assert ours[0].dtype == dtype
    for name, mine, right in zip(("output", "k_cache", "v_cache"), ours, exact, strict=True):
        assert torch.equal(mine.isnan(), right.isnan()), f"{name} changed where it must not"
        wrong = proof.error(mine.nan_to_num(), right.nan_to_num())
        assert wrong <= proof.BOUNDS[dtype], f"{name} past {proof.BOUNDS[dtype]}: {wrong}"


SIZES = {"heads": 4, "kv": 2, "width": 16, "new": 3}


@pytest.mark.parametrize("case", CASES)
def test_the_kernel(case: str) -> None:
    agree(case, strided=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("case", ["plain", "half with norm", "sinks", "soft cap"])
def test_half_precision(case: str, dtype: torch.dtype) -> None:
    agree(case, dtype)


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_however_many_parts(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from pylm_kernels.ops.attention_decode import triton as kernels

    monkeypatch.setattr(kernels, "MOST_PARTS", parts)
    for case in ("rope", "sinks", "window", "one token"):
        agree(case)
    held = kernels._counters.values()
    assert all(not counter.any() for counter in held), "a counter did not return to zero"


def test_packed_and_token_by_token() -> None:
    """A sequence decoded a token at a time is what rope_attention makes of the whole."""
    heads, kv, width, time = 4, 2, 16, 9
    weights = {"q_weight": random(width), "k_weight": random(width)}
    settings: dict[str, Any] = {"rope": Rope(width), "n_heads": heads, "n_kv_heads": kv, "window": 5, **weights}
    qkv = random(2, time, (heads + 2 * kv) * width)
    whole = rope_attention(qkv, **settings, backend="reference")
    k_cache, v_cache = (torch.zeros(2, time, kv, width, device=proof.DEVICE) for _ in range(2))
    for at in range(time):
        lengths = torch.full((2,), at, device=proof.DEVICE)
        step = qkv[:, at : at + 1]
        o = attention_decode(step, k_cache=k_cache, v_cache=v_cache, lengths=lengths, **settings, backend="triton")
        assert proof.error(o, whole[:, at : at + 1]) < 1e-6, at


MUTATIONS = {
    "causal": ("j[None, :] <= t[:, None]", "j[None, :] < t[:, None] + 2"),
    "window": ("> (length + t - window)", ">= (length + t - window)"),
    "window among the new": ("j[None, :] > t[:, None] - window", "j[None, :] >= t[:, None] - window"),
    "filled": ("end = tl.minimum(first + share, length)", "end = tl.minimum(first + share, length + 1)"),
    "a part lost": ("tl.max(top, 0))  #", "tl.max(top, 0)) * (part > 0)  #"),
    "no fading": ("total = total * fade", "total = total"),
    "the sink's share": ("total = tl.where(last, total + 1.0, total)", "total = total"),
    "stride": ("KC + key * kc_s.t", "KC + key * (kc_s.t // 2)"),
    "head of q": ("(g * GROUP + m % GROUP) * q_s.h", "(g + m % GROUP) * q_s.h"),
    "place": ("to = (length + j)", "to = (length + j + 1)"),
    "values not turned": ("return x * c + y * s", "return x * c - y * s"),
    "norm": ("rstd = (1 / tl.sqrt(tl.sum(x * x, 1) / D + eps))", "rstd = (1 / tl.sqrt(tl.sum(x * x, 1) / D))"),
    "counter": ("tl.store(DONE + pair, 0)", "pass"),
}


def small() -> None:
    for case in ("window", "window of the new ones", "interleaved half with norm", "sinks", "sinks"):
        agree(case, strided=True)


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_kernel_is_seen(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    proof.is_caught(MUTATIONS[name], "pylm_kernels.ops.attention_decode.triton", small, monkeypatch, tmp_path)


def test_opcheck() -> None:
    cos, sin = Rope(8).tables(torch.device(proof.DEVICE))
    caches = (random(3, 70, 1, 8), random(3, 70, 1, 8), LENGTHS)
    rotation = Rotation(cos, sin, None, random(8), random(8), 1e-5, False, 0)
    torch.library.opcheck(
        torch.ops.pylm_kernels.attention_decode.default,
        (
            *Heads(random(3, 2, 4, 8), None, None, 2, 1), *caches, *rotation,
            *Mask(None, None, None, True, 0, 0.0, 0.3), 4096, "triton",
        ),
    )  # fmt: skip


def test_compile() -> None:
    """Fullgraph, the caches written as in eager."""
    torch._dynamo.reset()
    settings: dict[str, Any] = {"rope": Rope(16, device=proof.DEVICE), "backend": "triton"}
    tensors = filled(4, 2, 16, 2, torch.float32)
    eager = decode(tensors, **settings)
    given = {name: x.clone() for name, x in tensors.items()}
    call = torch.compile(
        lambda lengths, **given: attention_decode(**given, lengths=lengths, **settings), fullgraph=True
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # inductor imports torch.jit, which is deprecated
        o = call(LENGTHS, **given)
    for mine, right in zip((o, given["k_cache"], given["v_cache"]), eager, strict=True):
        assert torch.equal(mine.nan_to_num(), right.nan_to_num())


def test_autocast_casts_as_torchs_attention_does() -> None:
    tensors = filled(4, 2, 16, 2, torch.bfloat16)
    news = {name: tensors[name].float() for name in "qkv"}
    with torch.autocast(proof.DEVICE, dtype=torch.bfloat16):
        o, k_cache, _ = decode(tensors | news, rope=Rope(16), backend="triton")
    exact, k_exact, _ = decode(tensors, rope=Rope(16), backend="triton")
    assert o.dtype == torch.bfloat16
    assert torch.equal(o, exact) and torch.equal(k_cache.nan_to_num(), k_exact.nan_to_num())


def test_empty() -> None:
    news = {name: random(3, 0, 2, 8) for name in "qkv"}
    held = {"k_cache": random(3, 4, 2, 8), "v_cache": random(3, 4, 2, 8)}
    for backend in ("triton", "reference"):
        o = attention_decode(**news, **held, lengths=torch.tensor([0, 4, 2], device=proof.DEVICE), backend=backend)
        assert o.shape == (3, 0, 2, 8)


BAD: dict[str, dict[str, Any]] = {
    "k_cache: shape": {"k_cache": random(3, CAPACITY, 1, 8)},
    "k_cache: dtype": {"k_cache": random(3, CAPACITY, 2, 8, dtype=torch.float16)},
    "v_cache: holds 9 positions": {"v_cache": random(3, 9, 2, 8)},
    "v_cache: the dimensions of one head": {"v_cache": random(3, CAPACITY, 8, 2).transpose(2, 3)},
    "backend: 'triton' cannot serve this call of attention_decode: a program holds 64 rows": {
        "q": random(3, 40, 4, 8), "k": random(3, 40, 2, 8), "v": random(3, 40, 2, 8), "backend": "triton"
    },
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
