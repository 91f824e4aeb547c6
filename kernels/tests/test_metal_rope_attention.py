"""rope_attention for MLX: plain, and its Metal kernels, from their source on the processor or on an Apple GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

mx = pytest.importorskip("mlx.core")
from metal.proof import Tensors, broken, dtypes, prove  # noqa: E402
from metal.shim import MetalError, Shim  # noqa: E402

import pylm_kernels  # noqa: E402
import pylm_kernels.mlx as ours  # noqa: E402 (after the question whether mlx is there)
from pylm_kernels.ops.rope_attention import metal as forward  # noqa: E402
from pylm_kernels.ops.rope_attention import metal_backward  # noqa: E402


def inputs(
    dtype: torch.dtype, width: int, time: int, *, keys: int | None = None, packed: bool = False, norm: bool = False,
    sinks: bool = False,
) -> Tensors:  # fmt: skip
    if packed:
        made = {"q": torch.randn(2, time, 8 * width).to(dtype)}
    else:
        made = {name: torch.randn(2, keys or time, 2, width).to(dtype) for name in ("k", "v")}
        made = {"q": torch.randn(2, time, 4, width).to(dtype)} | made
    if norm:
        made |= {"q_weight": torch.randn(width).to(dtype), "k_weight": torch.randn(width).to(dtype)}
    if sinks:
        made["sinks"] = torch.randn(4).to(dtype)
    return made


def agree(tensors: Tensors, *, documents: Any = None, rope: dict[str, Any] | None = None, **settings: Any) -> None:
    packed = "k" not in tensors
    width = tensors["q"].shape[-1] // 8 if packed else tensors["q"].shape[-1]
    if packed:
        settings |= {"n_heads": 4, "n_kv_heads": 2}
    theirs, mine = dict(settings), dict(settings)
    if documents:
        theirs["cu_seqlens"], mine["cu_seqlens"] = torch.tensor(documents), mx.array(documents)
    if rope is not None:
        theirs["rope"], mine["rope"] = pylm_kernels.Rope(width, **rope), ours.Rope(width, **rope)
    prove(
        lambda **given: ours.rope_attention(**given, **mine),
        lambda **given: pylm_kernels.rope_attention(**given, **theirs, backend="reference"),
        tensors,
    )


@dtypes
def test_packed_rotated_causal(metal: Shim | None, dtype: torch.dtype) -> None:
    agree(inputs(dtype, 64, 70, packed=True), rope={})
    if metal:
        assert len(metal.launched) == 5, "rotation, attention; dQ with delta, dK with dV, rotation back"


@dtypes
def test_everything_at_once(metal: Shim | None, dtype: torch.dtype) -> None:
    agree(
        inputs(dtype, 24, 45, packed=True, norm=True, sinks=True), rope={"layout": "interleaved", "dims": 12},
        window=13, softcap=2.0, documents=[0, 7, 7, 38, 60, 90], scale=0.3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("width", "time", "keys", "settings"),
    [
        (20, 33, 33, {"causal": False}),  # a head that is no multiple of 8
        (8, 5, 70, {}),  # rows at the end of the keys
        (8, 40, 9, {"sinks": True}),  # rows before the first key see nothing
        (8, 75, 75, {"window": 40, "causal": False}),
        (136, 19, 19, {"causal": False}),  # a tile of eight keys
        (2, 1, 1, {}),  # arrays so small that MLX puts them into constant memory
    ],
)
def test_shapes(metal: Shim | None, width: int, time: int, keys: int, settings: dict[str, Any]) -> None:
    sinks = bool(settings.pop("sinks", False))
    tensors = inputs(torch.float32, width, time, keys=keys, sinks=sinks)
    if time == 1:
        tensors = {name: torch.randn(1, 1, 1, 2) for name in ("q", "k", "v")}
    agree(tensors, **settings)


def test_packed_without_rotation(metal: Shim | None) -> None:
    agree(inputs(torch.float32, 8, 37, packed=True), documents=[0, 37, 50, 74])


def test_memory_grows_with_time_not_its_square(shim: Shim) -> None:
    shim.schedules = (0,)

    def asked(time: int) -> int:
        shim.asked.clear()
        q = mx.random.normal((1, time, 4 * 8))
        rope = ours.Rope(8)
        mx.eval(mx.grad(lambda q: ours.rope_attention(q, rope=rope, n_heads=2, n_kv_heads=1).sum())(q))
        return sum(torch.Size(shape).numel() for shape in shim.asked)

    assert asked(160) == 2 * asked(80) == 4 * asked(40)


@dtypes
def test_plain_mlx(dtype: torch.dtype) -> None:
    agree(
        inputs(dtype, 24, 45, packed=True, norm=True, sinks=True), rope={"dims": 12}, window=13, softcap=2.0,
        documents=[0, 7, 7, 38, 60, 90],
    )  # fmt: skip
    agree(inputs(dtype, 8, 20, keys=9), causal=True)
    agree(inputs(dtype, 8, 9, keys=20), causal=False)


def test_under_activation_checkpointing(metal: Shim | None) -> None:
    q, weight, rope = mx.random.normal((1, 20, 4 * 8)), mx.random.normal((32,)), ours.Rope(8)

    def block(q: Any, weight: Any) -> Any:
        return ours.rope_attention(ours.rms_norm(q, weight), rope=rope, n_heads=2, n_kv_heads=1).square().sum()

    once = mx.grad(block, argnums=(0, 1))(q, weight)
    again = mx.grad(lambda *given: mx.checkpoint(block)(*given), argnums=(0, 1))(q, weight)
    assert all(mx.array_equal(a, b).item() for a, b in zip(once, again, strict=True))


def test_rows_without_keys_give_zeros_and_no_gradient(metal: Shim | None) -> None:
    q, k = mx.random.normal((1, 5, 1, 8)), mx.random.normal((1, 2, 1, 8))
    o, (dq,) = mx.vjp(lambda q: ours.rope_attention(q, k, k), [q], [mx.ones(q.shape)])
    assert mx.abs(o[0][0, :3]).max().item() == 0 == mx.abs(dq[0, :3]).max().item()
    assert mx.isfinite(dq).all().item() and mx.abs(o[0][0, 3:]).min().item() > 0


def test_a_head_too_wide_goes_to_plain_mlx_unless_metal_is_forced(shim: Shim, monkeypatch: pytest.MonkeyPatch) -> None:
    q = mx.random.normal((1, 3, 1, 264))
    o = ours.rope_attention(q, q, q)
    assert not shim.launched and mx.isfinite(o).all().item()
    monkeypatch.setenv("PYLM_KERNELS", "metal")
    with pytest.raises(
        ValueError, match="PYLM_KERNELS: 'metal' cannot serve this call: its tiles hold heads of up to 256"
    ):
        ours.rope_attention(q, q, q)


BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
MUTATIONS = {
    "forward: a tile loaded too early": ("FORWARD", BARRIER + "  // until", "// until", "race"),
    "forward: V over K": ("FORWARD", BARRIER + "  // K has", "// K has", "race"),
    "forward: V used too early": ("FORWARD", "top = highest;\n        " + BARRIER, "top = highest;", "race|unwritten"),
    "forward: a key too many": ("FORWARD", "key <= row)", "key <= row + 1)", "past"),
    "forward: a key too few": ("FORWARD", "key <= row)", "key < row)", "past"),
    "forward: the window a key wider": ("FORWARD", "key > row - WINDOW", "key >= row - WINDOW", "past"),
    "forward: a key of the document before": ("FORWARD", "key >= start &&", "key + 1 >= start &&", "past"),
    "forward: no fade": ("FORWARD", "*= fade", "*= 1.0f", "past"),
    "forward: the head of another group": ("FORWARD", "h / (H / KV)", "h % KV", "past"),
    "forward: keys past the end": ("FORWARD", "key < high && i < D ? k", "key <= high && i < D ? k", "outside"),
    "dQ: no delta": ("ROWS_BACKWARD", "- DELTA_HERE", "- 0.5f * DELTA_HERE", "past"),
    "dQ: loaded too early": ("ROWS_BACKWARD", BARRIER, "", "race"),
    "dQ: no slope of the cap": ("ROWS_BACKWARD", "ds *= 1.0f - (s / cap) * (s / cap)", "ds *= 1.0f", "past"),
    "dQ: rows past the end": ("ROWS_BACKWARD", "row < tq;", "row <= tq;", "outside|race"),
    "dK: rows of one head only": ("KEYS_BACKWARD", "h < (g + 1) * (H / KV)", "h < g * (H / KV) + 1", "past"),
    "dK: loaded too early": ("KEYS_BACKWARD", BARRIER, "", "race"),
    "dK: rows forgotten": ("KEYS_BACKWARD", "max(low, first - shift);", "max(low, first - shift + 1);", "past"),
    "dK: the last rows of a window": ("KEYS_BACKWARD", "(high, last - shift + W", "(high, first - shift + W", "past"),
    "dK: no scale": ("KEYS_BACKWARD", "* scale);", ");", "past"),
    "dV: the weights of others": ("KEYS_BACKWARD", "LSE_HERE sums[r]", "LSE_HERE sums[r & ~1u]", "past"),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_broken_on_purpose(mutation: str, shim: Shim, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, old, new, complaint = MUTATIONS[mutation]
    broken(monkeypatch, forward if kernel == "FORWARD" else metal_backward, kernel, old, new, 1)
    shim.schedules = (2,)
    with pytest.raises((MetalError, AssertionError), match=complaint):
        agree(inputs(torch.float32, 8, 77), window=42, softcap=2.0, documents=[0, 50, 154])


Q, K, ROPE = mx.ones((2, 3, 4, 8)), mx.ones((2, 3, 2, 8)), ours.Rope(8, max_positions=16)
BAD: dict[str, Any] = {
    "v: is missing": lambda: ours.rope_attention(Q, K),
    "v: is given without k": lambda: ours.rope_attention(Q, None, K),
    "v: its shape differs": lambda: ours.rope_attention(Q, K, Q),
    "q_weight: the norm comes before": lambda: ours.rope_attention(
        Q, K, K, q_weight=mx.ones((8,)), k_weight=mx.ones((8,))
    ),
    "window: 0 leaves": lambda: ours.rope_attention(Q, K, K, window=0),
    "softcap: -1": lambda: ours.rope_attention(Q, K, K, softcap=-1),
    r"sinks: shape \(2,\)": lambda: ours.rope_attention(Q, K, K, sinks=mx.ones((2,))),
    "cu_seqlens: documents need": lambda: ours.rope_attention(Q, K[:, :2], K[:, :2], cu_seqlens=mx.array([0, 6])),
    "rope: q has 3": lambda: ours.rope_attention(Q, K[:, :2], K[:, :2], rope=ROPE),
}


@pytest.mark.parametrize("complaint", BAD)
def test_bad_input(complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{complaint}"):
        BAD[complaint]()


def test_plain_mlx_works_inside_compile() -> None:
    q, cu = mx.random.normal((1, 9, 8 * 8)), mx.array([0, 4, 9])

    def loss(q: Any, cu: Any) -> Any:
        return ours.rope_attention(q, rope=ROPE, n_heads=4, n_kv_heads=2, cu_seqlens=cu).square().sum()

    assert mx.allclose(mx.compile(mx.grad(loss))(q, cu), mx.grad(loss)(q, cu), atol=1e-5)


@pytest.mark.parametrize("forced", ["metal", "nonsense"])
def test_forcing_what_is_not_here(forced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_KERNELS", forced)
    if forced == "metal" and mx.metal.is_available():
        pytest.skip("Metal is here")
    sentence = "needs an Apple GPU" if forced == "metal" else "is no backend"
    for call in (lambda: ours.rope_attention(Q, K, K), lambda: ours.rms_norm(Q)):
        with pytest.raises(ValueError, match=f"PYLM_KERNELS: '{forced}' {sentence}"):
            call()
    monkeypatch.setenv("PYLM_KERNELS", "triton")  # MLX has none of it, and so the reference runs
    assert ours.rms_norm(Q).shape == Q.shape
