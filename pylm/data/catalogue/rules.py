"""How a document is made of the text of a file, where a publisher's files hold more than the document."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["RULES"]


def livedoor(text: str) -> str | None:
    """Return title and body of an article of livedoor's corpus; None for the licence and the notes beside them.

    Line 1 of an article is its address, line 2 its date, line 3 its title; the rest is its body.
    """
    address, _, rest = text.removeprefix("\ufeff").partition("\n")
    if not address.startswith(("http://", "https://")):
        return None
    _, _, article = rest.partition("\n")
    title, _, body = article.partition("\n")
    return f"{title.strip()}\n{body.strip()}".strip() or None


# the name that the catalogue has for a rule, and the rule
RULES: dict[str, Callable[[str], str | None]] = {"livedoor": livedoor}
