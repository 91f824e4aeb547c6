"""A document, and how what people keep texts in becomes one: strings, rows, what a data frame has for nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from pylm.errors import DataError, did_you_mean
from pylm.wording import param

__all__ = ["Document", "document_of", "named_in"]

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Document(NamedTuple):
    """A document: its text, what its source calls it, and what else the source says of it.

    Attributes:
        text: The text.
        id: What the source calls it; None where it has no name for it.
        meta: The other keys or columns of its row.
    """

    text: str
    id: str | None = None
    meta: Mapping[str, Any] = NOTHING


def document_of(item: Any, field: str, place: str) -> Document | None:
    """Return the document that an item of an iterable is; None for a missing value, which is no document.

    Args:
        item: A string, a row by names, or a document.
        field: The key of a row that holds the text; `meta.text` is the `text` within `meta`.
        place: How an error calls the item.
    """
    if isinstance(item, Document):
        return item
    if isinstance(item, Mapping):
        return _document_of_row(item, field, place)
    text = _text_of(item, place)
    return None if text is None else Document(text)


def named_in(row: Mapping[str, Any], field: str, place: str) -> Any:
    """Return what a row holds under a name, or under `meta.text` within another row of it."""
    if field in row:
        return row[field]
    value: Any = row
    for part in field.split("."):
        if not isinstance(value, Mapping) or part not in value:
            names = [str(name) for name in row]
            hint = did_you_mean(field, names) or f"name the one that holds the text with {param('field')}"
            raise DataError(f"{place} has no {field!r}, but {', '.join(names) or 'nothing'}", hint)
        value = value[part]
    return value


def _document_of_row(row: Mapping[str, Any], field: str, place: str) -> Document | None:
    text = _text_of(named_in(row, field, place), f"{field!r} of {place}")
    if text is None:
        return None
    name = row.get("id")
    meta = {key: value for key, value in row.items() if key not in ("id", field)}
    return Document(text, None if name is None else str(name), meta)


def _text_of(value: Any, place: str) -> str | None:
    if isinstance(value, str):
        return value
    if type(value).__module__ == "pyarrow.lib" and hasattr(value, "as_py"):
        return _text_of(value.as_py(), place)
    # what data frames keep where there is no text
    if value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and value != value):
        return None
    hint = "give strings, or rows that hold the text by name"
    if isinstance(value, os.PathLike):
        hint = "for the files themselves give a list of their paths: list(…)"
    raise DataError(f"{place} is no text but of the type {type(value).__name__}", hint)
