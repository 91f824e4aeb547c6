"""Raw text to a trained language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pylm import data
    from pylm.generation.generate import generate
    from pylm.tokenizer import Tokenizer

    __version__: str

__all__ = ["Tokenizer", "__version__", "data", "generate"]

# name: the module that holds it, imported on first use, so that `import pylm` costs nothing
_HOMES = {"Tokenizer": "pylm.tokenizer", "generate": "pylm.generation.generate"}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "data":
        return import_module("pylm.data")
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("pylm")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'pylm' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
