from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import proof
import pytest
import torch
from proof import dtypes, random

from pylm_kernels import Rope, rope_attention
from pylm_kernels.operands.heads import Heads, Mask
from pylm_kernels.operands.rope import Rotation
from pylm_kernels.triton_runtime import launch

FORWARD = "pylm_kernels.ops.rope_attention.triton"
BACKWARD = "pylm_kernels.ops.rope_attention.triton_backward"
# two rows of 50, several documents: one empty, one across the row's end
DOCUMENTS = torch.tensor([0, 7, 7, 30, 64, 90, 100], device=proof.DEVICE)


def apart(
    t_q: int = 50, t_k: int = 50, dtype: torch.dtype = torch.float32, width: int = 16, kv: int = 2
) -> proof.Tensors:
    keys = {name: random(2, t_k, kv, width, dtype=dtype) for name in ("k", "v")}
    return {"q": random(2, t_q, 4, width, dtype=dtype), **keys}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "causal": ({}, {}),
    "full": ({"causal": False}, {}),
    "multi-query": ({}, {"kv": 1}),
    "every head its own": ({"scale": 0.3}, {"kv": 4}),
    "fewer rows than keys": ({}, {"t_q": 20}),
    "rows without keys": ({}, {"t_k": 20}),
    "cross": ({"causal": False}, {"t_k": 20}),
    "window": ({"window": 9}, {}),
    "window of two": ({"window": 2}, {}),
    "wide window": ({"window": 60}, {"t_q": 90, "t_k": 90}),
    "window both ways": ({"window": 9, "causal": False}, {}),
    "soft cap": ({"softcap": 2.0}, {}),
    "documents": ({"cu_seqlens": DOCUMENTS}, {}),
    "documents and window, both ways": ({"cu_seqlens": DOCUMENTS, "window": 6, "causal": False}, {}),
    "width 24": ({}, {"width": 24}),
    "width 8": ({}, {"width": 8}),
    "rope": ({"rope": Rope(16)}, {}),
    "rope interleaved in documents": ({"rope": Rope(16, layout="interleaved"), "cu_seqlens": DOCUMENTS}, {}),
    "rope at positions": ({"rope": Rope(16).at(torch.randint(0, 99, (2, 50)).to(proof.DEVICE), offset=1)}, {}),
    "rope on half a head": ({"rope": Rope(16, dims=8)}, {}),
    "rope of width 24": ({"rope": Rope(24)}, {"width": 24}),
}


def small(*names: str) -> None:
    """The checks that mutations must turn red."""
    for name in names or ("window", "documents", "soft cap", "rows without keys", "fewer rows than keys"):
        settings, shapes = CASES[name]
        proof.prove(functools.partial(rope_attention, **settings), apart(**shapes), strided=True)


@pytest.mark.parametrize("case", CASES)
def test_masks_and_shapes(case: str) -> None:
    settings, shapes = CASES[case]
    proof.prove(functools.partial(rope_attention, **settings), apart(**shapes), strided=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("case", ["window", "documents", "soft cap", "rope", "rope on half a head"])
def test_half_precision(case: str, dtype: torch.dtype) -> None:
    settings, shapes = CASES[case]
    proof.prove(functools.partial(rope_attention, **settings), apart(**shapes, dtype=dtype))


@dtypes
@pytest.mark.parametrize("norm", [False, True])
def test_packed(dtype: torch.dtype, norm: bool) -> None:
    packed = functools.partial(rope_attention, rope=Rope(16), n_heads=4, n_kv_heads=2)
    weights = {name: random(16, dtype=dtype) for name in ("q_weight", "k_weight")} if norm else {}
    proof.prove(packed, {"q": random(2, 40, 8 * 16, dtype=dtype), **weights})


def test_packed_without_rope() -> None:
    packed = functools.partial(rope_attention, n_heads=4, n_kv_heads=4, window=9)
    proof.prove(packed, {"q": random(2, 40, 12 * 16)})


@dtypes
def test_sinks(dtype: torch.dtype) -> None:
    proof.prove(functools.partial(rope_attention, window=9), {**apart(dtype=dtype), "sinks": random(4, dtype=dtype)})


def test_a_row_without_keys_is_zero() -> None:
    for backend in ("triton", "reference"):
        o = rope_attention(**apart(50, 20), backend=backend)
        assert o[:, :30].abs().sum() == 0 and o[:, 30:].isfinite().all()


@pytest.mark.parametrize("case", ["causal", "full", "window", "documents", "multi-query", "rope"])
@pytest.mark.parametrize("backend", ["reference", "sdpa"])
def test_reference_and_sdpa_are_torchs_own(case: str, backend: str) -> None:
    settings, shapes = CASES[case]
    tensors = apart(**shapes)
    mask = torch.ones(50, 50, dtype=torch.bool)
    if settings.get("causal", True):
        mask = mask.tril()
    if "window" in settings:
        mask = mask.triu(1 - settings["window"])
    mask = mask[None, None].repeat(2, 1, 1, 1)
    if "cu_seqlens" in settings:
        document = torch.bucketize(torch.arange(100), DOCUMENTS.cpu(), right=True).view(2, 1, 50)
        mask &= document[..., None] == document[..., None, :]
    exact = dict(tensors)
    if rope := settings.get("rope"):
        from pylm_kernels import qk_norm_rope

        exact["q"], exact["k"] = qk_norm_rope(tensors["q"], tensors["k"], rope=rope, backend="reference")
    q, k, v = (exact[name].transpose(1, 2) for name in "qkv")
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask.to(q.device), enable_gqa=True)
    assert proof.error(rope_attention(**tensors, **settings, backend=backend), theirs.transpose(1, 2)) < 1e-6


def test_sdpa_refuses_what_it_cannot() -> None:
    for settings, why in [({"softcap": 2.0}, "no soft cap"), ({"sinks": random(4)}, "no sinks")]:
        with pytest.raises(ValueError, match=why):
            rope_attention(**apart(), **settings, backend="sdpa")
        rope_attention(**apart(), **settings)


MUTATIONS: dict[str, tuple[str, tuple[str, str]]] = {
    "forward: a tile lost": (FORWARD, ("range(low, high, BN)", "range(low, high - BN, BN)")),
    "forward: stride": (FORWARD, ("key[:, None] * k_t", "key[:, None] * D")),
    "forward: no fading": (FORWARD, ("total = total * fade", "total = total")),
    "forward: head of k": (FORWARD, ("K += b * k_s.b + (h // GROUP)", "K += b * k_s.b + (h % GROUP)")),
    "forward: log-sum": (FORWARD, ("(top + tl.log2", "(top - tl.log2")),
    "delta: not summed": (BACKWARD, ("tl.store(DELTA + at, tl.sum(o * do, 1)", "tl.store(DELTA + at, tl.sum(o, 1)")),
    "dkdv: a head lost": (BACKWARD, ("range(0, group)", "range(0, group - 1)")),
    "dkdv: no delta": (BACKWARD, ("ds = p * (dp - delta[None, :])", "ds = p * dp")),
    "dkdv: stride": (BACKWARD, ("row[:, None] * do_t", "row[:, None] * D")),
    "dq: no mask": (BACKWARD, ("p = tl.where(seen, p, 0.0)", "p = p")),
    "dq: no cap": (BACKWARD, ("(dp - delta[:, None])\n        if SOFTCAP:", "(dp - delta[:, None])\n        if 0:")),
    "dq: no scale": (BACKWARD, ("dq = dq * scale", "dq = dq")),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_kernel_is_seen(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module, mutation = MUTATIONS[name]
    proof.is_caught(mutation, module, small, monkeypatch, tmp_path)


@pytest.mark.parametrize(
    "mutation",
    [
        ("key <= row + shift", "key <= row + shift + 1"),
        ("key > row + shift - window", "key >= row + shift - window"),
        ("key >= start", "key > start"),
        ("a = tl.maximum(a, last + shift - window + 1)", "a = tl.maximum(a, low)"),
        ("b = tl.minimum(b, first + shift + 1)", "b = tl.minimum(b, last + shift + 1)"),
        ("low = tl.maximum(low, first - shift)\n", "low = tl.maximum(low, last - shift)\n"),
        ("high = tl.minimum(high, tl.load(ENDS + last))", "high = tl.minimum(high, tl.load(ENDS + first))"),
    ],
    ids=["causal", "window", "documents", "window inside", "diagonal inside", "rows of keys", "document ends"],
)
def test_a_mask_off_by_one_is_seen(mutation: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tiles = "pylm_kernels.ops.rope_attention.tiles"
    proof.mutated(tiles, *mutation, monkeypatch, tmp_path)
    for module in (FORWARD, BACKWARD):  # which hold the unbroken functions until they are imported anew
        monkeypatch.delitem(__import__("sys").modules, module, raising=False)
    with pytest.raises(AssertionError, match="past"):
        small("documents", "window", "documents and window, both ways", "causal", "wide window")


def test_double_precision_checks() -> None:
    tensors = {"q": random(1, 2, 2, 4), "k": random(1, 2, 1, 4), "v": random(1, 2, 1, 4)}
    proof.differentiates(functools.partial(rope_attention, rope=Rope(4), softcap=2.0), tensors)
    weights = {"q_weight": random(4), "k_weight": random(4), "sinks": random(2)}
    proof.differentiates(functools.partial(rope_attention, rope=Rope(4)), tensors | weights)


def test_opcheck() -> None:
    cos, sin = Rope(16).tables(torch.device(proof.DEVICE))
    packed = random(1, 20, 4, 16).requires_grad_()
    heads, rotation = Heads(packed, None, None, 2, 1), Rotation(cos, sin, None, None, None, 1e-5, False, 0)
    mask = Mask(None, None, None, True, 0, 0.0, 0.25)
    torch.library.opcheck(torch.ops.pylm_kernels.rope_attention.default, (*heads, *rotation, *mask, "triton"))
    q, k, v, sinks = random(1, 20, 2, 8), random(1, 20, 1, 8), random(1, 20, 1, 8), random(2)
    heads, rotation = Heads(*(x.requires_grad_() for x in (q, k, v)), 2, 1), rotation._replace(cos=None, sin=None)
    mask = mask._replace(sinks=sinks.requires_grad_())
    torch.library.opcheck(torch.ops.pylm_kernels.rope_attention.default, (*heads, *rotation, *mask, "triton"))


def test_compile() -> None:
    settings = {"rope": Rope(16, device=proof.DEVICE), "cu_seqlens": DOCUMENTS, "n_heads": 4, "n_kv_heads": 2}
    weights = {"q_weight": random(16), "k_weight": random(16)}
    proof.compiles(functools.partial(rope_attention, **settings), {"q": random(2, 50, 8 * 16), **weights})


def test_autocast_casts_as_torchs_attention_does() -> None:
    with torch.autocast(proof.DEVICE, dtype=torch.bfloat16):
        tensors = {name: x.requires_grad_() for name, x in apart().items()}
        o = rope_attention(**tensors, rope=Rope(16), backend="triton")
        exact = rope_attention(**tensors, rope=Rope(16), backend="reference")
    assert o.dtype == exact.dtype == torch.bfloat16 and proof.error(o, exact) < 5e-3
    o.square().sum().backward()
    assert all(x.grad is not None and x.grad.dtype == torch.float32 for x in tensors.values())


def test_checkpointing_and_determinism() -> None:
    attention = functools.partial(rope_attention, rope=Rope(16))
    proof.survives_checkpointing(attention, apart(20, 20))
    proof.deterministic(attention, apart(20, 20))


def test_empty() -> None:
    q = random(0, 5, 4, 16).requires_grad_()
    o = rope_attention(q, random(0, 5, 2, 16), random(0, 5, 2, 16), backend="triton")
    o.sum().backward()
    assert o.shape == (0, 5, 4, 16) and q.grad is not None
    assert rope_attention(random(1, 3, 2, 8), random(1, 0, 2, 8), random(1, 0, 2, 8), backend="triton").abs().sum() == 0


BAD: dict[str, dict[str, Any]] = {
    "v: is missing": {"v": None},
    "v: is given without k": {"k": None},
    "v: its shape differs": {"v": random(2, 4, 2, 8)},
    "window: 0 leaves no keys": {"window": 0},
    "softcap: -1.0 must be positive": {"softcap": -1.0},
    "sinks: shape": {"sinks": random(3)},
    "q_weight: the norm comes before": {"q_weight": random(8), "k_weight": random(8)},
    "rope: q has 5 positions and k 4": {"rope": Rope(8), "k": random(2, 4, 2, 8), "v": random(2, 4, 2, 8)},
    "cu_seqlens: decreases from 7 to 3": {"cu_seqlens": torch.tensor([0, 7, 3, 10], device=proof.DEVICE)},
    "cu_seqlens: runs from 0 to 12": {"cu_seqlens": torch.tensor([0, 12], device=proof.DEVICE)},
    "k: 3 heads do not divide": {"k": random(2, 5, 3, 8), "v": random(2, 5, 3, 8)},
    "q: has 3 dimensions": {"q": random(2, 5, 8)},
    "k: is on meta": {"k": torch.ones(2, 5, 2, 8, device="meta")},
    "cu_seqlens: documents need q and k": {
        "cu_seqlens": torch.tensor([0, 10]), "k": random(2, 4, 2, 8), "v": random(2, 4, 2, 8)
    },
    "backend: 'triton' cannot serve this call of rope_attention: its tiles hold heads of up to 256, not 260": {
        "backend": "triton", "q": random(1, 2, 1, 260), "k": random(1, 2, 1, 260), "v": random(1, 2, 1, 260)
    },
}  # fmt: skip


@pytest.mark.parametrize("complaint", BAD)
def test_bad_input(complaint: str) -> None:
    given = {"q": random(2, 5, 4, 8), "k": random(2, 5, 2, 8), "v": random(2, 5, 2, 8), **BAD[complaint]}
    proof.refuses(rope_attention, given, complaint)


@pytest.mark.parametrize("case", ["documents", "rope at positions", "rope on half a head"])
def test_a_batch_of_more_heads_than_a_grid_holds(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.empty(4096, 1, device="meta")
    assert [len(part) for part, absent in launch.shares(16, x, None)] == [4095, 1]
    assert next(iter(launch.shares(15, x)))[0] is x
    monkeypatch.setattr(launch, "GRID", 4)  # four heads: each row of the batch is a launch of its own
    small(case)


def test_a_row_past_32_bits_of_offset_is_brought_within_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    x = random(2, 5, 3, 16)
    assert launch.within_reach(x) is x
    far = torch.empty(1, 1, 1, 1, device="meta").as_strided((1, 3, 1, 1), (0, 2**30, 1, 1))
    assert launch.within_reach(far).stride(1) == 1
    monkeypatch.setattr(launch, "REACH", 1)
    small("documents", "rope")
