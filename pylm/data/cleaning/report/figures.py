"""Numbers and texts as a page shows them."""

from __future__ import annotations

import re
from typing import Any

from pylm.config.units import format_count

__all__ = ["brief", "count", "named", "percent", "rule", "share", "shown", "tint", "value"]

# What changes how other text is shown, or shows nothing: controls but tab and line ends, what sets the direction of
# writing, separators, noncharacters and halves of characters. Joiners stay: scripts need them.
HIDDEN = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
TINTS = (0.005, 0.02, 0.05, 0.15, 0.4)  # shares from which a cell is darker


def shown(text: Any) -> Any:
    """Return a text with what cannot be seen written out, such as ⟨U+202E⟩; anything else as it is."""
    return HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text) if type(text) is str else text


def count(number: int) -> str:
    """Return a whole number with its thousands apart."""
    return f"{number:,}"


def share(part: float, whole: float) -> float:
    """Return the share of a part, 0 of nothing."""
    return part / whole if whole else 0.0


def percent(part: float, whole: float = 1.0) -> str:
    """Return a share in percent: 12.3 %, and never 0 % of what is there nor 100 % where something is missing."""
    of = 100 * share(part, whole)
    if part and of < 0.1:
        return "< 0.1 %"
    if part < whole and of >= 99.95:
        return "> 99.9 %"
    return f"{of:.1f} %"


def value(number: Any) -> str:
    """Return a measure in four figures; a text as it is, and a dash for nothing."""
    if number is None:
        return "–"
    if isinstance(number, bool) or not isinstance(number, int | float):
        return str(number)
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}"
    return f"{number:.4g}"


def brief(number: float) -> str:
    """Return a number below an axis: three figures, large ones as 12.3k."""
    return format_count(number) if abs(number) >= 1e4 else f"{number:.3g}" if abs(number) < 1000 else f"{number:,.0f}"


def rule(one: dict[str, Any]) -> str:
    """Return what a reason removes: `gopher.word_count < 50`; without a number where each language has its own."""
    key = str(one.get("key") or "")
    if one.get("threshold") is None or not key:
        return f"{key} {one['comparison']} by language" if key and one.get("comparison") else key
    return f"{key} {one.get('comparison') or ''} {value(one['threshold'])}".replace("  ", " ")


def tint(part: float, whole: float) -> str:
    """Return the class of a cell by its share, so that the eye finds the large ones."""
    of = share(part, whole)
    return f"t{sum(of >= edge for edge in TINTS)}"


def named(number: int, word: str) -> str:
    """Return a number of things, one of them in the singular."""
    return f"{number:,} {word}{'s' * (number != 1)}"
