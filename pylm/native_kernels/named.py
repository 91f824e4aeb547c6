"""The C++ kernels by name in a profile: torch's profiler sees what it calls itself, and these are called past it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import BuiltinFunctionType
from typing import Any

from torch.profiler import record_function

from pylm import _native

__all__ = ["named_in_profiles"]


@contextmanager
def named_in_profiles() -> Iterator[None]:
    """Have each function of the native module be a range of its own name while a block runs; else it costs nothing."""
    functions = {name: one for name, one in vars(_native).items() if isinstance(one, BuiltinFunctionType)}
    for name, function in functions.items():
        setattr(_native, name, _named(name, function))
    try:
        yield
    finally:
        for name, function in functions.items():
            setattr(_native, name, function)


def _named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    label = f"pylm::{name}"

    @wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        with record_function(label):
            return function(*args, **kwargs)

    return watched
