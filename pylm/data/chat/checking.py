"""What a tuning would make of a dataset: which tokens are learned, how long examples are, what is wrong with them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm.data.chat.fitting import Fitting
from pylm.data.chat.masking import Masked, Masker
from pylm.data.chat.reading import Read
from pylm.data.chat.templates import template_of, tokens_needed
from pylm.errors import PylmError
from pylm.tokenizer.grown import grown

if TYPE_CHECKING:
    from pylm.data.chat.forms import Example
    from pylm.tokenizer import Tokenizer

__all__ = ["Checked", "check"]

FAULTS = 5  # sentences that are kept of what is wrong
EDGES = (0, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)

Parts = list[tuple[str, bool]]


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        form: The form of the examples.
        template: The name of the template that writes them; None where they are taken as they are.
        new_tokens: Tokens that it needs and the tokenizer lacks, with which the check was made.
        counts: What became of the examples: `examples`, `cut`, `dropped`, `all_masked`, `crossed`.
        tokens: How many tokens the examples have that fit.
        counted: How many of these are learned.
        lengths: Of all examples before any was cut: `shortest`, `median`, `ninetieth`, `longest`.
        histogram: Examples by length: the most tokens of a bar, and how many have no more and more than the bar before.
        labels: How many examples each label has, of a dataset with labels.
        faults: What is wrong, the first few sentences.
        faulty: How many examples something is wrong with.
        shown: The first examples: their places, and their text in parts, each with whether it is learned.
    """

    form: str
    template: str | None
    new_tokens: list[str]
    counts: Mapping[str, int]
    tokens: int
    counted: int
    lengths: Mapping[str, int]
    histogram: list[tuple[int, int]]
    labels: Mapping[str, int]
    faults: list[str]
    faulty: int
    shown: list[tuple[str, Parts]]


def check(
    dataset: Any,
    tokenizer: Tokenizer,
    *,
    template: str | os.PathLike[str] | None = None,
    overflow: str = "cut-prompt",
    context_length: int | None = None,
    examples: int = 3,
) -> Checked:
    """Return what a tuning would make of a dataset; all of it is read.

    Args:
        dataset: What `pylm.data.chat.read` takes.
        tokenizer: The tokenizer; tokens that the template needs are added to it here.
        template: As `pylm.data.mask` takes it.
        overflow: What becomes of an example longer than the context.
        context_length: The most inputs of an example; any length unless given.
        examples: How many are shown.
    """
    read = Read(dataset)
    found = iter(read)
    first = next(found)
    chosen = template_of(template, tokenizer)
    written_by = Masker(tokenizer, chosen).written_by(first.form)
    new = tokens_needed(chosen, tokenizer) if written_by is not None else []
    masker = Masker(grown(tokenizer, new) if new else tokenizer, chosen)
    seen = _Seen(Fitting(masker, overflow, context_length), examples)
    for example in chain([first], found):
        seen.add(example)
    return Checked(
        form=first.form, template=written_by, new_tokens=new,
        counts={**seen.fitting.counts.as_dict(), "examples": seen.examples},
        tokens=seen.tokens, counted=seen.counted, lengths=_figures(seen.lengths), histogram=_histogram(seen.lengths),
        labels=seen.labels, faults=seen.faults[:FAULTS], faulty=len(seen.faults), shown=seen.shown,
    )  # fmt: skip


class _Seen:
    """What was seen of the examples so far."""

    def __init__(self, fitting: Fitting, shown: int) -> None:
        self.fitting = fitting
        self.tokens = self.counted = self.examples = 0
        self.lengths: list[int] = []
        self.labels: Counter[str] = Counter()
        self.faults: list[str] = []
        self.shown: list[tuple[str, Parts]] = []
        self._shown = shown

    def add(self, example: Example) -> None:
        """Mask one more."""
        self.examples += 1
        if example.label is not None:
            self.labels[example.label] += 1
        try:
            wholes, made = self._made(example)
        except PylmError as error:
            self.faults.append(error.marked[0])
            return
        self.lengths.append(sum(len(one.ids) for one in wholes))
        if not made:
            return
        self.tokens += sum(len(one.ids) for one in made)
        self.counted += sum(int(one.counts.sum()) for one in made)
        if len(self.shown) < self._shown:
            parts = [part for one in made for part in _parts(one, self.fitting.masker.tokenizer)]
            self.shown.append((example.place, parts))

    def _made(self, example: Example) -> tuple[tuple[Masked, ...], tuple[Masked, ...]]:
        """Return the documents of an example, two of a pair, and what is left of them in the context."""
        chosen = self.fitting.masker.mask(example)
        if example.rejected is not None:
            rejected = self.fitting.masker.mask(example.rejected)
            return (chosen, rejected), self.fitting.fitted_pair(example, chosen, rejected)
        fitted = self.fitting.fitted(example, chosen)
        return (chosen,), () if fitted is None else (fitted,)


def _parts(made: Masked, tokenizer: Tokenizer) -> Parts:
    borders = [0, *(np.flatnonzero(np.diff(made.counts)) + 1).tolist(), len(made.ids)]
    return [(tokenizer.decode(made.ids[a:b].tolist()), bool(made.counts[a])) for a, b in pairwise(borders)]


def _figures(lengths: list[int]) -> dict[str, int]:
    if not lengths:
        return {}
    ordered = sorted(lengths)
    last = len(ordered) - 1
    shares = {"shortest": 0.0, "median": 0.5, "ninetieth": 0.9, "longest": 1.0}
    return {name: ordered[round(share * last)] for name, share in shares.items()}


def _histogram(lengths: list[int]) -> list[tuple[int, int]]:
    if not lengths:
        return []
    edges = [edge for edge in EDGES if edge < max(lengths)]
    edges.append(next((edge for edge in EDGES if edge >= max(lengths)), max(lengths)))
    counts = np.histogram(lengths, [one + 0.5 for one in edges])[0].tolist()
    return list(zip(edges[1:], counts, strict=True))
