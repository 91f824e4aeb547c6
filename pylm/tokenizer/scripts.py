"""Which writing system a text is in, by the most frequent one among its letters."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["OTHER", "script_of"]

OTHER = "other"

# Blocks that hold letters of one writing system: first and last code point. Gaps count as `other`.
BLOCKS = [
    (0x0041, 0x024F, "Latin"),
    (0x0250, 0x02AF, "Latin"),
    (0x0370, 0x03FF, "Greek"),
    (0x0400, 0x052F, "Cyrillic"),
    (0x0530, 0x058F, "Armenian"),
    (0x0590, 0x05FF, "Hebrew"),
    (0x0600, 0x06FF, "Arabic"),
    (0x0700, 0x074F, "Syriac"),
    (0x0750, 0x077F, "Arabic"),
    (0x0900, 0x097F, "Devanagari"),
    (0x0980, 0x09FF, "Bengali"),
    (0x0A00, 0x0A7F, "Gurmukhi"),
    (0x0A80, 0x0AFF, "Gujarati"),
    (0x0B00, 0x0B7F, "Odia"),
    (0x0B80, 0x0BFF, "Tamil"),
    (0x0C00, 0x0C7F, "Telugu"),
    (0x0C80, 0x0CFF, "Kannada"),
    (0x0D00, 0x0D7F, "Malayalam"),
    (0x0D80, 0x0DFF, "Sinhala"),
    (0x0E00, 0x0E7F, "Thai"),
    (0x0E80, 0x0EFF, "Lao"),
    (0x0F00, 0x0FFF, "Tibetan"),
    (0x1000, 0x109F, "Burmese"),
    (0x10A0, 0x10FF, "Georgian"),
    (0x1100, 0x11FF, "Korean"),
    (0x1200, 0x139F, "Ethiopic"),
    (0x1780, 0x17FF, "Khmer"),
    (0x1E00, 0x1EFF, "Latin"),
    (0x1F00, 0x1FFF, "Greek"),
    (0x3040, 0x30FF, "Japanese"),
    (0x3130, 0x318F, "Korean"),
    (0x3400, 0x9FFF, "Chinese"),
    (0xAC00, 0xD7AF, "Korean"),
    (0xF900, 0xFAFF, "Chinese"),
    (0xFB50, 0xFDFF, "Arabic"),
    (0xFE70, 0xFEFE, "Arabic"),
    (0xFF66, 0xFF9D, "Japanese"),
    (0x20000, 0x323AF, "Chinese"),
]
# Enough of a document to tell its language
PREFIX = 4000
# Japanese is written with Chinese characters too; so much kana among them tells it apart
KANA_SHARE = 0.05


@cache
def _edges() -> tuple[npt.NDArray[np.uint32], list[str]]:
    import numpy as np

    edges, names, end = [0], [OTHER], 0
    for first, last, name in BLOCKS:
        if end and first > end:
            edges.append(end)
            names.append(OTHER)
        edges.append(first)
        names.append(name)
        end = last + 1
    edges.append(end)
    names.append(OTHER)
    return np.array(edges, dtype=np.uint32), names


def script_of(text: str) -> str:
    """Return the writing system of a text: Chinese, Japanese and Korean by name, others by their script."""
    import numpy as np

    edges, names = _edges()
    codes = np.frombuffer(text[:PREFIX].encode("utf-32-le", "replace"), dtype=np.uint32)
    # signs lie among the Latin letters: those of ASCII (the subtraction wraps round), and those of Latin-1
    codes = codes[(codes >= 0xC0) | ((codes | 0x20) - 0x61 < 26)]
    counts: dict[str, int] = {}
    found = np.bincount(np.searchsorted(edges, codes, side="right") - 1, minlength=len(names))
    for name, count in zip(names, found.tolist(), strict=True):
        counts[name] = counts.get(name, 0) + count
    counts[OTHER] = 0
    letters = sum(counts.values())
    if letters == 0:
        return OTHER
    if counts["Japanese"] > KANA_SHARE * (counts["Japanese"] + counts["Chinese"]):
        counts["Japanese"] += counts.pop("Chinese")
    return max(counts, key=lambda name: counts[name])
