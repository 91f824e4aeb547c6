"""How much text there is of each language, where a dataset is made of several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pylm.config.units import counted

__all__ = ["Counts"]


@dataclass
class Counts:
    """Documents, lines and bytes of text by language."""

    by_language: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, language: str, texts: Iterable[str]) -> None:
        """Count documents of a language."""
        known = self.by_language.setdefault(language, {"documents": 0, "lines": 0, "bytes": 0})
        for text in texts:
            known["documents"] += 1
            known["lines"] += sum(1 for line in text.split("\n") if line.strip())
            known["bytes"] += len(text.encode())

    @property
    def bytes(self) -> int:
        """The bytes of all text that was counted."""
        return sum(counts["bytes"] for counts in self.by_language.values())

    def lines(self) -> list[str]:
        """Return a sentence for each language."""
        total = self.bytes or 1
        return [
            f"{language or 'other'}: {counted(counts['documents'], 'document')}, {counted(counts['lines'], 'line')}, "
            f"{100 * counts['bytes'] / total:.1f}% of the text"
            for language, counts in self.by_language.items()
        ]
