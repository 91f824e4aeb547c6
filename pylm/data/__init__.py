"""Text to shards, shards to batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylm.data.loader import Batch, Document, Loader

__all__ = ["Batch", "Document", "Loader"]


def __getattr__(name: str) -> object:
    """Return a name of the loader on first use: it needs numpy, and `pylm --help` must not."""
    if name in __all__:
        from pylm.data import loader

        return getattr(loader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
