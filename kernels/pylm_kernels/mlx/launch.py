"""Metal kernels as MLX runs them, and whether they can run here."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import mlx.core as mx

SIMD = 32  # threads that step together on Apple's chips
# before a loop that counts to a constant: what it indexes stays in registers
UNROLL = """#define UNROLL _Pragma("clang loop unroll(full)")
"""


class Kernel(NamedTuple):
    """The arguments of mx.fast.metal_kernel; MLX writes the signature around the source.

    For each name among `optional` the source finds HAS_<NAME>, 1 where the buffer is there and else 0.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    source: str
    header: str = ""
    optional: tuple[str, ...] = ()


@functools.cache
def _made(kernel: Kernel) -> Any:
    return mx.fast.metal_kernel(
        name=f"pylm_{kernel.name}",
        input_names=list(kernel.inputs),
        output_names=list(kernel.outputs),
        source=kernel.source,
        header=kernel.header,
    )


@functools.cache
def _variant(kernel: Kernel, present: frozenset[str]) -> Kernel:
    absent = [name for name in kernel.optional if name not in present]
    return kernel._replace(
        name="_without_".join([kernel.name, *absent]),
        inputs=tuple(name for name in kernel.inputs if name not in absent),
        outputs=tuple(name for name in kernel.outputs if name not in absent),
        header="".join(f"#define HAS_{name.upper()} {int(name in present)}\n" for name in kernel.optional)
        + kernel.header,
    )


def run(
    kernel: Kernel, inputs: Sequence[Any], *, template: Sequence[tuple[str, Any]], grid: tuple[int, int, int],
    threadgroup: tuple[int, int, int], output_shapes: Sequence[tuple[int, ...]], output_dtypes: Sequence[Any],
) -> list[Any]:  # fmt: skip
    """Hand a kernel to MLX, and return its outputs.

    The tests put in place of this function a run of the same source on the processor.
    """
    outputs: list[Any] = _made(kernel)(
        inputs=list(inputs), template=list(template), grid=grid, threadgroup=threadgroup,
        output_shapes=list(output_shapes), output_dtypes=list(output_dtypes),
    )  # fmt: skip
    return outputs


def launch(
    kernel: Kernel,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, tuple[tuple[int, ...], Any] | None],
    *,
    template: Mapping[str, Any],
    threadgroups: tuple[int, int, int],
    threads: int,
) -> dict[str, Any]:
    """Run a kernel and return its outputs by name; optional inputs and outputs that are None are left out.

    Args:
        kernel: the kernel to run.
        inputs: the arrays to read, by name.
        outputs: the (shape, dtype) of each output, by name.
        template: the kernel's template arguments: dtypes, integers, booleans.
        threadgroups: how many threadgroups to start, in three dimensions.
        threads: how many threads each threadgroup has, in a line.

    Returns:
        The outputs by name, None where there is none.
    """
    present = frozenset(name for name, x in (*inputs.items(), *outputs.items()) if x is not None)
    chosen = _variant(kernel, present)
    wanted = [outputs[name] for name in chosen.outputs]
    found = run(
        chosen, [inputs[name] for name in chosen.inputs], template=tuple(template.items()),
        grid=(threadgroups[0] * threads, *threadgroups[1:]), threadgroup=(threads, 1, 1),
        output_shapes=[one[0] for one in wanted if one], output_dtypes=[one[1] for one in wanted if one],
    )  # fmt: skip
    return {name: None for name in outputs} | dict(zip(chosen.outputs, found, strict=True))


def with_gradient(
    forward: Callable[[dict[str, Any]], Any],
    backward: Callable[[dict[str, Any], Any, Any], Mapping[str, Any]],
    given: Mapping[str, Any],
) -> Any:
    """Return what forward gives for these arrays (None where one is absent), differentiated by backward.

    Args:
        forward: takes the arrays by name; gives an array, or a tuple of them.
        backward: takes the arrays, the gradients of what forward gave, and what it gave; gives gradients by name.
        given: the arrays that may have a gradient.

    Returns:
        What forward gives.
    """
    present = [name for name, x in given.items() if x is not None]
    absent = dict.fromkeys(name for name, x in given.items() if x is None)

    @mx.custom_function
    def function(*arrays: Any) -> Any:
        return forward(absent | dict(zip(present, arrays, strict=True)))

    @function.vjp
    def gradient(primals: Any, cotangents: Any, outputs: Any) -> Any:
        arrays = primals if isinstance(primals, list | tuple) else (primals,)
        found = backward(absent | dict(zip(present, arrays, strict=True)), cotangents, outputs)
        return tuple(found[name] for name in present) if len(present) > 1 else found[present[0]]

    return function(*(given[name] for name in present))


def here() -> bool:
    """Say whether this process has an Apple GPU and MLX's default device is that GPU."""
    return bool(mx.metal.is_available() and mx.default_device() == mx.gpu)


def on_metal(refusal: str = "") -> bool:
    """Say whether a call goes to a Metal kernel.

    PYLM_KERNELS decides where it is set; else it does where MLX's default device is a GPU with Metal.

    Args:
        refusal: why the kernel cannot serve this call, where it cannot.

    Raises:
        ValueError: PYLM_KERNELS names a backend that is not here, or that cannot serve this call.
    """
    forced = os.environ.get("PYLM_KERNELS", "")
    if forced in ("", "auto"):
        return here() and not refusal
    if forced in ("reference", "triton", "cpu", "sdpa"):  # of these MLX has the reference alone
        return False
    if forced != "metal":
        raise ValueError(f"PYLM_KERNELS: {forced!r} is no backend; in pylm_kernels.mlx there are metal and reference")
    if not here():
        raise ValueError(
            "PYLM_KERNELS: 'metal' needs an Apple GPU and MLX's default device on it; elsewhere leave it unset,"
            " and plain MLX operations run, which are for correctness rather than speed"
        )
    if refusal:
        raise ValueError(f"PYLM_KERNELS: 'metal' cannot serve this call: {refusal}")
    return True
