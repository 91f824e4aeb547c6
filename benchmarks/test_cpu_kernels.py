"""The C++ kernels on a CPU against torch: eager, compiled, and its own fused operations.

Every side keeps its memory between calls (glibc's allocator told not to return it), or page faults would be most of
what is measured.

Where memory is the floor and torch comes too near to it to be beaten by much (docs/log.md), the bar is the floor: a
copy that reads and writes as many bytes, by as many threads, in turns with ours in the same process.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Side

KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1000000000000", "MALLOC_TOP_PAD_": "268435456"}
RETURNED = {"MALLOC_MMAP_THRESHOLD_": "1000000"}  # and told to return all of it at once, where memory is measured
REPEATS, FEW = 15, 3
SLOW = ("linear cross-entropy",)  # a second a call
Work = tuple[Callable[[], Any], Callable[[Any], list[float]]]


def measure(work: Work, repeats: int = REPEATS) -> dict[str, Any]:
    """The median of some calls after some that fault their memory in, and the numbers that the sides must agree on."""
    run, numbers = work
    for _ in range(2 if repeats == FEW else 6):
        found = run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        found = run()
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times), "result": numbers(found)}


def several(works: Mapping[str, Work], repeats: int = REPEATS) -> dict[str, Any]:
    """Each measured by itself in one process, whose start would take longer than most of them: a figure a case."""
    found = {name: measure(work, FEW if name in SLOW else repeats) for name, work in works.items()}
    seconds = {name: one["seconds"] for name, one in found.items()}
    return {**seconds, "seconds": sum(seconds.values()), "result": [n for one in found.values() for n in one["result"]]}


def copying(torch: Any, count: int, cores: int) -> Callable[[], None]:
    """What reads and writes `count` bytes in all, half of them each, by the C library's copy, a share a thread."""
    import ctypes
    from concurrent.futures import ThreadPoolExecutor

    share = count // 2 // cores // 64 * 64
    pool = ThreadPoolExecutor(cores)
    pairs = [[torch.ones(share, dtype=torch.int8) for _ in range(2)] for _ in range(cores)]

    def run() -> None:
        list(pool.map(lambda pair: ctypes.memmove(pair[0].data_ptr(), pair[1].data_ptr(), share), pairs))

    return run


def of_a_copy(work: Work, copy: Callable[[], None]) -> float:
    """Percent of the speed of a copy of as many bytes, in turns."""
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(REPEATS):
        for run, times in zip((work[0], copy), seconds, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return 100 * statistics.median(seconds[1][2:]) / statistics.median(seconds[0][2:])


def occupied(work: Work) -> dict[str, Any]:
    """The memory that one call takes beside its inputs at its highest, results included."""
    run, numbers = work
    for _ in range(2):
        result = numbers(run())
    status = Path("/proc/self/status")
    Path("/proc/self/clear_refs").write_text("5")  # the highest is the present from here on
    kilobytes = [int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS")]
    start = time.perf_counter()
    run()
    seconds = time.perf_counter() - start
    kilobytes += [int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return {"seconds": seconds, "step_mb": (kilobytes[1] - kilobytes[0]) * 1024 / 1e6, "result": result}


def norms(tensors: Any) -> list[float]:
    return [float(tensor.detach().float().norm()) for tensor in tensors]


def agree(mine: list[float], peer: list[float]) -> bool:
    return len(mine) == len(peer) and all(abs(a - b) <= 0.02 * abs(b) + 1e-6 for a, b in zip(mine, peer, strict=True))


def setup(cores: int) -> Any:
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(cores)
    return torch


def native(cores: int) -> tuple[Any, Any]:
    torch = setup(cores)
    from pylm import native_kernels

    native_kernels.register()
    return torch, native_kernels


def sides() -> tuple[Side, list[Side]]:
    """Ours and torch's two, which find their cases by the functions' argument."""
    return Side("pylm", ours, environment=KEPT), [
        Side("torch", eager, label="torch eager", environment=KEPT),
        Side("torch", compiled, label="torch.compile", environment=KEPT),
    ]


def inputs(torch: Any, case: str) -> tuple[Any, ...]:
    if case == "cross-entropy":
        return torch.randn(512, 50304), torch.randint(0, 50304, (512,))
    if case == "linear cross-entropy":
        x, weight = torch.randn(4096, 384).bfloat16(), (torch.randn(50304, 384) * 0.05).bfloat16()
        return x, weight, torch.randint(0, 50304, (4096,))
    if case.startswith("rms_norm") or case == "residual + norm":
        shape = (8192, 768)
        return torch.randn(shape).bfloat16(), torch.randn(shape).bfloat16(), torch.randn(768).bfloat16()
    raise AssertionError(case)


# bytes that are read and written where a copy is the floor
MOVED = {"cross-entropy": 2 * 512 * 50304 * 4}


def our(case: str, cores: int) -> Work:
    torch, kernels = native(cores)
    import pylm_kernels

    given = inputs(torch, case)
    if case == "cross-entropy":
        leaf, targets = given[0].requires_grad_(), given[1]

        def run() -> Any:
            loss = pylm_kernels.cross_entropy(leaf, targets, backend="cpu")
            return loss, *torch.autograd.grad(loss, leaf)

    elif case == "linear cross-entropy":
        leaves = [tensor.requires_grad_() for tensor in given[:2]]

        def run() -> Any:
            loss = pylm_kernels.linear_cross_entropy(leaves[0], leaves[1], given[2], backend="cpu")
            return loss, *torch.autograd.grad(loss, leaves)

    else:
        x, dy, weight = given
        residual = dy if case == "residual + norm" else None
        y, h, rstd = kernels.rms_norm_forward(x, weight, residual, 1e-5, 0.0)

        def run() -> Any:
            if case == "rms_norm forward":
                return kernels.rms_norm_forward(x, weight, None, 1e-5, 0.0)[:1]
            if case == "rms_norm backward":
                return kernels.rms_norm_backward(dy, None, x, weight, rstd, 1e-5, 0.0)
            y, h, scale = kernels.rms_norm_forward(x, weight, residual, 1e-5, 0.0)
            return y, h, *kernels.rms_norm_backward(dy, x, h, weight, scale, 1e-5, 0.0)

    return run, norms


def ours(cases: list[str], cores: int) -> dict[str, Any]:
    works = {case: our(case, cores) for case in cases}
    found = several(works)
    for case in MOVED.keys() & works.keys():
        found[f"{case}, of a copy"] = of_a_copy(works[case], copying(setup(cores), MOVED[case], cores))
    return found


def eager(cases: list[str], cores: int) -> dict[str, Any]:
    return several({case: torchs(case, cores, compiling=False) for case in cases})


def compiled(cases: list[str], cores: int) -> dict[str, Any]:
    return several({case: torchs(case, cores, compiling=True) for case in cases})


def our_memory(case: str, cores: int) -> dict[str, Any]:
    return occupied(our(case, cores))


def compiled_memory(case: str, cores: int) -> dict[str, Any]:
    return occupied(torchs(case, cores, compiling=True))


def torchs(case: str, cores: int, compiling: bool) -> Work:
    torch = setup(cores)
    given = inputs(torch, case)
    functional = torch.nn.functional
    wrap = torch.compile if compiling else lambda function: function
    if case == "cross-entropy":
        leaf = given[0].requires_grad_()
        loss_of = wrap(lambda x: functional.cross_entropy(x, given[1]))

        def run() -> Any:
            loss = loss_of(leaf)
            return loss, *torch.autograd.grad(loss, leaf)

    elif case == "linear cross-entropy":
        leaves = [tensor.requires_grad_() for tensor in given[:2]]
        loss_of = wrap(lambda x, w: functional.cross_entropy(functional.linear(x, w).float(), given[2]))

        def run() -> Any:
            loss = loss_of(*leaves)
            return loss, *torch.autograd.grad(loss, leaves)

    else:
        x, dy, weight = given
        leaves = [x.requires_grad_(), weight.requires_grad_()]
        norm = wrap(lambda x, w: functional.rms_norm(x, (768,), w, 1e-5))
        both = wrap(lambda x, r, w: (x + r, functional.rms_norm(x + r, (768,), w, 1e-5)))
        kept = norm(*leaves)

        def run() -> Any:
            if case == "rms_norm forward":
                with torch.no_grad():
                    return (norm(*leaves),)
            if case == "rms_norm backward":
                return torch.autograd.grad(kept, leaves, dy, retain_graph=True)
            h, y = both(x, dy, weight)
            return y, h, *torch.autograd.grad((h, y), leaves, (x.detach(), dy))

    return run, norms


BOTH = {"torch eager": 1.5, "torch.compile": 1.5}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("name", "bars"),
    [
        ("fp32 512 × 50304", {"cross-entropy": {}}),
        ("bf16 4096 × 384 × 50304", {"linear cross-entropy": {"torch eager": 1.15, "torch.compile": 1.15}}),
        (
            "bf16 8192 × 768",
            {
                "residual + norm": BOTH,
                "rms_norm forward": {"torch.compile": 2.0},
                "rms_norm backward": {"torch.compile": 1.5},
            },
        ),
    ],
    ids=["cross-entropy", "linear", "norms"],
)
def test_against_eager_and_compiled(
    compare: Compare, name: str, bars: dict[str, dict[str, float]], threads: int
) -> None:
    mine, peers = sides()
    run = compare(
        f"{name}, {threads} thread{'s' * (threads > 1)}",
        mine,
        peers,
        rounds=2 if SLOW[0] in bars else 3,
        threads=threads,
        cores=threads,
        agree=agree,
        cases=list(bars),
    )
    for case, bar in bars.items():
        for peer in peers:
            run.faster(bar.get(peer.name), than=peer.name, figure=case)
        if case in MOVED:
            run.at_least(90.0, f"{case}, of a copy", "% of a copy's speed")


def test_memory_of_linear_cross_entropy(compare: Compare) -> None:
    run = compare(
        "linear cross-entropy, 2 threads",
        Side("pylm", our_memory, environment=RETURNED),
        [Side("torch", compiled_memory, label="torch.compile", environment=RETURNED)],
        rounds=1,
        threads=2,
        cores=2,
        agree=agree,
        case="linear cross-entropy",
    )
    run.leaner(0.2, than="torch.compile", figure="step_mb", unit="MB")


SHAPES = {"B16 H6 T256 D64": (16, 6, 256, 64), "B4 H12 T1024 D64": (4, 12, 1024, 64)}


def attention(which: str, shape: tuple[int, ...], cores: int, peer: bool) -> Work:
    torch, kernels = native(cores)
    batch, heads, time_, dim = shape
    q, k, v, dout = (torch.randn(batch, time_, heads, dim).bfloat16() for _ in range(4))
    if not peer:
        out, lse = kernels.attention_forward(q, k, v)
        if which == "forward":
            return lambda: kernels.attention_forward(q, k, v)[:1], norms
        return lambda: kernels.attention_backward(dout, q, k, v, out, lse), norms
    leaves = [tensor.transpose(1, 2).detach().requires_grad_() for tensor in (q, k, v)]
    sdpa = torch.nn.functional.scaled_dot_product_attention
    if which == "forward":

        def forward() -> Any:
            with torch.no_grad():
                return (sdpa(*leaves, is_causal=True),)

        return forward, norms
    out = sdpa(*leaves, is_causal=True)
    gradient = dout.transpose(1, 2)
    return lambda: torch.autograd.grad(out, leaves, gradient, retain_graph=True), norms


def attentions(cores: int, peer: bool) -> dict[str, Any]:
    return several(
        {
            f"{which} {name}": attention(which, shape, cores, peer)
            for name, shape in SHAPES.items()
            for which in ("forward", "backward")
        }
    )


def attention_ours(cores: int) -> dict[str, Any]:
    return attentions(cores, peer=False)


def attention_torch(cores: int) -> dict[str, Any]:
    return attentions(cores, peer=True)


@pytest.mark.parametrize("threads", [1, 2])
def test_causal_attention(compare: Compare, threads: int) -> None:
    run = compare(
        f"causal attention bf16, {threads} thread{'s' * (threads > 1)}",
        Side("pylm", attention_ours, environment=KEPT),
        [Side("torch", attention_torch, label="torch SDPA", environment=KEPT)],
        rounds=3,
        threads=threads,
        cores=threads,
        agree=agree,
    )
    for name in SHAPES:
        run.faster(1.3, than="torch SDPA", figure=f"forward {name}")
        run.faster(2.0, than="torch SDPA", figure=f"backward {name}")


ADAMW_SIZES = [19_316_736, 4 * 768 * 3072, 768 * 1700]


def optimizer(kind: str, cores: int, peer: bool) -> Work:
    torch, kernels = native(cores)
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    parameters = [torch.randn(n).to(dtype).requires_grad_() for n in ADAMW_SIZES]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.numel()).to(dtype)
    if peer:
        adamw = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

        def run() -> Any:
            norm = torch.nn.utils.clip_grad_norm_(parameters, 1e9)
            adamw.step()
            return norm

    else:
        moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
        groups = [(p.detach(), p.grad, m, v, None, 0.1) for p, (m, v) in zip(parameters, moments, strict=True)]
        step = 0

        def run() -> Any:
            nonlocal step
            step += 1
            return kernels.adamw(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, clip=1e9, step=step)

    return run, lambda norm: [float(norm), *norms(parameters)]


# bytes a parameter: the gradient twice, once for its norm; parameter and moments read and written
MOVED_BY_ADAMW = {"bf16": 2 * 2 + 3 * 2 * 2, "fp32": 2 * 4 + 3 * 2 * 4}


def adamw_ours(cores: int) -> dict[str, Any]:
    works = {kind: optimizer(kind, cores, peer=False) for kind in ("bf16", "fp32")}
    found = several(works)
    for kind, each in MOVED_BY_ADAMW.items():
        copy = copying(setup(cores), each * sum(ADAMW_SIZES), cores)
        found[f"{kind}, of a copy"] = of_a_copy(works[kind], copy)
    return found


def adamw_torch(cores: int) -> dict[str, Any]:
    return several({kind: optimizer(kind, cores, peer=True) for kind in ("bf16", "fp32")})


@pytest.mark.parametrize("threads", [1, 2])
def test_adamw_and_clip(compare: Compare, threads: int) -> None:
    run = compare(
        f"AdamW + clip, 30 M parameters, {threads} thread{'s' * (threads > 1)}",
        Side("pylm", adamw_ours, environment=KEPT),
        [Side("torch", adamw_torch, label="torch fused + clip_grad_norm_", environment=KEPT)],
        rounds=3,
        threads=threads,
        cores=threads,
        agree=agree,
    )
    for kind in ("bf16", "fp32"):
        run.faster(None, than="torch fused + clip_grad_norm_", figure=kind)
        run.at_least(90.0, f"{kind}, of a copy", "% of a copy's speed")


def decode(kind: str, cores: int) -> dict[str, Any]:
    torch, kernels = native(cores)
    dtype = torch.float32 if kind == "torch fp32" else torch.bfloat16
    q = torch.randn(1, 12, 64).to(dtype)
    k, v = (torch.randn(1, 12, 4096, 64).to(dtype) for _ in range(2))
    if kind == "pylm":
        caches = k.transpose(1, 2), v.transpose(1, 2)
        return measure((lambda: (kernels.decode_attention(q, *caches, [4096]),), norms), 40)
    sdpa = torch.nn.functional.scaled_dot_product_attention
    with torch.no_grad():
        return measure((lambda: (sdpa(q[:, :, None], k, v),), norms), 40)


def decode_ours(cores: int) -> dict[str, Any]:
    return decode("pylm", cores)


def decode_bf16(cores: int) -> dict[str, Any]:
    return decode("torch bf16", cores)


def decode_fp32(cores: int) -> dict[str, Any]:
    return decode("torch fp32", cores)


@pytest.mark.parametrize("threads", [1, 2])
def test_decode_attention(compare: Compare, threads: int) -> None:
    run = compare(
        f"decode attention H12 D64 S4096, {threads} thread{'s' * (threads > 1)}",
        Side("pylm", decode_ours, environment=KEPT),
        [
            Side("torch", decode_bf16, label="torch SDPA bf16", environment=KEPT),
            Side("torch", decode_fp32, label="torch SDPA fp32", environment=KEPT),
        ],
        rounds=3,
        threads=threads,
        cores=threads,
        agree=lambda mine, peer: abs(mine[0] - peer[0]) < 0.05 * peer[0],
    )
    run.faster(10.0, than="torch SDPA bf16")
    run.faster(2.5, than="torch SDPA fp32")


SETS = {"50304 × 768": 1, "1 GB": 26}


def gemv(cores: int) -> dict[str, Any]:
    """Percent of the speed at which the same threads read the same bytes, in turns."""
    torch, _ = native(cores)
    from pylm import _native

    rows, width = 50304, 768
    scales, x, y = torch.rand(rows), torch.randn(width), torch.empty(rows)
    found: dict[str, Any] = {"result": None, "seconds": 0.0}
    for name, matrices in SETS.items():
        weights = [torch.randint(-127, 128, (rows, width), dtype=torch.int8) for _ in range(matrices)]
        product, reading = [], []
        for _ in range(10 if matrices > 1 else 40):
            start = time.perf_counter()
            for matrix in weights:
                _native.gemv_int8(matrix, scales, x, y, cores)
            middle = time.perf_counter()
            for matrix in weights:
                _native.read_all(matrix, cores)
            product.append(middle - start)
            reading.append(time.perf_counter() - middle)
        seconds = statistics.median(product[1:])
        found |= {name: 100 * statistics.median(reading[1:]) / seconds, "seconds": found["seconds"] + seconds}
    return found


@pytest.mark.parametrize("threads", [1, 2])
def test_int8_product(compare: Compare, threads: int) -> None:
    run = compare(
        f"int8 GEMV, {threads} thread{'s' * (threads > 1)}",
        Side("pylm", gemv),
        rounds=3,
        threads=threads,
        cores=threads,
    )
    for name in SETS:
        run.at_least(85.0, name, "% of reading")
