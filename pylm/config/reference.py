"""The table of every key: `python -m pylm.config.reference docs/configuration.md` renews the one in the docs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pylm.config.schema import SECTIONS
from pylm.config.values import Real, Value, Whole, Word

__all__ = ["reference", "renewed"]

BEGIN = "<!-- keys: python -m pylm.config.reference docs/configuration.md -->"
END = "<!-- end of keys -->"
_KINDS = {
    "Duration": "a time: 90s, 2h",
    "Flag": "true, false",
    "Text": "text",
    "Texts": "a list of texts",
    "Reals": "two numbers",
    "Scaling": "a type and its numbers",
    "Weights": "names with weights",
    "Cleaning": "rules, or options with values",
    "Device": "cpu, cuda, cuda:N, mps",
}


def reference() -> str:
    """Write one table a section: key, default, what it accepts, what it means."""
    parts = []
    for section, kind in SECTIONS.items():
        parts.append(f"## {section}\n\n{(kind.__doc__ or '').strip()}\n")
        parts.append("| key | default | accepts | meaning |\n|---|---|---|---|")
        for key, field in kind.model_fields.items():
            cells = (f"`{key}`", f"`{_text(field.default)}`", _accepts(field.metadata[-1]), field.description or "")
            parts.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
        parts.append("")
    return "\n".join(parts)


def renewed(page: str) -> str:
    """Put the tables in their place in a page."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def _accepts(value: Value) -> str:
    if isinstance(value, Word):
        words = ", ".join(value.of)
    elif isinstance(value, Whole):
        words = f"whole, at least {value.least}"
    elif isinstance(value, Real):
        words = _range(value)
    else:
        words = _KINDS[type(value).__name__]
    return ", ".join([words, *value.words, *(["auto"] if value.auto else []), *(["null"] if value.none else [])])


def _range(value: Real) -> str:
    limits = (("at least", value.least), ("above", value.above), ("at most", value.most), ("below", value.below))
    said = [f"{word} {limit:g}" for word, limit in limits if abs(limit) != float("inf")]
    return " ".join(["a number", *said])


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
