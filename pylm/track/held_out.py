"""The cut of a text into what is trained on and what is held back: one rule for every competitor."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from pylm.data.sources import END
from pylm.errors import DataError

__all__ = ["SEPARATOR", "cut", "documents"]

SEPARATOR = END.encode()
ONE_IN = 100  # documents, by their hash, or bytes of the end
FEWEST = 200  # documents of which a hundredth is a sample
BLOCK = 1 << 24
LEAST = 2_000  # bytes held back, that the figure is not one of a few sentences


def cut(text: Path, folder: Path) -> tuple[Path, Path]:
    """Write `train.txt` and `held.txt` of a text into a folder, and return them.

    A document is held back where a hash of it says so, one in a hundred, so that equal documents lie on one side. Of a
    text of fewer than 200 documents the last hundredth is held back, from the start of a line on.
    """
    train, held = folder / "train.txt", folder / "held.txt"
    enough = sum(1 for _ in documents(text)) >= FEWEST
    with train.open("wb") as kept, held.open("wb") as back:
        if enough:
            for document in documents(text):
                (back if _held(document) else kept).write(document + SEPARATOR)
        else:
            whole = text.read_bytes()
            start = whole.find(b"\n", len(whole) - len(whole) // ONE_IN) + 1
            kept.write(whole[: start or None])
            back.write(whole[start:] if start else b"")
    if held.stat().st_size < LEAST:
        _refuse_too_little(held.stat().st_size, text)
    for path in (train, held):
        _refuse_other_than_text(path, text)
    return train, held


def documents(path: Path) -> Iterator[bytes]:
    """Yield the documents of a text in their order, without the empty ones."""
    rest = b""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            *whole, rest = (rest + block).split(SEPARATOR)
            yield from filter(None, whole)
    if rest:
        yield rest


def _held(document: bytes) -> bool:
    return int.from_bytes(hashlib.sha256(document).digest()[:8], "big") % ONE_IN == 0


def _refuse_too_little(held: int, text: Path) -> NoReturn:
    enough = 2 * LEAST * ONE_IN
    if text.stat().st_size < enough:
        raise DataError(
            f"{text} is too small to hold a hundredth of it back: that is {held:,} bytes",
            f"name a text of {enough // 1000} kB or more",
        )
    raise DataError(
        f"{text} is cut between documents, or else lines, and {held:,} bytes alone would be held back",
        f"name a text of more documents that {END} separates, or of shorter lines",
    )


def _refuse_other_than_text(path: Path, named: Path) -> None:
    try:
        with path.open(encoding="utf-8") as file:
            while file.read(BLOCK):
                pass
    except UnicodeDecodeError:
        raise DataError(f"{named} is no UTF-8 text", "name a plain text; documents end with <|endoftext|>") from None
