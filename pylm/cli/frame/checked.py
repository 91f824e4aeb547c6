"""What `pylm data check` found, as lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pylm.cli.frame.masked import masked_text
from pylm.config.units import counted

if TYPE_CHECKING:
    from pylm.data.chat.checking import Checked

__all__ = ["figures", "histogram", "shown"]


def shown(found: Checked) -> Iterator[str]:
    """Yield the first examples, what is learned of them in another colour."""
    for place, parts in found.shown:
        yield f"{place}:"
        yield masked_text(parts) + "\n"


def figures(found: Checked, context: int | None) -> Iterator[str]:
    """Yield how many there are, what is learned of them, and what became of those that were too long."""
    counts = found.counts
    how = "as they are" if found.template is None else f"written by the template {found.template}"
    yield f"{counted(counts['examples'], 'example')} of the form {found.form}, {how}"
    if found.new_tokens:
        yield f"the tokenizer lacks {', '.join(found.new_tokens)}, which pylm finetune adds"
    if found.labels:
        yield "labels: " + ", ".join(f"{label} ({count:,})" for label, count in found.labels.items())
    if found.tokens:
        share = 100 * found.counted / found.tokens
        yield f"{found.counted:,} of {counted(found.tokens, 'token')} are learned ({share:.1f}%)"
    if counts["crossed"]:
        yield f"{counts['crossed']:,} are other tokens than as one text: a merge crosses where learning begins"
    if counts["cut"]:
        yield f"{counts['cut']:,} lose the beginning of their prompt to a context of {context:,}"
    if counts["dropped"]:
        yield f"{counts['dropped']:,} are dropped: too long for a context of {context:,}"
    yield from found.faults


def histogram(found: Checked, context: int | None, width: int) -> Iterator[str]:
    """Yield the lengths of the examples, as figures and as bars; nothing of no examples."""
    if not found.lengths:
        return
    lengths = found.lengths
    yield (
        f"tokens of an example: {lengths['shortest']:,} to {lengths['longest']:,}, half up to {lengths['median']:,}, "
        f"nine tenths up to {lengths['ninetieth']:,}"
    )
    most = max(count for _, count in found.histogram)
    digits = len(f"{found.histogram[-1][0]:,}")
    for edge, count in found.histogram:
        bar = "#" * (-(-count * width // most))
        past = "  past the context" if context is not None and count and edge > context + 1 else ""
        yield f"  up to {edge:>{digits},}  {bar:<{width}}  {count:,}{past}".rstrip()
