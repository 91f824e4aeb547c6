"""The choice of the backend that runs an operation here: once per device and dtype, forceable, and never silent.

A backend is a pair of functions, forward and backward, with the arguments of the operation's raw form (the schema at
the top of its public.py), and `serves`, which says why it cannot. Another package adds its own with `register`:

    def serves(device, dtype, facts):
        return None if device == "cpu" else "it runs on CPUs"

    pylm_kernels.register("rms_norm", "cpu", forward, backward, serves)

`serves` is asked twice: with empty facts whether it runs on this device and dtype at all (the answer is remembered),
then for each call with the facts of that call (widths, masks). The second time torch.compile traces it, so there it is
plain Python: comparisons and sentences.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pylm_kernels import transforms
from pylm_kernels.triton_runtime.launch import interpreting

Serves = Callable[[str, torch.dtype, Mapping[str, Any]], "str | None"]

OPERATIONS: tuple[str, ...] = (
    "rms_norm",
    "layer_norm",
    "qk_norm_rope",
    "rope_attention",
    "attention_decode",
    "cross_entropy",
    "linear_cross_entropy",
    "swiglu",
    "gelu",
    "relu2",
)
WITHOUT_GRADIENT = ("attention_decode",)
ELSEWHERE = {"cpu": "it comes with pylm", "metal": "MLX's arrays have it: pylm_kernels.mlx"}
# The first that serves runs. A measured table overrides it where it has an entry for this device.
ORDER = ("triton", "cpu", "sdpa")
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


class Backend(NamedTuple):
    """One way to run one operation."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    serves: Serves


class Choice(NamedTuple):
    """One line of the table that `backends` returns."""

    operation: str
    device: str
    dtype: str
    backend: str
    why: str


class Table(list[Choice]):
    """A list of lines that prints as a table."""

    def __str__(self) -> str:
        """Return the lines in aligned columns, headed by the names of the columns."""
        rows = [tuple(Choice._fields), *map(tuple, self)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(Choice._fields))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )


_registered: dict[str, dict[str, Backend]] = {operation: {} for operation in OPERATIONS}


def register(
    op: str,
    backend: str,
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    serves: Serves | None = None,
) -> None:
    """Add a backend for an operation, or replace it; choices that were made before are made anew.

    Args:
        op: the operation's name, such as "rms_norm".
        backend: the backend's name; "reference" is taken.
        forward: called with the tensors and numbers of the raw form, without the trailing backend name.
        backward: the same for the backward's raw form; None for an operation without a gradient.
        serves: gives None where it can serve (device, dtype, facts), else a sentence that says why not.

    Raises:
        ValueError: there is no such operation, or the name is taken.
    """
    if op not in _registered:
        raise ValueError(f"op: there is no operation {op!r}; there are {', '.join(OPERATIONS)}")
    if backend in ("reference", "auto", ""):
        raise ValueError(f"backend: the name {backend!r} is taken")
    if backward is None and op not in WITHOUT_GRADIENT:
        raise ValueError(f"backward: {op} has a gradient, and a backend for it computes it")
    _registered[op][backend] = Backend(forward, backward or _no_gradient, serves or (lambda device, dtype, facts: None))
    candidates.cache_clear()  # type: ignore[attr-defined]


def _no_gradient(*inputs: Any) -> Any:
    raise AssertionError("an operation without a gradient was differentiated")


def lazily(module: str, name: str) -> Callable[..., Any]:
    """Return a function of a module that is imported on the first call.

    So triton need not be installed to be registered.
    """

    def call(*args: Any) -> Any:
        return _bound(module, name)(*args)

    return call


@functools.cache
def _bound(module: str, name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def implementation(op: str, backend: str) -> Backend:
    """Return the functions of a backend that `choose` named."""
    return _registered[op][backend]


@functools.cache
def _measured() -> dict[str, dict[str, list[str]]]:
    table = json.loads((Path(__file__).parent / "triton_runtime" / "preferences.json").read_text(encoding="utf-8"))
    return {device: dict(entries) for device, entries in table.items() if not device.startswith("_")}


def device_name(device: str) -> str:
    """Return the name that the measured table has for this device."""
    return torch.cuda.get_device_name().replace(" ", "-") if device == "cuda" and torch.cuda.is_available() else device


@functools.cache
def _candidates(op: str, device: str, dtype: torch.dtype, asked: str) -> tuple[tuple[str, ...], str]:
    """Return the backends worth asking for a call, best first, and a refusal where a forced one cannot serve."""
    have = _registered[op]
    if asked in ("", "auto"):
        order = (
            _measured()
            .get(device_name(device), {})
            .get(op, [name for name in ORDER if name != "triton"] if interpreting() else list(ORDER))
        )
        # the interpreter is for proofs, a thousand times slower than torch: it runs where it is asked for by name
        order = [*order, *(name for name in have if name not in order and not (name == "triton" and interpreting()))]
        able = {name for name in have if have[name].serves(device, dtype, {}) is None}
        return (*(name for name in order if name.partition("<=")[0] in able), "reference"), ""
    if asked == "reference":
        return ("reference",), ""
    if asked not in have:
        load()  # what another operation brings is known, whatever was imported so far
    everywhere = {name for backends in _registered.values() for name in backends}
    if asked not in everywhere:
        hint = f" ({ELSEWHERE[asked]})" if asked in ELSEWHERE else ""
        known = ", ".join(["reference", *sorted(have)])
        return (), f"backend: no {asked!r} backend is registered here{hint}; {op} has {known}"
    if asked not in have:
        return ("reference",), ""
    why = have[asked].serves(device, dtype, {})
    return ((asked,), "") if why is None else ((), f"backend: {asked!r} cannot serve {op} here: {why}")


def candidates(op: str, device: str, dtype: torch.dtype, asked: str | None) -> tuple[tuple[str, ...], str]:
    """Return what `_candidates` remembers for the backend asked for, by argument or else by PYLM_KERNELS."""
    return _candidates(op, device, dtype, os.environ.get("PYLM_KERNELS", "") if asked is None else asked)


candidates.cache_clear = _candidates.cache_clear  # type: ignore[attr-defined]
# what torch.compiler.assume_constant_result does, which imports the compiler for it: seconds, for who never compiles
candidates._dynamo_marked_constant = True  # type: ignore[attr-defined]


def choose(op: str, asked: str | None, tensor: torch.Tensor, facts: Mapping[str, Any]) -> tuple[str, str]:
    """Return the backend for this call and an empty string, or else an empty name and a sentence.

    The sentence says why the backend that was forced cannot serve the call.
    """
    device, dtype = tensor.device.type, tensor.dtype
    names, refusal = candidates(op, device, dtype, asked)
    if refusal:
        return "", refusal
    if names[-1] != "reference" and (around := transforms.active()):
        return "", f"backend: {names[0]!r} has no rule for {around}; leave it out, and plain torch computes the call"
    if transforms.active():
        return "reference", ""
    why = None
    for entry in names:
        name, _, widest = entry.partition("<=")  # a measured table names the widest head for which one is ahead
        if name == "reference":
            return name, ""
        if widest and facts.get("head_dim", 0) > int(widest):
            continue
        why = _registered[op][name].serves(device, dtype, facts)
        if why is None:
            return name, ""
    return "", f"backend: {names[0]!r} cannot serve this call of {op}: {why}"


def load() -> None:
    """Import every operation, so that each registers the backends that it brings."""
    for op in OPERATIONS:
        importlib.import_module(f"pylm_kernels.ops.{op}.public")


def backends() -> Table:
    """Return a table of what runs where: a line for each operation, device and dtype, with the reason.

    `print(pylm_kernels.backends())` shows it aligned. PYLM_KERNELS changes it as it changes the calls.
    """
    load()
    asked = os.environ.get("PYLM_KERNELS", "")
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if _mps() else [])]
    table = Table()
    for op in OPERATIONS:
        for device in devices:
            for dtype in DTYPES:
                names, refusal = _candidates(op, device, dtype, asked)
                others = [
                    f"{name}: {why}"
                    for name, backend in _registered[op].items()
                    if name not in names and (why := backend.serves(device, dtype, {})) is not None
                ]
                if refusal:
                    why = refusal
                elif asked not in ("", "auto"):
                    why = "PYLM_KERNELS forces it" if names[0] == asked else f"{asked} has no implementation of it"
                else:
                    why = "; ".join(others) or "the first that serves"
                table.append(Choice(op, device, str(dtype).removeprefix("torch."), names[0] if names else "none", why))
    return table


def _mps() -> bool:
    return bool(torch.backends.mps.is_available())
