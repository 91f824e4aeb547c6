"""Numbers as people type them: `10M`, `1e-3`, `2G`, `1h30m`, read and written."""

from __future__ import annotations

import math
import re

from pylm.wording import param

__all__ = [
    "counted",
    "format_bytes",
    "format_count",
    "format_duration",
    "parse_bytes",
    "parse_count",
    "parse_duration",
    "parse_number",
    "typed_duration",
]

_SCALE = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}
_BYTES = {
    "": 1, "b": 1, "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12, "tb": 10**12,
    "ki": 2**10, "kib": 2**10, "mi": 2**20, "mib": 2**20, "gi": 2**30, "gib": 2**30, "ti": 2**40, "tib": 2**40,
}  # fmt: skip
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"[+-]?(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?"
_ONE = re.compile(rf"({_NUMBER})\s*([a-z]*)", re.IGNORECASE)
_SPANS = re.compile(rf"(?:{_NUMBER}\s*(?:ms|min|[smhd])\s*)+", re.IGNORECASE)
_SPAN = re.compile(rf"({_NUMBER})\s*(ms|min|[smhd])", re.IGNORECASE)


def _scaled(text: str, scales: dict[str, int], meaning: str) -> float | int:
    match = _ONE.fullmatch(text.strip())
    if match is None or match[2].lower() not in scales:
        raise ValueError(f"{text!r} is not {meaning}")
    digits, scale = match[1].replace("_", ""), scales[match[2].lower()]
    try:
        return int(digits) * scale
    except ValueError:
        value = float(digits) * scale
    # 0.1 * 10**6 is not 100000 in floating point everywhere; a value that close to a whole number is meant whole
    return round(value) if scale > 1 and abs(value - round(value)) < 1e-6 * max(1.0, abs(value)) else value


def parse_number(text: str) -> float | int:
    """Read `50`, `1e-3`, `10M` or `0.5B`: an int where it is written as one, else a float."""
    return _scaled(text, _SCALE, "a number such as 50, 1e-3 or 10M")


def parse_count(text: str) -> int:
    """Read a whole number: `50`, `1e6`, `100M`."""
    value = _scaled(text, _SCALE, "a whole number such as 50, 1e6 or 100M")
    if value != value or value in (float("inf"), float("-inf")) or value != int(value):
        raise ValueError(f"{text!r} is not a whole number")
    return int(value)


def parse_bytes(text: str) -> int:
    """Read an amount of memory: `2G` and `2GB` are 2·10⁹ bytes, `2GiB` is 2·2³⁰."""
    value = _scaled(text, _BYTES, "an amount of memory such as 500M or 2GiB")
    if value != int(value) or value < 0:
        raise ValueError(f"{text!r} is not a whole number of bytes")
    return int(value)


def parse_duration(text: str) -> float:
    """Read a time, in seconds: `90`, `90s`, `2h`, `1h30m`, `1.5d`."""
    stripped = text.strip()
    if stripped.startswith("+"):
        raise ValueError(f"{text!r} adds to a time, which only {param('max_time')} of pylm train does")
    try:
        return float(stripped)
    except ValueError:
        pass
    if _SPANS.fullmatch(stripped) is None:
        raise ValueError(f"{text!r} is not a time such as 90s, 1h30m or 2d")
    return sum(float(number.replace("_", "")) * _SECONDS[unit.lower()] for number, unit in _SPAN.findall(stripped))


def format_count(value: float) -> str:
    """Write a number in three or four figures: 999, 12.3k, 4.56M."""
    for scale, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale * 0.9995:
            return f"{value / scale:.3g}{letter}"
    return f"{value:.0f}" if value == int(value) else f"{value:.3g}"


def format_bytes(value: float) -> str:
    """Write an amount of memory: 512 B, 1.5 GB."""
    for scale, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(value) >= scale * 0.9995:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f} B"


def typed_duration(seconds: float) -> str:
    """Write a time as it is typed, in whole seconds and no less than it is: 55s, 1h30m, 2d."""
    left, text = max(math.ceil(seconds), 0), ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def format_duration(seconds: float) -> str:
    """Write a time in its two largest units: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for large, small, size, part in (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86400, 3600)):
        if whole < size * {"min": 60, "h": 24}.get(large, whole):
            rest = whole % size // part
            return f"{whole // size} {large}" + (f" {rest} {small}" if rest else "")
    raise AssertionError(whole)


def counted(number: int, word: str) -> str:
    """Return a number of things, one of them in the singular."""
    return f"{number:,} {word}{'s' * (number != 1)}"
