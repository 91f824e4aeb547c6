"""Answers to examples: what a model writes after each prompt, always the likeliest token, against what stands there.

An example's answers are its runs of tokens that count: a completion with the end of text after it, or each of the
assistant's turns with the token that ends the turn. Each is asked after all that stands before it, so a later turn
follows the turns of the example and not those that the model would have written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pylm.errors import DataError
from pylm.evaluation.measures import standard_error
from pylm.evaluation.tasks import TaskResult

if TYPE_CHECKING:
    from pylm.generation.load import Opened
    from pylm.tokenizer import Tokenizer

__all__ = ["ANSWERS", "Masked", "Question", "answered", "questions"]

ANSWERS = 200  # that are written unless somebody says how many
MORE = 32  # tokens that an answer may have beyond twice those of the one that stands there


class Masked(Protocol):
    """An example in ids, and which of them a model learns to write."""

    @property
    def ids(self) -> npt.NDArray[Any]:
        """Return the ids: prompt, completion, end of text."""
        ...

    @property
    def counts(self) -> npt.NDArray[Any]:
        """Return of each id whether it counts."""
        ...


class Question(NamedTuple):
    """What an example asks of a model."""

    prompt: list[int]
    answer: list[int]
    end: int  # what the answer ends with


class _Written(NamedTuple):
    """What the model wrote."""

    ids: list[int]
    end: int | None  # the token that ended it


def questions(example: Masked, specials: frozenset[int]) -> Iterator[Question]:
    """Yield what an example asks: each run of ids that count, up to the special token that ends it.

    A run without text or without an end asks nothing, nor does one that nothing stands before.
    """
    counts = np.asarray(example.counts, bool).astype(np.int8)
    ids = [int(token) for token in example.ids]
    edges = np.flatnonzero(np.diff(counts, prepend=0, append=0))
    for start, stop in edges.reshape(-1, 2).tolist():
        end = next((place for place in range(start, stop) if ids[place] in specials), stop)
        if 0 < start < end < stop:
            yield Question(ids[:start], ids[start:end], ids[end])


def answered(
    opened: Opened,
    examples: Iterable[Masked],
    settings: Mapping[str, Any],
    limit: int | None = None,
    told: Callable[[str, int, int], object] = lambda task, done, all_of_them: None,
) -> TaskResult | None:
    """Return how many answers a model writes as they stand, and how many it ends by itself; None where none is asked.

    Args:
        opened: the model.
        examples: in ids, no longer than the model's context and the one target after it.
        settings: what else the numbers depend on.
        limit: how many answers at most; 200 if not given.
        told: called with a word, how many answers are written, and how many there are.
    """
    assert opened.tokenizer is not None
    specials = _specials(opened.tokenizer)
    most = ANSWERS if limit is None else limit
    asked = list(islice((one for each in examples for one in questions(each, specials)), most))
    if not asked:
        return None
    found = _all_written(opened, asked, specials, lambda done: told("answers", done, len(asked)))
    decode = opened.tokenizer.decode_bytes  # in a text, bytes that are no UTF-8 would all look alike
    ended = [float(one.end == question.end) for one, question in zip(found, asked, strict=True)]
    exact = [
        float(by_itself == 1 and (one.ids == question.answer or decode(one.ids) == decode(question.answer)))
        for one, question, by_itself in zip(found, asked, ended, strict=True)
    ]
    items = {"exact_match": exact, "ended": ended}
    return TaskResult(
        task="answers",
        n=len(asked),
        metrics={name: math.fsum(column) / len(column) for name, column in items.items()},
        stderr={name: standard_error(column, name) for name, column in items.items()},
        items=items,
        primary="exact_match",
        centred=None,
        cropped=0,
        apart=0,
        settings={**settings, "answers": most},
    )


def _specials(tokenizer: Tokenizer) -> frozenset[int]:
    """Return the ids that no text holds: whatever ends an answer is one of them."""
    end = () if tokenizer.eot is None else (tokenizer.eot,)
    return frozenset((*tokenizer.specials.values(), *end))


def _all_written(
    opened: Opened, asked: Sequence[Question], specials: frozenset[int], told: Callable[[int], object]
) -> list[_Written]:
    """Return what the model writes after each prompt, those of like length side by side."""
    found: list[_Written | None] = [None] * len(asked)
    order = sorted(range(len(asked)), key=lambda number: len(asked[number].answer))
    together = opened.engine.rows_at_once
    for start in range(0, len(order), together):
        group = order[start : start + together]
        for number, one in zip(group, _written(opened, [asked[each] for each in group], specials), strict=True):
            found[number] = one
        told(min(start + together, len(order)))
    return [one for one in found if one is not None]


def _written(opened: Opened, asked: Sequence[Question], specials: frozenset[int]) -> Iterator[_Written]:
    """Yield what the model writes after some prompts; each has a length of its own, whatever stands beside it."""
    from pylm.generation.session import Session
    from pylm.generation.settings import sample_settings

    assert opened.tokenizer is not None
    room = [_room(question, opened.engine.context_length) for question in asked]
    session = Session(opened.engine, opened.tokenizer, ends=sorted(specials), name=str(opened.folder))
    ids: list[list[int]] = [[] for _ in asked]
    pieces = session.stream([question.prompt for question in asked],
                            sample_settings({"temperature": 0.0, "max_tokens": max(room), "seed": 0}))  # fmt: skip
    for piece in pieces:
        ids[piece.prompt].append(piece.id)
    for drawn, most in zip(ids, room, strict=True):
        ends = len(drawn) <= most and drawn[-1] in specials
        yield _Written(drawn[:-1], drawn[-1]) if ends else _Written(drawn[:most], None)


def _room(question: Question, context_length: int) -> int:
    """Return how many tokens an answer may have: what it needs twice and some more, while the model sees all of it."""
    left = context_length - len(question.prompt) + 1
    if left <= 0:
        raise DataError(
            f"a prompt has {len(question.prompt):,} tokens, and the model sees {context_length:,}",
            "make the examples ready with the model's own context_length",
        )
    return min(2 * len(question.answer) + MORE, left)
