"""Metal kernels against MLX's own fused operations and against plain MLX: forward, and forward with backward."""

from __future__ import annotations

import importlib.util
import platform
import statistics
import time
from typing import Any

import pytest

from benchmarks.compare import Compare, Side

pytestmark = pytest.mark.skipif(
    platform.system() != "Darwin" or importlib.util.find_spec("mlx") is None,
    reason="compares Metal kernels with MLX's own, which takes a Mac with an Apple GPU and mlx",
)
# name → (operation, sizes); the sizes of GPT-2 small and of a Llama with grouped heads
CASES: dict[str, tuple[str, dict[str, int]]] = {
    "rms_norm 16384 × 4096": ("rms_norm", {"rows": 16384, "width": 4096}),
    "rms_norm 131072 × 128": ("rms_norm", {"rows": 131072, "width": 128}),
    "rms_norm with residual 8192 × 768": ("rms_norm_residual", {"rows": 8192, "width": 768}),
    "qk_norm_rope B4 T4096 H32/8 D128": ("qk_norm_rope", {"b": 4, "t": 4096, "h": 32, "kv": 8, "d": 128}),
    "rope_attention B8 T2048 H12 D64": ("rope_attention", {"b": 8, "t": 2048, "h": 12, "kv": 12, "d": 64}),
    "rope_attention B1 T4096 H32/8 D128": ("rope_attention", {"b": 1, "t": 4096, "h": 32, "kv": 8, "d": 128}),
}
ROUNDS = 20


def material(operation: str, sizes: dict[str, int], dtype: Any) -> list[Any]:
    """Random inputs, the same for every side."""
    import mlx.core as mx

    mx.random.seed(1)
    if operation.startswith("rms_norm"):
        shapes = [(sizes["rows"], sizes["width"]), (sizes["width"],)]
        shapes += [shapes[0]] if operation.endswith("residual") else []
    else:
        shapes = [(sizes["b"], sizes["t"], sizes["h"] + 2 * sizes["kv"], sizes["d"])]
        shapes += [(sizes["d"],)] * 2 if operation == "qk_norm_rope" else []
    return [mx.random.normal(shape).astype(dtype) for shape in shapes]


def ours(operation: str, sizes: dict[str, int], backward: bool) -> dict[str, Any]:
    """pylm_kernels.mlx."""
    from pylm_kernels import mlx as kernels

    rope = kernels.Rope(sizes["d"], max_positions=sizes["t"]) if "d" in sizes else None
    heads = {"n_heads": sizes.get("h"), "n_kv_heads": sizes.get("kv")}

    def run(*given: Any) -> Any:
        if operation == "rms_norm":
            return [kernels.rms_norm(*given)]
        if operation == "rms_norm_residual":
            return list(kernels.rms_norm(*given[:2], residual=given[2]))
        if operation == "qk_norm_rope":
            return list(kernels.qk_norm_rope(given[0], rope=rope, q_weight=given[1], k_weight=given[2], **heads))
        return [kernels.rope_attention(given[0], rope=rope, **heads)]

    return measured(run, operation, sizes, backward)


def fast(operation: str, sizes: dict[str, int], backward: bool) -> dict[str, Any]:
    """What MLX offers fused, composed; its attention falls back to T × T where a gradient is asked for."""
    import mlx.core as mx

    norm, turn = mx.fast.rms_norm, rotation(sizes)
    return measured(
        composed(norm, turn, mx.fast.scaled_dot_product_attention, operation, sizes), operation, sizes, backward
    )


def plain(operation: str, sizes: dict[str, int], backward: bool) -> dict[str, Any]:
    """MLX's ordinary operations under mx.compile."""
    import mlx.core as mx

    def norm(x: Any, weight: Any, eps: float) -> Any:
        wide = x.astype(mx.float32)
        return (wide * mx.rsqrt(mx.square(wide).mean(-1, keepdims=True) + eps)).astype(x.dtype) * weight

    def attention(q: Any, k: Any, v: Any, scale: float, mask: str) -> Any:
        group = q.shape[1] // k.shape[1]
        k, v = (mx.repeat(x, group, 1) if group > 1 else x for x in (k, v))
        row = mx.arange(q.shape[2])
        scores = mx.where(row[None] <= row[:, None], (q * scale) @ k.swapaxes(-1, -2), -mx.inf)
        return mx.softmax(scores.astype(mx.float32), -1).astype(q.dtype) @ v

    run = composed(norm, rotation(sizes), attention, operation, sizes)
    return measured(run, operation, sizes, backward, compiled=True)


def rotation(sizes: dict[str, int]) -> Any:
    """mx.fast.rope over [B, H, T, D]; MLX has no plain one."""
    import mlx.core as mx

    return lambda x: mx.fast.rope(x, sizes["d"], traditional=False, base=10000.0, scale=1.0, offset=0)


def composed(norm: Any, turn: Any, attention: Any, operation: str, sizes: dict[str, int]) -> Any:
    """The operations of a peer, put together as a model would."""
    h, kv, d = (sizes.get(name, 0) for name in ("h", "kv", "d"))

    def run(*given: Any) -> Any:
        if operation == "rms_norm":
            return [norm(*given, 1e-5)]
        if operation == "rms_norm_residual":
            total = given[0] + given[2]
            return [norm(total, given[1], 1e-5), total]
        q, k, v = (x.swapaxes(1, 2) for x in (given[0][:, :, :h], given[0][:, :, h : h + kv], given[0][:, :, h + kv :]))
        if operation == "qk_norm_rope":
            return [turn(norm(x, w, 1e-5)).swapaxes(1, 2) for x, w in ((q, given[1]), (k, given[2]))]
        return [attention(turn(q), turn(k), v, scale=d**-0.5, mask="causal").swapaxes(1, 2)]

    return run


def measured(run: Any, operation: str, sizes: dict[str, int], backward: bool, compiled: bool = False) -> dict[str, Any]:
    """Median seconds of a call, peak memory of the GPU, and how large what came out is."""
    import mlx.core as mx

    given = material(operation, sizes, mx.bfloat16)
    above = [mx.random.normal(y.shape).astype(y.dtype) for y in run(*given)] if backward else []
    mx.eval(given, above)

    def call(*arrays: Any) -> Any:
        if not backward:
            return run(*arrays)
        outputs, gradients = mx.vjp(lambda *leaves: run(*leaves), list(arrays), above)
        return list(outputs) + list(gradients)

    function = mx.compile(call) if compiled else call
    found = function(*given)
    mx.eval(found)
    mx.reset_peak_memory()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        mx.eval(function(*given))
        times.append(time.perf_counter() - start)
    return {
        "seconds": statistics.median(times),
        "peak_mb": mx.get_peak_memory() / 1e6,
        "result": [float(mx.linalg.norm(x.astype(mx.float32).reshape(-1)).item()) for x in found],
    }


def close(ours: list[float], peer: list[float]) -> bool:
    """Norms of all outputs and gradients, to what bfloat16 leaves of them."""
    return len(ours) == len(peer) and all(abs(a - b) <= 0.01 * b for a, b in zip(ours, peer, strict=True))


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "and-backward"])
@pytest.mark.parametrize("case", CASES)
def test_against_mlx(compare: Compare, case: str, backward: bool) -> None:
    operation, sizes = CASES[case]
    run = compare(
        f"{case}, forward{' and backward' * backward}", Side("pylm-kernels", ours),
        [Side("mlx", fast, label="mx.fast"), Side("mlx", plain, label="plain MLX, compiled")], agree=close,
        operation=operation, sizes=sizes, backward=backward,
    )  # fmt: skip
    for peer in ("mx.fast", "plain MLX, compiled"):
        run.faster(1.0, than=peer)
        if backward and operation == "rope_attention":
            run.leaner(1.0, than=peer)
