"""What runs the Metal kernels without a chip sees what a chip would not forgive: each fault here is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")
from metal.shim import MetalError, Shim  # noqa: E402

from pylm_kernels.mlx.launch import Kernel  # noqa: E402

SUM = """
    threadgroup float part[64];
    const uint i = thread_position_in_threadgroup.x;
    part[i] = x[threadgroup_position_in_grid.x * 64 + i];
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint half_way = 32; half_way > 0; half_way /= 2) {
        if (i < half_way) part[i] += part[i + half_way];
        threadgroup_barrier(mem_flags::mem_threadgroup);
    }
    if (i == 0) y[threadgroup_position_in_grid.x] = part[0];
"""


def run(
    shim: Shim, source: str, x: Any = None, shape: tuple[int, ...] = (3,), dtype: Any = None, header: str = "",
    threads: int = 64, groups: int = 3, template: Any = (("N", 64),),
) -> Any:  # fmt: skip
    x = mx.arange(192).astype(mx.float32) if x is None else x
    return shim(
        Kernel("tried", ("x",), ("y",), source, header), [x], template=template, grid=(groups * threads, 1, 1),
        threadgroup=(threads, 1, 1), output_shapes=[shape], output_dtypes=[dtype or x.dtype],
    )[0]  # fmt: skip


def test_a_sum_over_a_threadgroup(shim: Shim) -> None:
    assert run(shim, SUM).tolist() == [sum(range(64 * i, 64 * i + 64)) for i in range(3)]


FAULTS = {
    "race: part|unwritten: part": SUM.replace("threadgroup_barrier(mem_flags::mem_threadgroup);", "", 1),
    "race: part.* is read, and was written by|unwritten: part.*": SUM.replace("threadgroup_b", "simdgroup_b"),
    "race: .* several threads|race: part": SUM.replace("mem_threadgroup", "mem_none"),
    r"outside: x\[192\] of 192": SUM.replace("* 64 + i]", "* 64 + i + 1]"),
    r"outside: x\[4294967295\]": SUM.replace("* 64 + i]", "* 64 + i - 1]"),
    r"outside: part\[64\] of 64": SUM.replace("part[i] = x", "part[i + 1] = x"),
    r"outside: y\[3\] of 3": SUM.replace("y[threadgroup", "y[1 + threadgroup"),
    r"race: y\[0\] is written, and was written by": SUM.replace("if (i == 0)", ""),
    r"unwritten: part\[63\] is read before": SUM.replace("part[i] = x", "if (i < 63) part[i] = x"),
    r"unwritten: y\[\d\] is never written": SUM.replace("(i == 0)", "(i == 0 && threadgroup_position_in_grid.x < 2)"),
    "not reached by everybody": "if (thread_position_in_grid.x != 40) threadgroup_barrier(mem_flags::mem_device);"
    "if (thread_position_in_threadgroup.x == 0) y[threadgroup_position_in_grid.x] = x[0];",
    "is reached while others are at": "const uint lane = thread_index_in_simdgroup;\n"
    "float a = lane < 16 ? simd_sum(x[lane]) :\n simd_max(x[lane]);\nif (lane == 0) y[0] = a;",
    "threadgroup memory: 36864 bytes": "threadgroup float a[9216]; a[0] = x[0]; y[0] = a[0];",
}  # fmt: skip


@pytest.mark.parametrize("complaint", FAULTS)
def test_faults_in_memory_and_order(complaint: str, shim: Shim) -> None:
    with pytest.raises(MetalError, match=complaint):
        run(shim, FAULTS[complaint])


@pytest.mark.parametrize("schedule", range(4))
def test_a_missing_barrier_is_found_in_every_schedule(schedule: int, shim: Shim) -> None:
    shim.schedules = (schedule,)
    with pytest.raises(MetalError, match="race: part|unwritten: part"):
        run(shim, SUM.replace("threadgroup_barrier(mem_flags::mem_threadgroup);", "", 1))


def test_what_depends_on_the_order_is_found(shim: Shim) -> None:
    # a value passed from simdgroup to simdgroup through a barrier is no race, but here the order of two writers is
    source = "threadgroup float a[1]; const uint i = thread_index_in_threadgroup;\n"
    source += "if (i % 32 == 0) { a[0] = float(i); } threadgroup_barrier(mem_flags::mem_threadgroup);\n"
    source += "if (i == 0) y[threadgroup_position_in_grid.x] = a[0] + x[0];"
    with pytest.raises(MetalError, match="race: a.0. is written, and was written by"):
        run(shim, source)


COMPILE = {
    "address spaces do not mix": ("threadgroup float a[64]; device float* p = a; y[0] = p[0];", ""),
    "a pointer into constant memory is no device pointer": (
        "y[0] = first(x);",
        "float first(const device float* p) { return p[0]; }",
    ),
    "inputs are not written": ("x[0] = 1.0f; y[0] = 1.0f;", ""),
    "no arithmetic in half": ("half a = half(x[0]); half b = a * a; y[0] = float(b);", ""),
    "no double": ("y[0] = x[0] * 0.1 + 1e-3;", ""),
    "a pointer needs an address space": ("y[0] = first(x);", "float first(float* p) { return p[0]; }"),
    "no C++ after 14": ("if constexpr (N == 64) y[0] = x[0];", ""),
    "nothing unused": ("float a = 1.0f; y[0] = x[0];", ""),
}  # fmt: skip


@pytest.mark.parametrize("fault", COMPILE)
def test_faults_that_do_not_compile(fault: str, shim: Shim) -> None:
    body, header = COMPILE[fault]
    x = mx.ones((4,)) if "constant" in fault else None  # MLX hands fewer than 8 elements over in constant memory
    with pytest.raises(MetalError, match="does not compile|address space"):
        run(shim, body, x, header=header)


def test_products_of_matrices(shim: Shim) -> None:
    source = """
        const uint lane = thread_index_in_simdgroup;
        const uint row = ((lane / 4) & 4) + (lane / 2) % 4;
        const uint column = ((lane / 4) & 2) * 2 + (lane % 2) * 2;
        const uint first = simdgroup_index_in_threadgroup * 128;
        simdgroup_float8x8 a, b;
        simdgroup_matrix<float, 8, 8> c(0.5f);
        for (int j = 0; j < 2; j++) {
            a.thread_elements()[j] = x[first + row * 8 + column + j];
            b.thread_elements()[j] = x[first + 64 + row * 8 + column + j];
        }
        simdgroup_multiply_accumulate(c, a, b, c);
        for (int j = 0; j < 2; j++) y[first / 2 + row * 8 + column + j] = c.thread_elements()[j];
    """
    x = np.random.default_rng(2).standard_normal((2, 2, 8, 8)).astype(np.float32)
    y = run(shim, source, mx.array(x), shape=(2, 8, 8), threads=64, groups=1)
    assert np.abs(np.array(y) - (x[:, 0].astype(np.float64) @ x[:, 1] + 0.5 * np.eye(8))).max() < 1e-5


def test_simd_functions(shim: Shim) -> None:
    source = """
        const uint i = thread_position_in_grid.x;
        const float v = x[i];
        y[i] = simd_sum(v); y[64 + i] = simd_max(v); y[128 + i] = simd_min(v); y[192 + i] = simd_broadcast(v, 3);
        y[256 + i] = simd_shuffle_xor(v, 9); y[320 + i] = simd_shuffle_down(v, 4); y[384 + i] = simd_shuffle(v, 7);
    """
    x = np.random.default_rng(3).standard_normal((2, 32)).astype(np.float32)
    y = np.array(run(shim, source, mx.array(x.reshape(-1)), shape=(7, 2, 32), groups=1))
    lanes = np.arange(32)
    assert np.allclose(y[0], x.sum(1, keepdims=True), atol=1e-5)
    for n, exact in enumerate([x.max(1, keepdims=True), x.min(1, keepdims=True), x[:, 3:4], x[:, lanes ^ 9]], 1):
        assert np.array_equal(y[n], np.broadcast_to(exact, (2, 32)))
    assert np.array_equal(y[5, :, :28], x[:, 4:]) and np.array_equal(y[6], np.broadcast_to(x[:, 7:8], (2, 32)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_short_floats_are_rounded_to_nearest_even(dtype: str, shim: Shim) -> None:
    kind = getattr(mx, dtype)
    bits = np.random.default_rng(4).integers(0, 2**32, 4096, dtype=np.uint32).view(np.float32)
    edges = [0.0, -0.0, 1.00390625, 1.01171875, 65519.0, 65520.0, 3.4e38, 1e-40, 6e-8, np.inf, -np.inf, np.nan]
    x = mx.array(np.concatenate([bits, np.array(edges, np.float32)]))
    y = run(shim, "const uint i = thread_position_in_grid.x; y[i] = static_cast<T>(float(x[i]));", x, shape=x.shape,
            dtype=kind, threads=4, groups=x.size // 4, template=[("T", kind)])  # fmt: skip
    found, exact = np.array(y.view(mx.uint16)), np.array(x.astype(kind).view(mx.uint16))
    number = ~np.isnan(np.array(x))
    assert np.array_equal(found[number], exact[number])
    assert mx.isnan(y)[mx.array(np.flatnonzero(~number))].all()
    z = run(shim, "const uint i = thread_position_in_grid.x; y[i] = float(x[i]);", y, shape=x.shape, dtype=mx.float32,
            threads=4, groups=x.size // 4)  # fmt: skip
    assert np.array_equal(np.array(z)[number], np.array(y.astype(mx.float32))[number])


def test_grids_of_broken_threadgroups_are_refused(shim: Shim) -> None:
    with pytest.raises(MetalError, match="not whole threadgroups"):
        shim(Kernel("tried", ("x",), ("y",), SUM), [mx.ones((192,))], template=(), grid=(100, 1, 1),
             threadgroup=(64, 1, 1), output_shapes=[(3,)], output_dtypes=[mx.float32])  # fmt: skip
