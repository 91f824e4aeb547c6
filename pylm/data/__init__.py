"""Text to shards, shards to batches, and documents from wherever they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylm.data.chat.examples import Examples
    from pylm.data.chat.masking import Masked, mask
    from pylm.data.cleaning.call import Cleaned, clean
    from pylm.data.getting.call import Got, get
    from pylm.data.loader import Batch, Document, Loader
    from pylm.data.mixing.call import mix
    from pylm.data.streaming import Source, source

__all__ = [
    "Batch",
    "Cleaned",
    "Document",
    "Examples",
    "Got",
    "Loader",
    "Masked",
    "Source",
    "clean",
    "get",
    "mask",
    "mix",
    "source",
]

# name: the module that holds it, imported on first use: numpy costs time that `pylm --help` has not
_HOMES = {
    "Batch": "pylm.data.loader",
    "Cleaned": "pylm.data.cleaning.call",
    "Document": "pylm.data.loader",
    "Examples": "pylm.data.chat.examples",
    "Got": "pylm.data.getting.call",
    "Loader": "pylm.data.loader",
    "Source": "pylm.data.streaming",
    "Masked": "pylm.data.chat.masking",
    "clean": "pylm.data.cleaning.call",
    "get": "pylm.data.getting.call",
    "mask": "pylm.data.chat.masking",
    "mix": "pylm.data.mixing.call",
    "source": "pylm.data.streaming",
}


def __getattr__(name: str) -> object:
    """Return a name of a room on first use."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
