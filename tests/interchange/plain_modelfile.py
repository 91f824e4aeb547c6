"""What Ollama reads in a Modelfile: commands, one after the other, whose values may be quoted once or thrice.

Nothing is escaped within quotes; a value that begins with one goes on over lines until it ends with one.
"""

from __future__ import annotations

import re

COMMANDS = ("from", "license", "template", "system", "adapter", "draft", "renderer", "parser", "message", "requires")


def commands(text: str) -> list[tuple[str, str]]:
    found, lines = [], text.splitlines()
    while lines:
        line = lines.pop(0).strip(" \t")
        if not line or line.startswith("#"):
            continue
        name, rest = re.fullmatch(r"([A-Za-z]+)[ \t](.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
        name = name.lower()
        if name == "parameter":
            name, rest = re.fullmatch(r"(\w+)[ \t](.*)", rest, re.ASCII).groups()  # type: ignore[union-attr]
        else:
            assert name in COMMANDS, name
        while (value := unquoted(rest.strip())) is None:
            assert lines, f"the value of {name} does not end"
            rest += "\n" + lines.pop(0)
        found.append((name, value))
    assert any(name == "from" for name, _ in found)
    return found


def unquoted(value: str) -> str | None:
    """Without its quotes; None where it goes on."""
    for mark in ('"""', '"'):
        if value.startswith(mark):
            return value[len(mark) : -len(mark)] if value.endswith(mark) and len(value) >= 2 * len(mark) else None
    return value
