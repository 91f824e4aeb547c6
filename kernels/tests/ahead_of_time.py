"""Compile every Triton kernel, as the operations launch it, for GPUs that are not here; print what the compiler made.

    python ahead_of_time.py [sm_90 …]              # one line a kernel, JSON at the end
    python ahead_of_time.py > /dev/null --write     # the committed table anew, to be looked at before it is committed

The operations run on meta tensors with launches recorded instead of made, so signatures, strides and configurations
are the real ones. Run without TRITON_INTERPRET.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from pylm_kernels.operands.caches import Cache
from pylm_kernels.operands.heads import Heads, Mask
from pylm_kernels.operands.rope import Rotated, Rotation
from pylm_kernels.triton_runtime import launch

TABLE = Path(__file__).with_name("ahead_of_time.json")
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "sm_120": GPUTarget("cuda", 120, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
SHARED = {"sm_80": 163, "sm_90": 227, "sm_100": 227, "sm_120": 99, "gfx942": 64}  # KB a block may use
TYPES = {torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.int64: "*i64", torch.int32: "*i32"}

ONLY = [word.removeprefix("only=") for word in sys.argv[1:] if word.startswith("only=")]

Launch = tuple[JITFunction, dict[str, Any], dict[str, int]]


def meta(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def rms_norm(width: int) -> None:
    from pylm_kernels.ops.rms_norm import triton as kernels

    x, w = meta(4096, width), meta(width)
    _, h, rstd = kernels.forward(x, w, x, 1e-5, 0.0)
    kernels.backward(x, x, h, w, rstd, 1e-5, 0.0)


def qk_norm_rope(width: int) -> None:
    from pylm_kernels.ops.qk_norm_rope import triton as kernels

    qkv, w, table = meta(4, 2048, 48, width), meta(width), meta(4096, width // 2, dtype=torch.float32)
    heads, rotation = Heads(qkv, None, None, 32, 8), Rotation(table, table, None, w, w, 1e-5, False, 0)
    q, k, *rstds = kernels.forward(heads, rotation)
    kernels.backward(q, k, heads, rotation, *rstds)


def qk_norm_rope_cached(width: int) -> None:
    from pylm_kernels.ops.qk_norm_rope import triton as kernels

    qkv, w, table = meta(4, 2048, 48, width), meta(width), meta(4096, width // 2, dtype=torch.float32)
    cache, lengths = meta(4, 4096, 8, width), meta(4, dtype=torch.int64)
    rotation = Rotation(table, table, None, w, w, 1e-5, False, 0)
    kernels.forward_cached(Heads(qkv, None, None, 32, 8), Cache(cache, cache, lengths), rotation)


def rope_attention(width: int, **masks: Any) -> None:
    from pylm_kernels.ops.rope_attention import triton as kernels
    from pylm_kernels.ops.rope_attention import triton_backward

    qkv, table = meta(4, 2048, 48, width), meta(4096, width // 2, dtype=torch.float32)
    bounds = meta(4, 2048, dtype=torch.int32) if masks.get("documents") else None
    rotation = Rotation(table, table, None, None, None, 1e-5, False, 0)
    mask = Mask(None, bounds, bounds, True, masks.get("window", 0), masks.get("softcap", 0.0), 0.125)
    raw = (Heads(qkv, None, None, 32, 8), rotation, mask)
    o, lse, *rotated = kernels.forward(*raw)
    triton_backward.backward(o, *raw, o, lse, Rotated(*rotated))


def attention_decode(width: int, kv: int = 8, **masks: Any) -> None:
    from pylm_kernels.ops.attention_decode import triton as kernels

    qkv, w, table = meta(8, 1, 32 + 2 * kv, width), meta(width), meta(4096, width // 2, dtype=torch.float32)
    cache, lengths = meta(8, 4096, kv, width), meta(8, dtype=torch.int32)
    rotation = Rotation(table, table, None, w, w, 1e-5, False, 0)
    mask = Mask(None, None, None, True, masks.get("window", 0), masks.get("softcap", 0.0), 0.125)
    kernels.forward(Heads(qkv, None, None, 32, kv), Cache(cache, cache, lengths), rotation, mask)


def layer_norm(width: int) -> None:
    from pylm_kernels.ops.layer_norm import triton as kernels

    x, w = meta(4096, width), meta(width)
    _, h, mean, rstd = kernels.forward(x, w, w, x, 1e-5)
    kernels.backward(x, x, h, w, w, mean, rstd, 1e-5)


def cross_entropy(width: int) -> None:
    from pylm_kernels.ops.cross_entropy import triton as kernels

    logits, targets = meta(4096, width), meta(4096, dtype=torch.int64)
    loss, lse = kernels.forward(logits, targets, 0.0, -100, 0.0)
    kernels.backward(loss, logits, targets, lse, 0.0, -100, 0.0)


def linear_cross_entropy(width: int) -> None:
    from pylm_kernels.ops.linear_cross_entropy import triton as kernels

    x, w, targets = meta(16384, width), meta(50304, width), meta(16384, dtype=torch.int64)
    loss, lse, dx, dw = kernels.forward(x, w, targets, 0.0, -100, 0.0, True, False)
    kernels.backward(loss, x, w, targets, lse, dx, dw, 0.0, -100, 0.0, True, False)


CASES: dict[str, Callable[[], None]] = {
    "rms_norm 128": lambda: rms_norm(128),
    "rms_norm 768": lambda: rms_norm(768),
    "rms_norm 4096": lambda: rms_norm(4096),
    "rms_norm 16384": lambda: rms_norm(16384),
    "layer_norm 768": lambda: layer_norm(768),
    "layer_norm 4096": lambda: layer_norm(4096),
    "qk_norm_rope 64": lambda: qk_norm_rope(64),
    "qk_norm_rope 128": lambda: qk_norm_rope(128),
    "qk_norm_rope, cached, 64": lambda: qk_norm_rope_cached(64),
    "qk_norm_rope, cached, 128": lambda: qk_norm_rope_cached(128),
    "rope_attention 64": lambda: rope_attention(64),
    "rope_attention 128": lambda: rope_attention(128),
    "rope_attention 256": lambda: rope_attention(256),
    "rope_attention 64, documents, window, cap": lambda: rope_attention(64, documents=True, window=512, softcap=30.0),
    "attention_decode 64": lambda: attention_decode(64, 32),
    "attention_decode 128": lambda: attention_decode(128),
    "attention_decode 256, window, cap": lambda: attention_decode(256, window=1024, softcap=30.0),
    "cross_entropy 50304": lambda: cross_entropy(50304),
    "linear_cross_entropy 768": lambda: linear_cross_entropy(768),
}


def launches(run: Callable[[], None], architecture: str) -> Iterator[Launch]:
    """What the operations would launch on this architecture."""
    recorded: list[Launch] = []

    def record(self: JITFunction, *args: Any, grid: Any, warmup: bool, **named: Any) -> None:
        values = dict(zip(self.arg_names, args, strict=False)) | {k: v for k, v in named.items() if k in self.arg_names}
        recorded.append((self, values, {k: v for k, v in named.items() if k not in self.arg_names}))

    real_run, real_architecture, real_processors = JITFunction.run, launch.architecture, launch.processors
    JITFunction.run = record
    launch.architecture = lambda device: architecture  # type: ignore[assignment]
    launch.processors = lambda device: 132  # type: ignore[assignment]
    try:
        run()
    finally:
        JITFunction.run, launch.architecture, launch.processors = real_run, real_architecture, real_processors
    seen = set()
    for kernel, values, options in recorded:
        if kernel.fn not in seen:  # slices of a vocabulary repeat one launch
            seen.add(kernel.fn)
            yield kernel, values, options


def compiled(kernel: JITFunction, values: dict[str, Any], options: dict[str, int], target: GPUTarget) -> Any:
    constants: dict[tuple[int, ...], Any] = {}
    attributes: dict[tuple[int, ...], list[list[Any]]] = {}

    def kind(path: tuple[int, ...], value: Any, constant: bool = False) -> Any:
        """The type of an argument, or of each in a tuple, as Triton's launcher would see it."""
        if constant or value is None or (type(value) is int and value == 1):
            constants[path] = value
            return "constexpr"
        if isinstance(value, tuple):
            return type(value)(*(kind((*path, number), one) for number, one in enumerate(value)))
        if isinstance(value, float):
            return "fp32"
        if isinstance(value, torch.Tensor) or value % 16 == 0:
            attributes[path] = [["tt.divisibility", 16]]
        if isinstance(value, torch.Tensor):
            return TYPES[value.dtype]
        return "i32" if -(2**31) <= value < 2**31 else "i64"

    signature = {p.name: kind((place,), values[p.name], p.is_constexpr) for place, p in enumerate(kernel.params)}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=target, options=options)


def figures(built: Any) -> dict[str, int]:
    """Registers, bytes of stack (spills), shared memory and tensor-core instructions."""
    found = {"shared": int(built.metadata.shared)}
    if "amdgcn" in built.asm:
        text = built.asm["amdgcn"]
        for name, key in (("registers", "vgpr_count"), ("stack", "vgpr_spill_count")):
            match = re.search(rf"\.{key}:\s+(\d+)", text)
            found[name] = int(match.group(1)) if match else -1
        return found | {"mfma": len(re.findall(r"\bv_mfma", text))}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(built.asm["cubin"])
        file.flush()
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    match = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert match is not None, usage
    # wgmma is Hopper's, tcgen05 the data-centre Blackwell's
    kinds = {kind: len(re.findall(rf"\b{kind}\b", built.asm["ptx"])) for kind in ("wgmma", "tcgen05", "mma")}
    return (
        found | {"registers": int(match.group(1)), "stack": int(match.group(2))} | {k: v for k, v in kinds.items() if v}
    )


def build(architectures: list[str]) -> dict[str, dict[str, dict[str, int]]]:
    """Kernel by case, architecture, figure."""
    table: dict[str, dict[str, dict[str, int]]] = {}
    for case, run in CASES.items():
        for architecture in architectures:
            for kernel, values, options in launches(run, architecture):
                folder = kernel.fn.__module__.split(".")[-2]
                of = "" if case.startswith(folder) else folder + " "
                name = f"{case}: {of}{kernel.fn.__name__.removesuffix('_kernel')}"
                try:
                    found = figures(compiled(kernel, values, options, TARGETS[architecture]))
                except Exception as error:  # noqa: BLE001 (the name of the kernel is what a reader needs)
                    print(f"{name} on {architecture}: {type(error).__name__}: {error}", file=sys.stderr)
                    raise
                table.setdefault(name, {})[architecture] = found
                print(f"{name:60s} {architecture:7s} {found}", file=sys.stderr, flush=True)
    return table


def main() -> None:
    global CASES
    CASES = {name: run for name, run in CASES.items() if not ONLY or any(word in name for word in ONLY)}
    chosen = [name for name in sys.argv[1:] if name in TARGETS] or list(TARGETS)
    table = build(chosen)
    if "--write" in sys.argv:
        lines = []
        for name, rows in table.items():
            cells = ",\n".join(f"    {json.dumps(target)}: {json.dumps(found)}" for target, found in rows.items())
            lines.append(f"  {json.dumps(name)}: {{\n{cells}\n  }}")
        TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(json.dumps({"triton": triton.__version__, "table": table}))


if __name__ == "__main__":
    main()
