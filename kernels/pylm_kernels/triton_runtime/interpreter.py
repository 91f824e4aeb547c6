"""Triton's interpreter made honest for bfloat16, so that kernels can be proven on a machine without a GPU.

The interpreter holds bfloat16 as its bit pattern in uint16. As of 3.7 `tl.dot` multiplies these patterns as integers
(an error of 1e9, without a word) and a cast from float32 cuts the low half off instead of rounding to even, which
doubles the error. Both are mended here; other bfloat16 arithmetic is not, so kernels convert to float32 on load.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter

_REAL = (tl.bfloat16, tl.float16, tl.float32, tl.float64)
_mended = False
_patches: dict[Any, list[tuple[str, Any, Any]]] = {}


def widen(bits: Any) -> Any:
    """Return the float32 values of bfloat16 bit patterns."""
    return (np.ascontiguousarray(bits).astype(np.uint32) << 16).view(np.float32)


def narrow(values: Any) -> Any:
    """Return the bit patterns of the nearest bfloat16 values, ties to even; not-a-number stays not-a-number."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where((bits & 0x7FFFFFFF) > 0x7F800000, np.uint16(0x7FC0), rounded)


def _patch_builtin(module: Any, builder: Any, scope: Any) -> None:
    """Do the interpreter's patching before a call of a jitted function, and look through each module only once.

    Going through triton.language anew took a fifth of the whole time of an interpreted kernel.
    """
    if module not in _patches:
        found = ((name, member) for name, member in inspect.getmembers(module) if tl.core.is_builtin(member))
        _patches[module] = [(name, member, _interpreted(member)) for name, member in found]
    for name, member, replacement in _patches[module]:
        if getattr(module, name) is member:  # in a nested call it is replaced already
            scope.set_attr(module, name, replacement)


def _interpreted(member: Any) -> Any:
    def call(*arguments: Any, **named: Any) -> Any:
        named["_semantic"] = interpreter.interpreter_semantic
        return member(*arguments, **named)

    return call


def mend() -> None:
    """Patch the interpreter; a second call changes nothing."""
    global _mended
    if _mended:
        return
    _mended = True
    builder = interpreter.InterpreterBuilder
    handle = interpreter.TensorHandle
    plain_dot, plain_cast, plain_convert = builder.create_dot, builder.cast_impl, builder.create_fp_to_fp

    def as_float32(x: Any) -> Any:
        return handle(widen(x.data), tl.float32) if x.dtype.scalar == tl.bfloat16 else x

    def create_dot(self: Any, a: Any, b: Any, accumulator: Any, *rest: Any) -> Any:
        return plain_dot(self, as_float32(a), as_float32(b), accumulator, *rest)

    def cast_impl(self: Any, source: Any, target: Any) -> Any:
        have, want = source.dtype.scalar, target.scalar
        if have == want == tl.bfloat16:
            return source
        if have == tl.bfloat16:
            source = as_float32(source)
            return source if want == tl.float32 else plain_cast(self, source, target)
        if want == tl.bfloat16:
            return handle(narrow(source.data.astype(np.float32)), want)
        return plain_cast(self, source, target)

    def create_fp_to_fp(self: Any, source: Any, target: Any, rounding: Any) -> Any:
        kinds = {source.dtype.scalar, target.scalar}
        if tl.bfloat16 in kinds and all(kind in _REAL for kind in kinds):
            return cast_impl(self, source, target)
        return plain_convert(self, source, target, rounding)

    builder.create_dot, builder.cast_impl, builder.create_fp_to_fp = create_dot, cast_impl, create_fp_to_fp
    interpreter._patch_builtin = _patch_builtin
