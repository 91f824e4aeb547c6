"""What becomes of examples that are longer than the context, and the count of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import numpy as np

from pylm.data.chat.forms import Example
from pylm.data.chat.masking import Masked, Masker
from pylm.errors import DataError, UsageError, did_you_mean
from pylm.wording import param

__all__ = ["OVERFLOWS", "Counts", "Fitting"]

OVERFLOWS = ("cut-prompt", "drop", "error")
SHOWN = 3  # places of examples that nothing is learned of


@dataclass
class Counts:
    """What became of the examples.

    Attributes:
        examples: How many were read.
        cut: Those whose prompt lost its beginning.
        dropped: Those that were too long.
        all_masked: Those that nothing would be learned of.
        crossed: Those in which a merge would have joined the prompt with what is learned.
    """

    examples: int = 0
    cut: int = 0
    dropped: int = 0
    all_masked: int = 0
    crossed: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return them by name."""
        return asdict(self)


@dataclass
class Fitting:
    """Masks examples one after another and fits them into a context, counting what it does to them.

    Attributes:
        masker: Makes ids of them.
        overflow: `cut-prompt`, `drop` or `error`.
        context_length: The most inputs of an example; None where any length will do.
        counts: What became of them so far.
    """

    masker: Masker
    overflow: str = "cut-prompt"
    context_length: int | None = None
    counts: Counts = field(default_factory=Counts)
    _unlearned: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what there is not."""
        if self.overflow not in OVERFLOWS:
            hint = did_you_mean(self.overflow, OVERFLOWS) or f"choose {', '.join(OVERFLOWS)}"
            raise UsageError(f"overflow is {self.overflow!r}", hint)
        length = self.context_length
        if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
            raise UsageError(f"context_length is {length!r}", "give a whole number of tokens")

    def documents(self, example: Example) -> tuple[Masked, ...]:
        """Return what becomes of an example: itself as it fits, a pair as its two, nothing where nothing is left."""
        if example.rejected is not None:
            return self.fitted_pair(example, self.masker.mask(example), self.masker.mask(example.rejected))
        made = self.masked(example)
        return () if made is None else (made,)

    def fitted_pair(self, example: Example, chosen: Masked, rejected: Masked) -> tuple[Masked, ...]:
        """Return a pair as it fits into one context, nothing where it does not; both prompts lose as much."""
        self.counts.examples += 1
        self.counts.crossed += chosen.crossed or rejected.crossed
        if not (chosen.counts.any() and rejected.counts.any()):
            self.counts.all_masked += 1
            self._unlearned.append(example.place)
            return ()
        inputs = len(chosen.ids) + len(rejected.ids) - 2
        too_many = 0 if self.context_length is None else inputs - self.context_length
        if too_many <= 0:
            return chosen, rejected
        if self.overflow == "error":
            raise DataError(
                f"the two answers of {example.place} have {inputs:,} inputs with their prompt, and a context has "
                f"{self.context_length:,}",
                f"{param('overflow', 'cut-prompt')} cuts beginnings of prompts, {param('overflow', 'drop')} drops it",
            )
        short: tuple[Masked, ...] = ()
        if self.overflow == "cut-prompt":
            cut = (without_beginning(one, -(-too_many // 2)) for one in (chosen, rejected))
            short = tuple(one for one in cut if one is not None)
        self.counts.cut += len(short) == 2
        self.counts.dropped += len(short) != 2
        return short if len(short) == 2 else ()

    def masked(self, example: Example) -> Masked | None:
        """Return an example as it fits, None where nothing is left of it."""
        return self.fitted(example, self.masker.mask(example))

    def fitted(self, example: Example, made: Masked) -> Masked | None:
        """Return an example that was masked as it fits, None where nothing is left of it."""
        self.counts.examples += 1
        self.counts.crossed += made.crossed
        if not made.counts.any():
            self.counts.all_masked += 1
            self._unlearned.append(example.place)
            return None
        # of a text nothing is cut: windows take it in pieces
        room = None if self.context_length is None else self.context_length + 1  # the last target is no input
        too_many = 0 if room is None else len(made.ids) - room
        if too_many <= 0 or example.form == "text":
            return made
        if self.overflow == "error":
            raise DataError(
                f"{example.place} has {len(made.ids):,} tokens, and a context of {self.context_length:,} has room for "
                f"{room:,}",
                f"{param('overflow', 'cut-prompt')} cuts beginnings of prompts, {param('overflow', 'drop')} drops it",
            )
        short = without_beginning(made, too_many) if self.overflow == "cut-prompt" else None
        self.counts.cut += short is not None
        self.counts.dropped += short is None
        return short

    def finish(self, name: str) -> None:
        """Refuse a dataset with examples that nothing would be learned of, now that all were read."""
        if self.counts.all_masked:
            places = ", ".join(self._unlearned[:SHOWN]) + (", …" if len(self._unlearned) > SHOWN else "")
            raise DataError(
                f"nothing would be learned of {self.counts.all_masked:,} of the {self.counts.examples:,} examples of "
                f"{name}: the template marks no answer in {places}",
                "mend the template's {% generation %}, or leave these examples out",
            )
        if self.counts.dropped == self.counts.examples:
            raise DataError(
                f"every answer of {name} is too long for a context of {self.context_length:,} tokens",
                f"give a larger {param('context_length')}",
            )


def without_beginning(made: Masked, tokens: int) -> Masked | None:
    """Return an example without its first tokens; None where its last answer would not be whole, with one token before.

    An answer before the last that loses its beginning is learned no more: what is left of it follows from nothing.
    """
    begins = np.flatnonzero(made.counts & ~np.append(False, made.counts[:-1]))
    if tokens >= begins[-1]:
        return None
    counts = made.counts.copy()
    if counts[tokens]:
        ends = np.flatnonzero(~counts[tokens:])
        counts[tokens : tokens + ends[0]] = False
    return Masked(made.ids[tokens:], counts[tokens:], made.crossed)


def pieces(made: Masked, context_length: int | None) -> Iterator[Masked]:
    """Yield a text in pieces of a context, each of which begins with the token that the one before ends with."""
    inputs = len(made.ids) - 1
    for start in range(0, inputs, context_length or inputs):
        end = start + (context_length or inputs) + 1
        counts = made.counts[start:end].copy()
        counts[0] = False
        yield Masked(made.ids[start:end], counts)
