"""What the keys of a row say: llm-foundry's forms, and plain prompt, choices and answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pylm.data.tasks.items import Item
from pylm.errors import DataError

__all__ = ["Columns", "gold_of", "item_of", "some_text", "strings", "text"]

Row = Mapping[str, Any]

MOST_DIGITS = 10  # of a choice's number; Python itself refuses to read thousands of them


@dataclass(frozen=True)
class Columns:
    """The columns of a plain file.

    Attributes:
        prompt: The column of the question.
        choices: The column of what may follow; a file without it has one answer a row.
        answer: The column of the right one: its number, its letter, or itself.
    """

    prompt: str = "prompt"
    choices: str = "choices"
    answer: str = "answer"


def item_of(row: Row, number: int, columns: Columns, place: str) -> Item:
    """Return the item that a row is.

    Raises:
        DataError: its keys are of no known form, or what they hold does not fit together.
    """
    name, category = str(row.get("id", number)), str(row.get("category", ""))
    if "context_options" in row:
        contexts, ending = strings(row, "context_options", place), some_text(row, "continuation", place)
        gold = gold_of(row, "gold", contexts, place)
        return Item(name, "schema", contexts, (ending,), gold, contexts[gold], category=category)
    if "query" in row and "choices" in row:
        question, choices = text(row, "query", place), strings(row, "choices", place)
        gold = gold_of(row, "gold", choices, place)
        return Item(name, "choice", (question,), choices, gold, question, category=category)
    if "context" in row and ("continuation" in row or "answer" in row):
        question = text(row, "context", place)
        ending = some_text(row, "continuation" if "continuation" in row else "answer", place)
        aliases = strings(row, "aliases", place) if row.get("aliases") else ()
        return Item(name, "continuation", (question,), (ending,), 0, question, aliases, category)
    if columns.prompt in row and columns.answer in row:
        return _plain(row, name, category, columns, place)
    raise DataError(
        f"{place} is no item of a test: it has {', '.join(row) or 'nothing'}",
        f"an item has query, choices and gold; context_options, continuation and gold; context and continuation; or "
        f"{columns.prompt}, {columns.choices} and {columns.answer}",
    )


def _plain(row: Row, name: str, category: str, columns: Columns, place: str) -> Item:
    question = text(row, columns.prompt, place)
    if columns.choices != Columns.choices and columns.choices not in row:
        raise DataError(f"{place} has no {columns.choices} to choose from", f"it has {', '.join(row)}")
    if row.get(columns.choices) in (None, ""):
        answer = some_text(row, columns.answer, place)
        return Item(name, "continuation", (question,), (answer,), 0, question, category=category)
    choices = strings(row, columns.choices, place)
    gold = gold_of(row, columns.answer, choices, place)
    return Item(name, "choice", (question,), choices, gold, question, category=category)


def text(row: Row, key: str, place: str) -> str:
    """Return the text of a key; a number of a table is one."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{place}: {key} is no text")
    return str(value)


def some_text(row: Row, key: str, place: str) -> str:
    """Return the text of a key, which is not empty: of nothing nothing can be asked."""
    value = text(row, key, place)
    if not value:
        raise DataError(f"{place}: {key} is empty")
    return value


def strings(row: Row, key: str, place: str) -> tuple[str, ...]:
    """Return the texts of a key; a table without lists has them as JSON."""
    value = row.get(key)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if value == []:
        raise DataError(f"{place}: {key} is empty")
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise DataError(f"{place}: {key} is no list of texts", 'in a table it is written as ["one", "other"]')
    if "" in value:
        raise DataError(f"{place}: an entry of {key} is empty")
    return tuple(value)


def gold_of(row: Row, key: str, choices: tuple[str, ...], place: str) -> int:
    """Return the number of the right choice, which a row gives as a number, as a letter or as the choice itself."""
    value = row.get(key)
    if isinstance(value, str):
        if choices.count(value) == 1:
            return choices.index(value)
        if len(value) == 1 and value.isascii() and value.isalpha():
            value = ord(value.upper()) - ord("A")
        elif value.isdecimal() and len(value) < MOST_DIGITS:
            value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(choices):
        shown = value if not isinstance(value, str) or len(value) <= 40 else value[:40] + "…"
        raise DataError(f"{place}: {key} is {shown!r}, and there are {len(choices)} choices", "they count from 0")
    return value
