"""Text from a trained model: prompts in, pieces out as they are made, on torch or on the C++ engine.

A `Session` is a model ready to write; `pylm.generate` opens one, keeps it and writes with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pylm.generation.session import Piece, Session
    from pylm.generation.written import Written

__all__ = ["Piece", "Session", "Written"]


def __getattr__(name: str) -> Any:
    """Return a public name on first use: it needs numpy, and `pylm --help` must not."""
    if name in __all__:
        from importlib import import_module

        home = "written" if name == "Written" else "session"
        return getattr(import_module(f"pylm.generation.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
