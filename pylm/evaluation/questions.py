"""Rows of tasks to questions: what is asked, which pairs of context and continuation answer it, and which is right.

Three kinds of rows. llm-foundry's and nanochat's, to which examples of the same file are added as those draw them;
OLMES requests, whose examples are in them; and plain rows, whose context a template makes.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from pylm.errors import DataError
from pylm.evaluation.task_files import Row
from pylm.evaluation.template import Template

if TYPE_CHECKING:
    from pylm.evaluation.task import Task

__all__ = ["Question", "questions"]

UNCONDITIONED = 1_000_000  # OLMES repeats each question from this doc_id on, without its context
ORDER_SEED, SHOTS_SEED = 1337, 1234  # nanochat's


@dataclass(frozen=True)
class Question:
    """What is asked, in pairs of context and continuation."""

    pairs: tuple[tuple[str, str], ...]
    choices: tuple[str, ...]  # as they are measured: without what stands between context and choice
    gold: int
    kind: str  # choice: continuations differ; schema: contexts do; text: there is one, and every token must be greedy
    place: str


def questions(rows: Iterable[Row], task: Task, limit: int | None = None) -> list[Question]:
    """Return the questions of a task's rows, the first `limit` of them; no more rows are read than these need."""
    rest = iter(rows)
    first = next(rest, None)
    if first is None:
        raise DataError(f"the file of {task.name} holds no rows")
    rest = chain([first], rest)
    if "request" in first.fields and not task.docs:
        return _requests(rest, limit)
    if task.template is not None or "prompt" in first.fields:
        return [_plain(row, task) for row in islice(rest, limit)]
    found = _documents(rest) if "request" in first.fields else list(rest)
    random.Random(ORDER_SEED).shuffle(found)
    items = [_item(row, task) for row in found]
    if task.shots >= len(items):
        raise DataError(f"{task.name} asks for {task.shots} examples and has {len(items)} rows")
    return [_with_examples(items, number, task) for number in range(len(items))[:limit]]


def _field(row: Row, name: str, kind: type | tuple[type, ...]) -> Any:
    value = row.fields.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        has = "is missing" if name not in row.fields else f"is {value!r}"
        raise DataError(f"{row.place}: {name} {has}", f"the row has {', '.join(sorted(row.fields))}")
    return value


def _texts(row: Row, name: str) -> tuple[str, ...]:
    values = _field(row, name, list)
    for number, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{row.place}: {name}[{number}] is empty or no text", "give each choice some text")
    if not values:
        raise DataError(f"{row.place}: {name} is an empty list")
    return tuple(values)


def _index(row: Row, name: str, count: int) -> int:
    value: int = _field(row, name, int)
    if not 0 <= value < count:
        raise DataError(f"{row.place}: {name} is {value}, and there are {count} choices")
    return value


@dataclass(frozen=True)
class _Item:
    """A row of llm-foundry's: contexts and continuations before the delimiter comes between them."""

    kind: str
    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    gold: int
    place: str

    def solved(self, delimiter: str) -> str:
        """Return it as an example."""
        at = self.gold if self.kind == "choice" else 0
        context = self.contexts[self.gold if self.kind == "schema" else 0]
        return context + delimiter + self.continuations[at]


def _item(row: Row, task: Task) -> _Item:
    fields = row.fields
    if "context_options" in fields:
        options = _texts(row, "context_options")
        gold = _index(row, "gold", len(options))
        return _Item("schema", options, (_field(row, "continuation", str),), gold, row.place)
    if "choices" in fields and "query" in fields:
        choices = _texts(row, "choices")
        return _Item("choice", (_field(row, "query", str),), choices, _index(row, "gold", len(choices)), row.place)
    if "context" in fields:
        context, continuation = _field(row, "context", str).strip(), _field(row, "continuation", str)
        if not continuation.strip():
            raise DataError(f"{row.place}: continuation is empty", "give each continuation some text")
        return _Item("text", (context,), (continuation,), 0, row.place)
    raise DataError(
        f"{row.place}: the row of {task.name} is of no known form: it has {', '.join(sorted(fields))}",
        "{query, choices, gold}, {context_options, continuation, gold}, {context, continuation}, "
        "{prompt, choices, answer}, or any fields with a template",
    )


def _with_examples(items: Sequence[_Item], number: int, task: Task) -> Question:
    """Return an item after examples, drawn for its place among all others."""
    item = items[number]
    header = ""
    if task.shots:
        others = [other for other in range(len(items)) if other != number]
        drawn = random.Random(SHOTS_SEED + number).sample(others, task.shots)
        header = "".join(items[other].solved(task.delimiter) + "\n\n" for other in drawn)
    pairs = tuple(
        (header + context + task.delimiter, continuation)
        for context in item.contexts
        for continuation in item.continuations
    )
    choices = item.contexts if item.kind == "schema" else item.continuations
    return Question(pairs, choices, item.gold, item.kind, item.place)


def _requests(found: Iterable[Row], limit: int | None) -> list[Question]:
    """Return the questions of OLMES requests: neighbours of one doc_id are the choices of a question."""
    grouped: dict[Any, list[Row]] = {}
    for row in found:
        number = row.fields.get("doc_id")
        if not isinstance(number, int):
            raise DataError(f"{row.place}: doc_id is missing", "an OLMES request has request, doc_id, idx and label")
        if number >= UNCONDITIONED:
            continue
        if len(grouped) == limit and number not in grouped:
            break
        grouped.setdefault(number, []).append(row)
    return [_request(group) for group in grouped.values()]


def _request(group: list[Row]) -> Question:
    pairs = []
    for row in group:
        request = _field(row, "request", dict)
        inner = Row(request, row.place)
        pairs.append((_field(inner, "context", str), _field(inner, "continuation", str)))
        if not pairs[-1][1].strip():
            raise DataError(f"{row.place}: continuation is empty", "give each choice some text")
    label = group[0].fields.get("label")
    alone = len(pairs) == 1
    gold = 0 if alone else _index(group[0], "label", len(pairs)) if isinstance(label, int) else None
    if gold is None:
        raise DataError(f"{group[0].place}: label is {label!r}, and there are {len(pairs)} choices")
    same = len({continuation for _, continuation in pairs}) == 1
    kind = "text" if alone else "schema" if same else "choice"
    choices = tuple(context if kind == "schema" else continuation.lstrip() for context, continuation in pairs)
    return Question(tuple(pairs), choices, gold, kind, group[0].place)


def _documents(found: Iterable[Row]) -> list[Row]:
    """Return the documents that OLMES requests were made of, each once."""
    kept: dict[int, Row] = {}
    for row in found:
        number = _field(row, "doc_id", int)
        if number < UNCONDITIONED and number not in kept:
            kept[number] = Row(_field(row, "doc", dict), row.place)
    return [kept[number] for number in sorted(kept)]


def _plain(row: Row, task: Task) -> Question:
    context = Template(task.template)(row.fields) if task.template is not None else _field(row, "prompt", str)
    if row.fields.get(task.choices) is None:
        return _answered(row, context, task)
    value = row.fields[task.choices]
    if isinstance(value, str):  # a cell of csv
        value = value.split("|")
    choices = _texts(Row({**row.fields, task.choices: value}, row.place), task.choices)
    pairs = tuple((context + task.delimiter, choice) for choice in choices)
    return Question(pairs, choices, _answer(row, choices, task), "choice", row.place)


def _answered(row: Row, context: str, task: Task) -> Question:
    answer: str = _field(row, task.answer, str)
    if not answer.strip():
        raise DataError(f"{row.place}: {task.answer} is empty", "give each answer some text")
    return Question(((context + task.delimiter, answer),), (answer,), 0, "text", row.place)


def _answer(row: Row, choices: tuple[str, ...], task: Task) -> int:
    """Return the place of the right choice, which is named by its place from 0, its letter or its text."""
    value = row.fields.get(task.answer)
    if isinstance(value, str):
        text = value.strip()
        if value in choices:
            return choices.index(value)
        if len(text) == 1 and text.isalpha() and text.isascii():
            value = ord(text.upper()) - ord("A")
        elif text.isdigit():
            value = int(text)
    if type(value) is int and 0 <= value < len(choices):
        return value
    raise DataError(
        f"{row.place}: {task.answer} is {row.fields.get(task.answer)!r}, and there are {len(choices)} choices",
        "the place of the right choice from 0, its letter from A, or its text",
    )
