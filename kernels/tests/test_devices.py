"""Devices that are not where the numbers are: meta, fake tensors, a default device, a scale that torch's own cannot."""

from __future__ import annotations

from collections.abc import Callable

import proof
import pytest
import torch
from proof import random
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

import pylm_kernels as pk

SHAPE = (2, 3, 48)


def integers(device: str, *shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int64, device=device)


def held(device: str) -> dict[str, torch.Tensor]:
    caches = {name: torch.zeros(2, 8, 1, 16, device=device) for name in ("k_cache", "v_cache")}
    return {**caches, "lengths": integers(device, 2)}


CALLS: dict[str, Callable[[torch.Tensor, str, pk.Rope], torch.Tensor]] = {
    "rms_norm": lambda x, at, rope: pk.rms_norm(x, torch.ones(48, device=at), residual=x)[0],
    "RMSNorm": lambda x, at, rope: pk.RMSNorm(48, device=at)(x),
    "layer_norm": lambda x, at, rope: pk.LayerNorm(48, device=at)(x),
    "qk_norm_rope": lambda x, at, rope: pk.qk_norm_rope(x, rope=rope.at(integers(at, 3)), n_heads=1)[0],
    "rope_attention": lambda x, at, rope: pk.rope_attention(x, rope=rope, n_heads=1),
    "documents": lambda x, at, rope: pk.rope_attention(x, rope=rope, n_heads=1, cu_seqlens=integers(at, 4)),
    "cross_entropy": lambda x, at, rope: pk.cross_entropy(x, integers(at, 2, 3)),
    "linear_cross_entropy": lambda x, at, rope: pk.linear_cross_entropy(
        x, torch.ones(9, 48, device=at), integers(at, 2, 3)
    ),
    "swiglu": lambda x, at, rope: pk.swiglu(x, x),
    "gelu": lambda x, at, rope: pk.gelu(x),
    "relu2": lambda x, at, rope: pk.relu2(x),
    "attention_decode": lambda x, at, rope: pk.attention_decode(x, rope=rope, n_heads=1, **held(at)),
    "qk_norm_rope with a cache": lambda x, at, rope: pk.qk_norm_rope(x, rope=rope, n_heads=1, **held(at))[0],
}
KEEPING = ("attention_decode", "qk_norm_rope with a cache")


@pytest.mark.parametrize("name", CALLS)
def test_meta_tensors_have_shapes_and_gradients(name: str) -> None:
    if name == "documents":
        exact = (2, 3, 1, 16)
    else:
        exact = tuple(CALLS[name](torch.zeros(SHAPE), "cpu", pk.Rope(16)).shape)
    x = torch.empty(SHAPE, device="meta", requires_grad=name not in KEEPING)
    y = CALLS[name](x, "meta", pk.Rope(16))
    assert y.is_meta and y.shape == exact
    if x.requires_grad:
        y.sum().backward()
        assert x.grad is not None and x.grad.is_meta


@pytest.mark.parametrize("name", CALLS)
def test_fake_tensors(name: str) -> None:
    rope = pk.Rope(16)
    with FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.empty(SHAPE, requires_grad=name not in KEEPING)
        y = CALLS[name](x, "cpu", rope)
        if x.requires_grad:
            y.sum().backward()
            assert x.grad is not None and x.grad.shape == SHAPE


def test_what_is_refused_is_refused_under_a_mode_too() -> None:
    x, cu, lengths = torch.randn(SHAPE), torch.tensor([0, 9]), torch.tensor([1, 9])
    caches = {**held("cpu"), "lengths": lengths}
    with FlopCounterMode(display=False):
        with pytest.raises(ValueError, match="^targets: 48 is no class"):
            pk.cross_entropy(x, torch.full((2, 3), 48))
        with pytest.raises(ValueError, match="^cu_seqlens: runs from 0 to 9"):
            pk.rope_attention(x, n_heads=1, cu_seqlens=cu)
        with pytest.raises(ValueError, match="^lengths: row 1 has 9 positions"):
            pk.attention_decode(x, n_heads=1, **caches)
    with pytest.raises(ValueError, match="^cu_seqlens: runs from 0 to 9"):
        torch.func.vmap(lambda x: pk.rope_attention(x, n_heads=1, cu_seqlens=cu))(torch.stack([x, x]))


def test_a_flop_counter_sees_the_products_of_meta_tensors() -> None:
    x, weight = torch.empty(4, 48, device="meta"), torch.empty(9, 48, device="meta")
    with FlopCounterMode(display=False) as counter:
        pk.linear_cross_entropy(x, weight, integers("meta", 4))
    assert counter.get_total_flops() == 2 * 4 * 48 * 9


def test_a_rope_made_under_the_meta_device_has_its_numbers() -> None:
    right = pk.Rope(16, theta=500.0).tables(torch.device("cpu"))
    with torch.device("meta"):
        under = pk.Rope(16, theta=500.0)
    torch.set_default_device("meta")
    try:
        default = pk.Rope(16, theta=500.0)
    finally:
        torch.set_default_device(None)
    asked = pk.Rope(16, theta=500.0, device="meta")
    for rope in (under, default, asked):
        assert rope.tables(torch.device("meta"))[0].is_meta
        for ours, exact in zip(rope.tables(torch.device("cpu")), right, strict=True):
            assert torch.equal(ours, exact)
    with pytest.raises(ValueError, match="^tables: are on the meta device"):
        pk.Rope(16, tables=tuple(x.to("meta") for x in right))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CALLS)
def test_the_default_device_changes_nothing(name: str) -> None:
    x, rope = torch.randn(SHAPE), pk.Rope(16)
    if name == "documents":
        exact = pk.rope_attention(x, rope=rope, n_heads=1, cu_seqlens=torch.tensor([0, 1, 6]))
    else:
        exact = CALLS[name](x, "cpu", rope)
    torch.set_default_device("meta")
    try:
        if name == "documents":
            cu = torch.tensor([0, 1, 6], device="cpu")
            ours = pk.rope_attention(x, rope=rope, n_heads=1, cu_seqlens=cu)
        else:
            ours = CALLS[name](x, "cpu", rope)
    finally:
        torch.set_default_device(None)
    assert torch.equal(ours, exact)


@pytest.mark.parametrize("scale", [0.0, -0.5, float("nan")])
def test_torchs_attention_is_not_asked_for_a_scale_that_it_cannot(scale: float) -> None:
    q, k, v = (random(1, 5, 2, 16) for _ in range(3))
    with pytest.raises(ValueError, match=f"'sdpa' cannot serve.* needs a scale above 0, not {scale}"):
        pk.rope_attention(q, k, v, scale=scale, backend="sdpa")
    if scale == scale:
        scores = torch.einsum("bthd,bshd->bhts", q, k) * scale
        mask = torch.ones(5, 5, dtype=torch.bool, device=q.device).tril()
        exact = torch.einsum("bhts,bshd->bthd", scores.masked_fill(~mask, float("-inf")).softmax(-1), v)
        assert proof.error(pk.rope_attention(q, k, v, scale=scale), exact) < 1e-6


@pytest.mark.parametrize("given", [[1.0, 2.0], None, 3.0])
def test_what_is_no_tensor_is_named(given: object) -> None:
    with pytest.raises(ValueError, match=r"^x: is a builtins\.\w+, not a torch.Tensor$"):
        pk.rms_norm(given)  # type: ignore[arg-type]


def test_lengths_that_are_refilled_are_read_again() -> None:
    lengths = integers("cpu", 2)
    call = {"k_cache": torch.zeros(2, 8, 1, 16), "v_cache": torch.zeros(2, 8, 1, 16), "lengths": lengths}
    pk.attention_decode(torch.randn(2, 1, 48), n_heads=1, **call)
    lengths.numpy()[1] = 8
    with pytest.raises(ValueError, match="^lengths: row 1 has 8 positions and gets 1; the cache holds 8"):
        pk.attention_decode(torch.randn(2, 1, 48), n_heads=1, **call)
