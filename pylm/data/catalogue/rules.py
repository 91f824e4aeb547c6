"""How a document is made of what a publisher's files hold, where that is not a text and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["RULES", "Rule"]


class Rule(NamedTuple):
    """Makes a document of a text and of what lies beside it in its row; None where it is no document."""

    function: Callable[[str, Mapping[str, Any]], str | None]
    needs_row: bool = False


def livedoor(text: str, _row: Mapping[str, Any]) -> str | None:
    """Return title and body of an article of livedoor's corpus; None for the licence and the notes beside them.

    Line 1 of an article is its address, line 2 its date, line 3 its title; the rest is its body.
    """
    address, _, rest = text.removeprefix("\ufeff").partition("\n")
    if not address.startswith(("http://", "https://")):
        return None
    _, _, article = rest.partition("\n")
    title, _, body = article.partition("\n")
    return f"{title.strip()}\n{body.strip()}".strip() or None


def conversation(_text: str, row: Mapping[str, Any]) -> str | None:
    """Return what is said in a conversation, one message after the other."""
    said = [str(message.get("content") or "").strip() for message in row.get("messages") or ()]
    return "\n\n".join(filter(None, said)) or None


# the name that the catalogue has for a rule, and the rule
RULES = {"conversation": Rule(conversation, needs_row=True), "livedoor": Rule(livedoor)}
