"""Causal attention on the CPU against torch in float64: values and gradients, masks, shared heads, odd sizes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pylm import _native
from pylm.errors import PylmError
from pylm.native_kernels import heads as heads_of_cpu
from pylm_kernels.operands.rope import Rotation

native_kernels = pytest.importorskip("pylm.native_kernels")
BOUNDS = {torch.float32: (3e-6, 1e-5), torch.bfloat16: (6e-3, 1e-2)}


@pytest.fixture(params=_native.cpu_info()["variants"], autouse=True)
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    _native.force_variant(request.param)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield request.param
    torch.set_num_threads(threads)
    _native.force_variant("")


def reference(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, documents: list[int] | None, window: int, softcap: float
) -> torch.Tensor:
    """softmax(q kᵀ / √d + mask) v, with every mask written out; a soft cap bends the scores."""
    batch, time, heads, dim = q.shape
    k, v = (t.repeat_interleave(heads // t.shape[2], 2) for t in (k, v))
    row = torch.arange(time)
    allowed = (row[None, :] <= row[:, None]).expand(batch, time, time).clone()
    if window:
        allowed &= row[None, :] > row[:, None] - window
    if documents:
        number = torch.bucketize(torch.arange(batch * time), torch.tensor(documents[1:]), right=True).view(batch, time)
        allowed &= number[:, :, None] == number[:, None, :]
    scores = torch.einsum("bthd,bshd->bhts", q, k) * dim**-0.5
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    return torch.einsum("bhts,bshd->bthd", scores.masked_fill(~allowed[:, None], -torch.inf).softmax(-1), v)


def starts_of(documents: list[int], batch: int, time: int) -> torch.Tensor:
    """Where each position's document starts in its row."""
    at = torch.arange(batch * time)
    edges = torch.tensor(documents)
    first = edges[torch.searchsorted(edges, at, right=True) - 1]
    return (torch.maximum(first, at // time * time) - at // time * time).int().view(batch, time)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    ("shape", "kv_heads", "documents", "window", "softcap"),
    [
        ((1, 1, 1, 4), 1, None, 0, 0.0),
        ((2, 37, 2, 7), 1, None, 0, 0.0),
        ((1, 130, 4, 64), 2, None, 0, 0.0),
        ((1, 130, 4, 64), 2, None, 0, 0.7),
        ((2, 96, 2, 16), 2, [0, 5, 5, 60, 96, 97, 150, 192], 0, 0.0),
        ((1, 300, 2, 64), 1, None, 33, 0.0),
        ((1, 301, 1, 80), 1, None, 1, 0.0),
        ((2, 290, 3, 32), 3, [0, 100, 350, 580], 50, 0.0),
        ((2, 290, 2, 32), 1, [0, 100, 350, 580], 50, 5.0),
        ((1, 600, 1, 64), 1, [0, 257, 600], 0, 0.0),
    ],
)
def test_values_and_gradients(
    shape: tuple[int, int, int, int],
    kv_heads: int,
    documents: list[int] | None,
    window: int,
    softcap: float,
    dtype: torch.dtype,
) -> None:
    batch, time, heads, dim = shape
    generator = torch.Generator().manual_seed(time)
    # one packed projection, read and written by strides, as a model has it
    packed = torch.randn(batch, time, heads + 2 * kv_heads, dim, generator=generator).to(dtype)
    dout = torch.randn(batch, heads, time, dim, generator=generator).to(dtype).transpose(1, 2)
    q, k, v = packed.split([heads, kv_heads, kv_heads], dim=2)
    wide = packed.double().requires_grad_()
    expected = reference(*wide.split([heads, kv_heads, kv_heads], dim=2), documents, window, softcap)
    (expected * dout.double()).sum().backward()
    starts = None if documents is None else starts_of(documents, batch, time)
    out, lse = native_kernels.attention_forward(q, k, v, starts, window, softcap=softcap)
    gradient = torch.full_like(packed, torch.nan)
    into = gradient.split([heads, kv_heads, kv_heads], dim=2)
    native_kernels.attention_backward(dout, q, k, v, out, lse, starts, window, softcap=softcap, into=into)
    forward_bound, backward_bound = BOUNDS[dtype]
    assert wide.grad is not None
    error = (out.double() - expected).norm() / expected.norm()
    assert error <= forward_bound, f"out: {error:.1e}"
    names = ("dq", "dk", "dv")
    for name, found, right in zip(names, into, wide.grad.split([heads, kv_heads, kv_heads], dim=2), strict=True):
        # attention to one key alone has no gradient in q and k: what remains is rounding, measured against the whole
        error = (found.double() - right).norm() / right.norm().clamp_min(wide.grad.norm() * 0.05)
        assert error <= backward_bound, f"{name}: {error:.1e}"


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(threads: int) -> None:
    q, k, v = (torch.randn(2, 70, 4, 32, generator=torch.Generator().manual_seed(s)) for s in range(3))
    one, lse = native_kernels.attention_forward(q, k, v)
    out, other = torch.empty_like(one), torch.empty_like(lse)
    _native.attention_forward(q, k, v, out, other, None, 0, 32**-0.5, threads)
    assert torch.equal(out, one) and torch.equal(other, lse)
    gradients = native_kernels.attention_backward(one, q, k, v, one, lse)
    again = [torch.empty_like(t) for t in gradients]
    _native.attention_backward(one, q, k, v, one, lse, *again, None, 0, 32**-0.5, threads)
    assert all(torch.equal(a, b) for a, b in zip(gradients, again, strict=True))


def test_what_does_not_fit_is_refused() -> None:
    q = torch.zeros(1, 8, 4, 16)

    def starts(*at: int) -> torch.Tensor:
        return torch.tensor([at], dtype=torch.int32)

    for said, k, first, window in [
        ("heads do not divide", torch.zeros(1, 8, 3, 16), None, 0),
        ("not of the shape", torch.zeros(1, 9, 4, 16), None, 0),
        ("of another dtype", q.bfloat16(), None, 0),
        ("starts: 7 elements where 8 are needed", q, starts(0, 0, 0, 0, 0, 0, 0), 0),
        ("starts at 3 for position 2", q, starts(0, 0, 3, 3, 3, 3, 3, 3), 0),
        ("starts at 1 for position 3 of a row, after one from 2", q, starts(0, 0, 2, 1, 1, 1, 1, 1), 0),
        ("starts: of another dtype", q, starts(0, 0, 0, 0, 0, 0, 0, 0).long(), 0),
        ("window is -1", q, None, -1),
    ]:
        with pytest.raises(PylmError) as caught:
            native_kernels.attention_forward(q, k, k, first, window)
        assert said in caught.value.message, caught.value.message
    for softcap in (-1.0, float("nan"), float("inf")):
        with pytest.raises(PylmError, match="softcap is"):
            native_kernels.attention_forward(q, q, q, softcap=softcap)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("weighted", [False, True], ids=["turned", "normalised and turned"])
@pytest.mark.parametrize("dim", [16, 32, 40, 64, 128])
def test_heads_are_turned_as_the_definition_reads(dim: int, weighted: bool, dtype: torch.dtype) -> None:
    """Halves of whole vectors stay in registers, others are staged: both against plain float64, gradients too."""
    generator = torch.Generator().manual_seed(dim)
    batch, time, heads = 2, 19, 3
    x, dy = (torch.randn(batch, time, heads, dim, generator=generator).to(dtype) for _ in range(2))
    weight = torch.randn(dim, generator=generator).to(dtype) if weighted else None
    angles = torch.arange(time)[:, None] * 100.0 ** -(torch.arange(dim // 2) / (dim // 2))
    rotation = Rotation(angles.cos(), angles.sin(), None, weight, weight, 1e-5, False, 0)
    found, rstd = heads_of_cpu.rotated(x, rotation, weight)
    dx = torch.empty_like(x)
    dweight = heads_of_cpu._turn_back(dy, x, rotation, weight, rstd, dx)

    wide = x.double().requires_grad_()
    gain = None if weight is None else weight.double().requires_grad_()
    normed = wide if gain is None else wide * (wide.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * gain
    first, second = normed.chunk(2, -1)
    cos, sin = angles.cos().double()[:, None], angles.sin().double()[:, None]
    expected = torch.cat([first * cos - second * sin, first * sin + second * cos], -1)
    gradients = torch.autograd.grad(expected, [wide] if gain is None else [wide, gain], dy.double())
    bound = 1e-5 if dtype == torch.float32 else 1e-2
    for mine, theirs in zip((found, dx, dweight), (expected.detach(), *gradients), strict=False):  # no weight, no third
        assert (mine.double() - theirs).norm() < bound * theirs.norm()
