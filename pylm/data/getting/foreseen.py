"""What is said and asked before anything is fetched: on whose terms it is, and how much of the disk it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pylm.config.units import format_bytes
from pylm.data.catalogue import Entry, all_terms
from pylm.data.getting.amount import Amount
from pylm.errors import PylmError, UsageError
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.data.catalogue.files import Found

__all__ = ["agreed", "size_of", "terms_of"]

LARGE = 10**9  # bytes from which somebody is asked


def terms_of(one: Entry, parts: Sequence[Found]) -> list[str]:
    """Return what everybody reads before the download: licences, terms, attribution."""
    licence = one.licence.value or "its licence is for its publisher to say, on the card of a repository"
    lines = [f"{one.full_name}: {licence}"]
    lines += [f"  {term}" for term in all_terms(one)]
    lines += [f"  by {part.entry.attribution}" for part in parts if part.entry.attribution]
    return lines


def size_of(parts: Sequence[Found], amount: Amount | None) -> int | None:
    """Return how many bytes the disk will hold, as far as anybody can tell; None where nobody can."""
    if amount is not None:
        return amount.bytes
    from pylm.data.catalogue.files import Unopened

    total = 0
    for part in parts:
        for files in part.splits.values():
            total += files.size if isinstance(files, Unopened) else sum(file.size or 0 for file in files)
    return total


def agreed(name: str, size: int | None, yes: bool, ask: Callable[[str], bool] | None) -> None:
    """Ask whether a large download is meant, where anybody can be asked; refuse it where not."""
    if size is None or size <= LARGE or yes:
        return
    if ask is None:
        raise UsageError(
            f"{name} is {format_bytes(size)}, and nobody is here to ask whether that is meant",
            f"{param('yes', True)} says that it is; {param('limit', '100Mtok')} takes the beginning",
        )
    if not ask(f"{name} is {format_bytes(size)}: fetch it?"):
        raise PylmError(f"{name} was not fetched", f"{param('limit', '100Mtok')} takes the beginning")
