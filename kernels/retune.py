"""Tune the kernels on this machine's GPU and write the committed tables: configurations.json and preferences.json.

    python kernels/retune.py                     # everything, some minutes, most of them Triton's compiler
    python kernels/retune.py attention --dry-run # the kernels whose names hold this word; only print

Each candidate computes what the present configuration computes, or it is out; one that does not fit the chip is out
too. A faster one replaces the present one from 2 % on: what is closer is noise. The rows of this architecture are
written, the default ones stay. Then attention's backends are timed, forward and backward with the rotation, and
`auto` takes them on this device in the order in which they came.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import itertools
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pylm_kernels import dispatch
from pylm_kernels.operands.caches import Cache
from pylm_kernels.operands.heads import Heads, Mask
from pylm_kernels.operands.rope import Rotated, Rotation
from pylm_kernels.triton_runtime import launch

TABLES = Path(launch.__file__).parent
Tensors = tuple[torch.Tensor, ...]
WORTH = 0.98
CLOSE = 1e-2  # relative error against the present configuration: other tiles add in another order
WARPS = {"num_warps": [4, 8]}
STAGES = {"num_stages": [1, 2, 3, 4]}


class Tuned(NamedTuple):
    """A row of the table: a kernel, the size up to which the row holds, what may vary, and a call that launches it."""

    kernel: str
    size: int
    grid: dict[str, list[int]]
    call: Callable[[Bench], Callable[[], Any]]


class Bench:
    """The GPU's clock, and sizes as they are; the tests put a CPU and small sizes in its place."""

    device = "cuda"

    def at_most(self, count: int) -> int:
        """Return this count of a problem's rows, columns, positions or classes, or less in the tests."""
        return count

    def heads(self, q: int, kv: int) -> tuple[int, int, int]:
        """Return the shape of a batch of four: its size, its heads of q and its heads of k."""
        return 4, q, kv

    def seconds(self, run: Callable[[], Any]) -> float:
        """Return the median time of twenty calls in seconds, each after the caches were overwritten."""
        flush = torch.empty(2**28, dtype=torch.int32, device=self.device)
        marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(20)]
        run()
        for start, end in marks:
            flush.zero_()
            start.record()
            run()
            end.record()
        torch.cuda.synchronize()
        return statistics.median(start.elapsed_time(end) for start, end in marks) / 1e3

    def random(self, *shape: int) -> torch.Tensor:
        """Return normal numbers in bf16; zeros would run at another clock."""
        return torch.randn(shape, device=self.device).bfloat16()


def kernels(operation: str, module: str = "triton") -> Any:
    """Return the module of an operation's launches."""
    return importlib.import_module(f"pylm_kernels.ops.{operation}.{module}")


def rms_norm(rows: int, width: int, backward: bool) -> Callable[[Bench], Callable[[], Any]]:
    """Return a function that prepares rms_norm, forward or backward."""

    def make(bench: Bench) -> Callable[[], Any]:
        module, columns = kernels("rms_norm"), bench.at_most(width)
        x, w = bench.random(bench.at_most(rows), columns), bench.random(columns)
        _, _, rstd = module.forward(x, w, None, 1e-5, 0.0)
        if backward:
            return lambda: module.backward(x, None, x, w, rstd, 1e-5, 0.0)
        return lambda: module.forward(x, w, None, 1e-5, 0.0)

    return make


def layer_norm(rows: int, width: int, backward: bool) -> Callable[[Bench], Callable[[], Any]]:
    """Return a function that prepares layer_norm, forward or backward: rms_norm with mean and bias."""

    def make(bench: Bench) -> Callable[[], Any]:
        module, columns = kernels("layer_norm"), bench.at_most(width)
        x, w = bench.random(bench.at_most(rows), columns), bench.random(columns)
        _, _, mean, rstd = module.forward(x, w, w, None, 1e-5)
        if backward:
            return lambda: module.backward(x, None, x, w, w, mean, rstd, 1e-5)
        return lambda: module.forward(x, w, w, None, 1e-5)

    return make


def packed(bench: Bench, batch: int, time: int, heads: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return heads as a projection gives them, and a table of angles."""
    time = bench.at_most(time)
    angles = torch.randn(time, width // 2, device=bench.device)
    return bench.random(batch, time, heads, width), angles


def qk_norm_rope(width: int) -> Callable[[Bench], Callable[[], Any]]:
    """Return a function that prepares qk_norm_rope both ways; one row of the table serves both."""

    def make(bench: Bench) -> Callable[[], Any]:
        batch, heads, kv = bench.heads(32, 8)
        module, (qkv, table) = kernels("qk_norm_rope"), packed(bench, batch, 4096, heads + 2 * kv, width)
        w = bench.random(width)
        raw = (Heads(qkv, None, None, heads, kv), Rotation(table, table, None, w, w, 1e-5, False, 0))

        def both() -> Tensors:
            q, k, *rstds = module.forward(*raw)
            return module.backward(q, k, *raw, *rstds)

        return both

    return make


def attention(width: int, backward: bool) -> Callable[[Bench], Callable[[], Any]]:
    """Return a function that prepares attention with its rotation, at the two shapes that the comparisons measure."""

    def make(bench: Bench) -> Callable[[], Any]:
        module = kernels("rope_attention")
        batch, heads, kv = bench.heads(12, 12) if width <= 64 else bench.heads(32, 8)
        qkv, table = packed(bench, batch, 2048 if width <= 64 else 4096, heads + 2 * kv, width)
        mask = Mask(None, None, None, True, 0, 0.0, width**-0.5)
        raw = (Heads(qkv, None, None, heads, kv), Rotation(table, table, None, None, None, 1e-5, False, 0), mask)
        if not backward:
            return lambda: module.forward(*raw)[:1]
        o, lse, *rotated = module.forward(*raw)
        do = torch.randn_like(o)
        gradients = kernels("rope_attention", "triton_backward")
        return lambda: gradients.backward(do, *raw, o, lse, Rotated(*rotated))[:1]

    return make


def decode(width: int) -> Callable[[Bench], Callable[[], Any]]:
    """Return a function that prepares the decoding of one token a row, over a half-filled cache."""

    def make(bench: Bench) -> Callable[[], Any]:
        module, filled = kernels("attention_decode"), bench.at_most(4096)
        batch, heads, kv = bench.heads(32, 8)
        qkv, _ = packed(bench, batch, 1, heads + 2 * kv, width)
        table = torch.randn(2 * filled, width // 2, device=bench.device)
        caches = [bench.random(batch, 2 * filled, kv, width) for _ in "kv"]
        lengths = torch.full((batch,), filled, dtype=torch.int32, device=bench.device)
        rotation = Rotation(table, table, None, None, None, 1e-5, False, 0)
        mask = Mask(None, None, None, True, 0, 0.0, width**-0.5)
        raw = (Heads(qkv, None, None, heads, kv), Cache(*caches, lengths), rotation, mask)
        return lambda: (module.forward(*raw),)

    return make


def cross_entropy(bench: Bench) -> Callable[[], Any]:
    """Return a run of cross_entropy both ways."""
    module, rows, classes = kernels("cross_entropy"), bench.at_most(16384), bench.at_most(50304)
    logits, targets = bench.random(rows, classes), torch.randint(0, classes, (rows,), device=bench.device)

    def both() -> Tensors:
        loss, lse = module.forward(logits, targets, 0.0, -100, 0.0)
        return loss, module.backward(torch.ones_like(loss), logits, targets, lse, 0.0, -100, 0.0)

    return both


def linear_cross_entropy(backward: bool) -> Callable[[Bench], Callable[[], Any]]:
    """Return a function that prepares linear_cross_entropy with GPT-2's vocabulary."""

    def make(bench: Bench) -> Callable[[], Any]:
        module, rows, classes = kernels("linear_cross_entropy"), bench.at_most(16384), bench.at_most(50304)
        x, weight = bench.random(rows, bench.at_most(768)), bench.random(classes, bench.at_most(768)) * 0.03
        targets = torch.randint(0, classes, (rows,), device=bench.device)
        settings = (0.0, -100, 0.0, False, False)
        loss, lse, *rest = module.forward(x, weight, targets, *settings)
        if backward:
            return lambda: module.backward(torch.ones_like(loss), x, weight, targets, lse, None, None, *settings)
        return lambda: module.forward(x, weight, targets, *settings)[:2]

    return make


def norms(kernel: str, make: Any, shapes: dict[int, tuple[int, int]], backward: bool) -> list[Tuned]:
    """Return the table's rows for a norm, by the width up to which each holds."""
    found = []
    for size, (rows, width) in shapes.items():
        whole = launch.power_of_2(width)
        elements = [n for n in (1024, 2048, 4096, 8192, 16384) if n >= min(whole, 8192)]
        waves = {"waves": [1, 2, 4]} if backward else {}
        grid = {"ELEMENTS": elements, "num_warps": [4, 8, 16], **waves}
        found.append(Tuned(kernel, size, grid, make(rows, width, backward)))
    return found


NARROW = {1024: (8192, 768), 4096: (16384, 4096)}
TILES = {"BM": [64, 128], "BN": [32, 64, 128]}
TUNED: list[Tuned] = [
    *norms("rms_norm_forward", rms_norm, NARROW | {65536: (4096, 16384)}, False),
    *norms("rms_norm_backward", rms_norm, {256: (131072, 128)} | NARROW | {65536: (4096, 16384)}, True),
    *norms("layer_norm_forward", layer_norm, NARROW | {16384: (4096, 16384)}, False),
    *norms("layer_norm_backward", layer_norm, NARROW | {16384: (4096, 16384)}, True),
    *(Tuned("qk_norm_rope", w, {"ROWS": [8, 16, 32, 64], "num_warps": [2, 4, 8]}, qk_norm_rope(w)) for w in (64, 128)),
    *(Tuned("attention_forward", w, TILES | WARPS | {"num_stages": [1, 2, 3]}, attention(w, False)) for w in (64, 128)),
    *(
        Tuned(kernel, width, {rows: [16, 32, 64], along: [32, 64, 128], **WARPS, "num_stages": [1, 2]},
              attention(width, True))
        for kernel, rows, along in (("attention_dkdv", "BM", "BN"), ("attention_dq", "BN", "BM"))
        for width in (64, 128)
    ),
    *(
        Tuned("attention_decode", w, {"BN": [16, 32, 64, 128], **WARPS, **STAGES, "waves": [1, 2, 4]}, decode(w))
        for w in (64, 128)
    ),
    Tuned("cross_entropy", 1, {"BLOCK": [2048, 4096, 8192, 16384], "num_warps": [4, 8, 16]}, cross_entropy),
    *(
        Tuned(f"linear_cross_entropy_{kernel}", 16, {"BM": [64, 128], "BN": [64, 128, 256], "BK": [32, 64], **WARPS,
              "num_stages": [2, 3, 4]}, linear_cross_entropy(backward))
        for kernel, backward in (("forward", False), ("dlogits", True))
    ),
]  # fmt: skip


def candidates(grid: dict[str, list[int]]) -> Iterator[dict[str, int]]:
    """Yield every combination of the grid's values."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def apart(found: Any, exact: Any) -> float:
    """Return the largest relative error; not-a-number counts as infinite."""
    pairs = [(a.float(), b.float()) for a, b in zip(found, exact, strict=True) if b.numel()]
    worst = max(float((a - b).norm() / b.norm().clamp_min(1e-30)) for a, b in pairs)
    return worst if worst == worst else float("inf")


def use(rows: dict[str, Any], size: str, configuration: dict[str, int]) -> None:
    """Launch with this configuration from here on."""
    rows[size] = configuration
    launch._entry.cache_clear()


def tune(tuned: Tuned, bench: Bench, architecture: str) -> None:
    """Put the fastest configuration into the table that launches read."""
    entries = launch._table()[tuned.kernel]
    rows = entries.setdefault(architecture, copy.deepcopy(entries["default"]))
    size = str(tuned.size) if str(tuned.size) in rows else max(rows, key=int)
    present = dict(rows[size])
    launch._entry.cache_clear()
    run = tuned.call(bench)
    exact = [x.clone() for x in run()]
    fastest, best = bench.seconds(run), present
    started = fastest
    refused = wrong = 0
    for candidate in candidates(tuned.grid):
        use(rows, size, present | candidate)
        try:
            found = run()
            took = bench.seconds(run)
        except Exception as reason:  # noqa: BLE001 (out of registers, of shared memory, a failed pass: each has a type of its own)
            refused += 1
            print(f"    {candidate}: {str(reason).strip().splitlines()[0][:90]}", file=sys.stderr)
            continue
        if apart(found, exact) > CLOSE:
            wrong += 1
            print(f"    {candidate}: computed something else", file=sys.stderr)
        elif took < min(fastest, started * WORTH):
            fastest, best = took, present | candidate
    use(rows, size, best)
    said = f"{started * 1e6:.1f} → {fastest * 1e6:.1f} µs {best}"
    print(f"{tuned.kernel} up to {size}: {said}; {refused} did not run, {wrong} were wrong", flush=True)


def prefer(bench: Bench) -> list[str]:
    """Return attention's backends on this device, best first, by the width up to which the first is ahead."""
    from pylm_kernels import Rope, rope_attention

    ahead: dict[int, str] = {}
    for width, shape, time in ((64, (12, 12), 2048), (128, (32, 8), 4096)):
        batch, heads, kv = bench.heads(*shape)
        qkv, _ = packed(bench, batch, time, heads + 2 * kv, width)
        qkv.requires_grad_()
        rope = Rope(width, max_positions=qkv.shape[1], device=bench.device)
        took = {}
        for backend in ("triton", "sdpa"):
            settings = {"rope": rope, "n_heads": heads, "n_kv_heads": kv, "backend": backend}

            def both(settings: Any = settings, qkv: torch.Tensor = qkv) -> Any:
                o = rope_attention(qkv, **settings)
                return torch.autograd.grad(o, qkv, o.detach())

            both()
            took[backend] = bench.seconds(both)
        ahead[width] = min(took, key=lambda name: took[name])
        print(f"rope_attention, width {width}: " + ", ".join(f"{n} {s * 1e6:.0f} µs" for n, s in took.items()))
    other = {"triton": "sdpa", "sdpa": "triton"}
    if ahead[64] == ahead[128]:
        return [ahead[64], other[ahead[64]]]
    return [f"{ahead[64]}<=64", ahead[128], ahead[64]]


def written(table: dict[str, Any]) -> str:
    """Return the table of configurations as it is committed, with one row a line."""
    blocks = []
    for kernel, entries in table.items():
        places = []
        for place, rows in entries.items():
            lines = ",\n".join(f'      "{size}": {json.dumps(row)}' for size, row in rows.items())
            places.append(f'    "{place}": {{\n{lines}\n    }}')
        blocks.append(f'  "{kernel}": {{\n' + ",\n".join(places) + "\n  }")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def main(words: list[str], bench: Bench, folder: Path, name: str) -> None:
    """Tune the rows whose kernels hold a word, and write both tables into the folder."""
    architecture = launch.architecture(torch.empty(0, device=bench.device).device)
    for tuned in TUNED:
        if not words or any(word in tuned.kernel for word in words):
            tune(tuned, bench, architecture)
    table = {kernel: entries for kernel, entries in launch._table().items()}
    (folder / "configurations.json").write_text(written(table), encoding="utf-8")
    if not words or any(word in "rope_attention" for word in words):
        preferences = json.loads((TABLES / "preferences.json").read_text(encoding="utf-8"))
        preferences.setdefault(name, {})["rope_attention"] = prefer(bench)
        (folder / "preferences.json").write_text(json.dumps(preferences, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="tune the kernels whose names hold one of these")
    parser.add_argument("--dry-run", action="store_true", help="write into the working folder instead of the package")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("error: there is no GPU here that PyTorch sees\nhint: run this where `nvidia-smi` shows one")
    device_name = dispatch.device_name("cuda")
    main(given.words, Bench(), Path.cwd() if given.dry_run else TABLES, device_name)
