"""Examples to tune on: read from whatever holds them, masked to the token, written as shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylm.data.chat.events import ExamplesPrepared, ExamplesRead
    from pylm.data.chat.forms import Example
    from pylm.data.chat.masking import Masked, Masker
    from pylm.data.chat.preparing import prepare
    from pylm.data.chat.reading import read
    from pylm.data.chat.templates import Template, template_of, tokens_needed

__all__ = [
    "Example",
    "ExamplesPrepared",
    "ExamplesRead",
    "Masked",
    "Masker",
    "Template",
    "prepare",
    "read",
    "template_of",
    "tokens_needed",
]

_HOMES = {
    "Example": "forms",
    "ExamplesPrepared": "events",
    "ExamplesRead": "events",
    "Masked": "masking",
    "Masker": "masking",
    "Template": "templates",
    "prepare": "preparing",
    "read": "reading",
    "template_of": "templates",
    "tokens_needed": "templates",
}


def __getattr__(name: str) -> object:
    """Return a name of the room on first use."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
