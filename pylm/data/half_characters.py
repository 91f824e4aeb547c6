"""Half of a character, as JSON can write it and UTF-8 cannot: rows that hold one are refused."""

from __future__ import annotations

import json
from typing import Any

from pylm.errors import DataError

__all__ = ["refuse_half_characters"]


def refuse_half_characters(value: Any, place: str) -> None:
    """Refuse what JSON held where half of a character is in it; the error says which."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise DataError(f"{place} has {half}, half of a character", "write the character whole") from None
