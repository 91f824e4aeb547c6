"""OLMES's `requests.jsonl`: one row for each context and continuation, as they are sent to a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from pylm.data.tasks.forms import text
from pylm.data.tasks.items import Item, Kind
from pylm.errors import DataError

__all__ = ["are_requests", "items"]

UNCONDITIONED = 1_000_000  # is added to the number of an item where its choices are asked without it

Row = Mapping[str, Any]


def are_requests(row: Row) -> bool:
    """Say whether a row is of this form."""
    return "request" in row and "doc_id" in row


def items(rows: Iterable[tuple[str, Row]]) -> Iterator[Item]:
    """Yield an item for each run of rows with one `doc_id`, the choices in the order of their `idx`.

    Raises:
        DataError: a row lacks what a request has, or its label is none of the choices.
    """
    for number, group in groupby(rows, key=lambda placed: _number(*placed)):
        placed = sorted(group, key=lambda one: _place(*one))
        yield _item(number, placed[0][0], [row for _, row in placed])


def _number(place: str, row: Row) -> int:
    number = row.get("doc_id")
    if not isinstance(number, int) or not isinstance(row.get("request"), dict):
        raise DataError(f"{place} is no request: it lacks doc_id or request", "each row of such a file has both")
    return number


def _place(place: str, row: Row) -> int:
    index = row.get("idx") or 0
    if not isinstance(index, int):
        raise DataError(f"{place}: idx is {index!r}", "it is the number of the choice, from 0 on")
    return index


def _item(number: int, place: str, group: list[Row]) -> Item:
    contexts = tuple(text(row["request"], "context", place) for row in group)
    choices = tuple(text(row["request"], "continuation", place) for row in group)
    kind: Kind = "choice" if len(group) > 1 else "continuation"
    if len(set(contexts)) > 1 and len(set(choices)) == 1:
        kind, choices = "schema", choices[:1]
    label = group[0].get("label")
    gold = label if kind != "continuation" and isinstance(label, int) else 0
    if not 0 <= gold < len(group) or (kind != "continuation" and not isinstance(label, int)):
        raise DataError(f"{place}: label is {label!r}, and there are {len(group)} requests of this item")
    return Item(
        str(number % UNCONDITIONED),
        kind,
        contexts if len(set(contexts)) > 1 else contexts[:1],
        choices,
        gold,
        _question(group[gold]) or contexts[gold],
        tuple(one for one in label if isinstance(one, str)) if isinstance(label, list) else (),
        is_prompt=True,
        is_unconditioned=number >= UNCONDITIONED,
    )


def _question(row: Row) -> str:
    """Return the question as its document has it: the context of a request begins with examples."""
    document = row.get("doc")
    query = document.get("query") if isinstance(document, dict) else None
    return query if isinstance(query, str) else ""
