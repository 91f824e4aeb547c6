"""Runs a Metal kernel's own source on this machine's processor: compiled as C++, its threads as fibres.

The source is the one that MLX generates around a kernel's body, signature and all: exporting a function records it
even where there is no Metal. It is translated by a few substitutions (address spaces become pointer types, arrays in
threadgroup memory are registered) and compiled against metal.hpp; fibres.cpp runs it and watches every access.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

HERE = Path(__file__).parent
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
FLAGS = ["-std=gnu++14", "-O1", "-fPIC", "-fno-exceptions"]
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wdouble-promotion", "-Wno-unknown-pragmas", "-Wno-unused-parameter"]
ATTRIBUTES = {
    "thread_position_in_threadgroup": 0,
    "threadgroup_position_in_grid": 1,
    "thread_position_in_grid": 2,
    "threads_per_threadgroup": 3,
    "threadgroups_per_grid": 4,
    "threads_per_grid": 5,
    "thread_index_in_threadgroup": 6,
    "thread_index_in_simdgroup": 7,
    "simdgroup_index_in_threadgroup": 8,
    "simdgroups_per_threadgroup": 9,
}
SCHEDULES = (0, 1, 2)  # first come first served; the last to arrive goes on and threadgroups run backwards; shuffled


class MetalError(Exception):
    """What a kernel did that Metal does not allow, or leaves undefined."""


class Region(ctypes.Structure):
    _fields_ = [
        ("base", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("size", ctypes.c_int),
        ("written", ctypes.c_bool),
        ("name", ctypes.c_char_p),
        ("shadow", ctypes.c_void_p),
    ]


class Program(NamedTuple):
    """A kernel as C++: the text, the buffers in order (an input's name, "x_shape", an output's name), its arrays."""

    text: str
    buffers: tuple[str, ...]
    arrays: int


def source_of(kernel: Any, inputs: Sequence[Any], **launch: Any) -> str:
    """The source that MLX generates for this call."""
    made = mx.fast.metal_kernel(
        name=kernel.name, input_names=list(kernel.inputs), output_names=list(kernel.outputs), source=kernel.source,
        header=kernel.header,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "kernel.mlxfn"))
        mx.export_function(path, lambda *given: made(inputs=list(given), **launch), *inputs)
        recorded = Path(path).read_bytes()
    at = recorded.index(b"custom_kernel_" + kernel.name.encode())
    at += int.from_bytes(recorded[at - 8 : at], "little")
    return recorded[at + 8 : at + 8 + int.from_bytes(recorded[at : at + 8], "little")].decode()


def translate(source: str) -> Program:
    """The kernel in C++, with a function that runs one of its threads."""
    source = re.sub(r"//[^\n]*|#include <metal_\w+>", "", source)
    instance = re.search(
        r"\ntemplate \[\[host_name\([^\n]*\)\]\] \[\[kernel\]\] decltype\(([^\n]*?)\) [^\n]*;\n", source
    )
    source = source[: instance.start()] if instance else source
    signature = re.search(r"\[\[kernel\]\] void (\w+)\(\n(.*?)\) \{\n", source, re.DOTALL)
    assert signature, "MLX writes signatures in a form that is not known here"
    arguments, buffers = [], []
    for parameter in signature[2].split(",\n"):
        declared = re.fullmatch(
            r"\s*((?:const )?)(?:(device|constant) )?(?:const )?(\w+)([*&]?) (\w+) \[\[.*\]\]", parameter
        )
        assert declared, f"MLX writes parameters in a form that is not known here: {parameter}"
        const, space, kind, form, name = declared.groups()
        if not space:
            arguments.append(f"metal_position({ATTRIBUTES[name]}){'' if kind == 'uint3' else '.x'}")
            continue
        if form == "*":
            arguments.append(f"Pointer<{const}{kind}, {space}_space>(&buffers[{len(buffers)}])")
        else:
            arguments.append(f"*reinterpret_cast<const {kind}*>(buffers[{len(buffers)}].base)")
        buffers.append(name)
    source = re.sub(r"\[\[.*?\]\]", "", source)
    arrays = iter(range(10**6))
    source = re.sub(
        r"\bthreadgroup ([\w<>]+) (\w+)\[([^\]]+)\];",
        lambda m: f'ThreadgroupArray<{m[1]}, ({m[3]})> {m[2]}({next(arrays)}, "{m[2]}");',
        source,
    )
    source = re.sub(
        r"\b(const )?(device|constant|threadgroup) (const )?(\w+)\s*\*",
        lambda m: f"Pointer<{m[1] or m[3] or ''}{m[4]}, {m[2]}_space>",
        source,
    )
    source = re.sub(r"\b(?:const )?constant (\w+)\s*&", r"const \1&", source)
    for wrong in (
        r"\b(?:device|constant|threadgroup)\b[^\n]*",
        r"(?<!thread )\b(?:float|int|uint|half|bfloat|simdgroup_float8x8)\s*[*&]\s*\w+\s*[,)=;][^\n]*",
    ):
        if found := re.search(wrong, source):
            if not found[0].startswith("const "):
                raise MetalError(f"no address space is understood, or none is given, in: {found[0].strip()}")
    source = re.sub(r"\bthread ", "", source)
    name = instance[1] if instance else signature[1]
    text = (
        f'#include "metal.hpp"\n#line 1 "{signature[1]}"\n{source}\n'
        f"static void run_thread(const Region* buffers) {{\n  (void)buffers;\n  {name}({', '.join(arguments)});\n}}\n"
        'extern "C" { void (*metal_body)(const Region*) = run_thread; }\n'
    )
    return Program(text, tuple(buffers), next(arrays))


@functools.cache
def folder() -> Path:
    """Where this session's objects lie; it goes when the session ends."""
    _kept.append(tempfile.TemporaryDirectory(prefix="pylm-metal-"))
    return Path(_kept[-1].name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


def _compile(*arguments: str) -> None:
    assert COMPILER is not None
    done = subprocess.run([COMPILER, *FLAGS, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MetalError(f"the kernel does not compile:\n{done.stderr[:4000]}")


@functools.cache
def runtime() -> Any:
    """What runs the threads, and the header that kernels include, compiled ahead (g++ takes it from beside it)."""
    made = folder() / "fibres.so"
    _compile("-O2", "-shared", "-Wall", "-Wextra", str(HERE / "fibres.cpp"), "-o", str(made))
    header = shutil.copy(HERE / "metal.hpp", folder())
    _compile(*WARNINGS, "-x", "c++-header", header, "-o", f"{header}.gch")
    return ctypes.CDLL(str(made), ctypes.RTLD_GLOBAL)


@functools.cache
def library(text: str) -> Any:
    """The kernel, compiled once a session; what it calls it finds in the runtime when it is loaded."""
    runtime()
    stem = folder() / hashlib.sha256(text.encode()).hexdigest()[:16]
    stem.with_suffix(".cpp").write_text(text, encoding="utf-8")
    made = stem.with_suffix(".so")
    late = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-nostdlib"]
    _compile(*WARNINGS, "-shared", *late, f"-I{folder()}", str(stem.with_suffix(".cpp")), "-o", str(made))
    return ctypes.CDLL(str(made))


def bytes_of(x: Any) -> np.ndarray[Any, Any]:
    """An MLX array's elements; numpy has no bfloat16."""
    mx.eval(x)
    return np.ascontiguousarray(np.array(x.view(mx.uint16) if x.dtype == mx.bfloat16 else x))


class Shim:
    """Stands in for pylm_kernels.mlx.launch.run; remembers what it was asked for."""

    def __init__(self, schedules: Sequence[int] = SCHEDULES) -> None:
        self.schedules = tuple(schedules)
        self.launched: list[str] = []
        self.asked: list[tuple[int, ...]] = []  # shapes of all buffers asked for
        self._programs: dict[Any, Program] = {}

    def __call__(
        self, kernel: Any, inputs: Sequence[Any], *, template: Sequence[tuple[str, Any]], grid: tuple[int, int, int],
        threadgroup: tuple[int, int, int], output_shapes: Sequence[tuple[int, ...]], output_dtypes: Sequence[Any],
    ) -> list[Any]:  # fmt: skip
        self.launched.append(kernel.name)
        self.asked.extend(output_shapes)
        forms = tuple((x.dtype, x.size < 8, x.ndim == 0) for x in inputs)
        key = (kernel, tuple(template), forms, tuple(output_dtypes))
        if key not in self._programs:
            launch = dict(template=list(template), grid=grid, threadgroup=threadgroup)
            launch.update(output_shapes=list(output_shapes), output_dtypes=list(output_dtypes))
            self._programs[key] = translate(source_of(kernel, inputs, **launch))
        program = self._programs[key]
        given: dict[str, np.ndarray[Any, Any]] = {}
        for name, x in zip(kernel.inputs, inputs, strict=True):
            given[name] = bytes_of(x)
            given[f"{name}_shape"] = np.array(x.shape, np.int32)
        first: list[np.ndarray[Any, Any]] = []
        for schedule in self.schedules:
            found = []
            for shape, dtype in zip(output_shapes, output_dtypes, strict=True):
                found.append(
                    np.empty(shape, np.uint16 if dtype == mx.bfloat16 else bytes_of(mx.zeros((), dtype)).dtype)
                )
            every = [given[n] if n in given else found[kernel.outputs.index(n)] for n in program.buffers]
            execute(program, every, [n not in given for n in program.buffers], grid, threadgroup, schedule)
            first = first or found
            for name, a, b in zip(kernel.outputs, first, found, strict=True):
                if a.tobytes() != b.tobytes():
                    raise MetalError(f"{name} has other bits in schedule {schedule} than in the first")
        return [
            mx.array(x).view(mx.bfloat16) if dtype == mx.bfloat16 else mx.array(x)
            for x, dtype in zip(first, output_dtypes, strict=True)
        ]


def execute(
    program: Program, arrays: Sequence[np.ndarray[Any, Any]], written: Sequence[bool], grid: tuple[int, ...],
    threadgroup: tuple[int, ...], schedule: int,
) -> None:  # fmt: skip
    """Run the kernel once, arrays in place."""
    if any(all_ % one for all_, one in zip(grid, threadgroup, strict=True)) or not 1 <= np.prod(threadgroup) <= 1024:
        raise MetalError(f"threads {grid} are not whole threadgroups of {threadgroup}, of up to 1024")
    regions = (Region * len(arrays))()
    for region, array, name, out in zip(regions, arrays, program.buffers, written, strict=True):
        region.base, region.count, region.size = array.ctypes.data, array.size, array.itemsize
        region.written, region.name = out, name.encode()
    lib = library(program.text)
    complaint = ctypes.create_string_buffer(1000)
    failed = runtime().metal_run(
        ctypes.c_void_p.in_dll(lib, "metal_body"), regions, len(arrays), (ctypes.c_uint * 3)(*grid),
        (ctypes.c_uint * 3)(*threadgroup), program.arrays, schedule, complaint, len(complaint),
    )  # fmt: skip
    if failed:
        raise MetalError(complaint.value.decode())
