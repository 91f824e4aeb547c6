"""What names mean that are no paths: files of the Hub, of the catalogue and behind URLs, as Rust reads them."""

from __future__ import annotations

from typing import Any

from pylm.data.streaming.grammar import kind_of

__all__ = ["files_of"]


def files_of(name: Any, reading: Reading) -> list[Any]:
    """Return what Rust is handed for a name: itself where it is a path, else an object for each file."""
    if not isinstance(name, str) or kind_of(name) in ("path", "stdin"):
        return [name]
    raise NotImplementedError(name)
