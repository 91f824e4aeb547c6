"""Decoding on the CPU against torch in float64: attention over a cache, and int8 weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from pylm import _native
from pylm.errors import PylmError

native_kernels = pytest.importorskip("pylm.native_kernels")


@pytest.fixture(params=_native.cpu_info()["variants"], autouse=True)
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    _native.force_variant(request.param)
    yield request.param
    _native.force_variant("")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("heads_first", [False, True])
@pytest.mark.parametrize(
    ("lengths", "heads", "kv_heads", "dim"),
    [([1], 1, 1, 4), ([300, 1, 256], 4, 2, 64), ([777], 6, 1, 80), ([513, 255], 2, 2, 128), ([33], 3, 3, 7)],
)
def test_attention_over_a_cache(
    lengths: list[int], heads: int, kv_heads: int, dim: int, heads_first: bool, dtype: torch.dtype
) -> None:
    batch, room = len(lengths), 800
    generator = torch.Generator().manual_seed(dim)
    q = torch.randn(batch, heads, dim, generator=generator).to(dtype)
    shape = (batch, kv_heads, room, dim) if heads_first else (batch, room, kv_heads, dim)
    k, v = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    if heads_first:
        k, v = k.transpose(1, 2), v.transpose(1, 2)
    for b, length in enumerate(lengths):
        k[b, length:], v[b, length:] = torch.nan, torch.nan  # what lies past the length is never read into a result
    found = native_kernels.decode_attention(q, k, v, lengths)
    for b, length in enumerate(lengths):
        wide_k, wide_v = (t[b, :length].double().repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        scores = torch.einsum("hd,shd->hs", q[b].double(), wide_k) * dim**-0.5
        expected = torch.einsum("hs,shd->hd", scores.softmax(-1), wide_v)
        error = (found[b].double() - expected).norm() / expected.norm()
        assert error < (2e-6 if dtype == torch.float32 else 5e-3), f"{error:.1e}"


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (5, 63), (100, 768), (3000, 65)])
def test_int8_weights(rows: int, width: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    weight, x = torch.randn(rows, width, generator=generator), torch.randn(width, generator=generator)
    weights, scales = native_kernels.quantize_int8(weight)
    found = native_kernels.gemv_int8(weights, scales, x)
    exact = (weights.double() * scales.double()[:, None]) @ x.double()
    assert (found.double() - exact).norm() <= 2e-6 * exact.norm()
    assert (found.double() - weight.double() @ x.double()).norm() <= 0.02 * (weight.double() @ x.double()).norm()
    assert native_kernels.quantize_int8(torch.zeros(2, 3))[0].abs().sum() == 0


def test_what_does_not_fit_is_refused() -> None:
    q, cache = torch.zeros(2, 4, 8), torch.zeros(2, 16, 2, 8)
    for said, arguments in [
        ("a length is 17, the cache holds 1 to 16", (q, cache, cache, [17, 1])),
        ("a length is 0", (q, cache, cache, [0, 1])),
        ("lengths has 1 entries", (q, cache, cache, [1])),
        ("heads do not divide", (q, torch.zeros(2, 16, 3, 8), torch.zeros(2, 16, 3, 8), [1, 1])),
        ("not of the shape", (q, cache, cache[:, 1:], [1, 1])),
        ("of another dtype", (q, cache.bfloat16(), cache.bfloat16(), [1, 1])),
    ]:
        with pytest.raises(PylmError) as caught:
            native_kernels.decode_attention(*arguments)
        assert said in caught.value.message
    with pytest.raises(PylmError, match="an int8 matrix is needed"):
        native_kernels.gemv_int8(torch.zeros(2, 2), torch.zeros(2), torch.zeros(2))
    with pytest.raises(PylmError, match="x: 3 elements where 2 are needed"):
        native_kernels.gemv_int8(torch.zeros(2, 2, dtype=torch.int8), torch.zeros(2), torch.zeros(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("case", ["plain", "packed, norm and half a rotation"])
def test_attention_decode_of_pylm_kernels(case: str, dtype: torch.dtype, variant: str) -> None:
    """As its backend "cpu": the output and what the caches get, against the reference in double precision."""
    import pylm_kernels

    if variant == "scalar":
        pytest.skip("torch is faster than the scalar variant, which is not offered")
    native_kernels.register()
    generator = torch.Generator().manual_seed(3)
    lengths = torch.tensor([0, 37, 11])
    qkv = torch.randn(3, 1, 8, 16, generator=generator).to(dtype)
    caches = {name: torch.randn(3, 64, 2, 16, generator=generator).to(dtype) for name in ("k_cache", "v_cache")}
    settings: dict[str, Any] = {"lengths": lengths}
    given = dict(zip("qkv", qkv.split([4, 2, 2], 2), strict=True))
    if case != "plain":
        weights = {name: torch.rand(16, generator=generator) for name in ("q_weight", "k_weight")}
        rope = pylm_kernels.Rope(16, dims=8, layout="interleaved").at(offset=2)
        given, settings = {"q": qkv}, settings | weights | {"rope": rope, "n_heads": 4, "n_kv_heads": 2}
    wide = {name: x.double() for name, x in (given | caches).items()}
    exact = [pylm_kernels.attention_decode(**wide, **settings, backend="reference"), wide["k_cache"], wide["v_cache"]]
    o = pylm_kernels.attention_decode(**given, **caches, **settings, backend="cpu")
    for found, right in zip((o, *caches.values()), exact, strict=True):
        assert (found.double() - right).norm() <= (2e-6 if dtype == torch.float32 else 5e-3) * right.norm()
    with pytest.raises(ValueError, match="no window"):
        pylm_kernels.attention_decode(**given, **caches, **settings, window=4, backend="cpu")
