"""One interface over whatever holds text: the same documents each time, any of them where a state says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from pylm.data.streaming import Document, Source, source

Made = Callable[[], Source]


def numbers(count: int = 30) -> list[dict[str, Any]]:
    return [{"text": f"{'x' * (number % 5)}{number}", "id": f"n{number}", "odd": number % 2} for number in range(count)]


def texts(documents: Iterable[Document]) -> list[str]:
    return [document.text for document in documents]


KINDS: dict[str, Callable[[], Any]] = {
    "rows": numbers,
    "a function": lambda: lambda: (row for row in numbers()),
    "strings of a function": lambda: lambda: (row["text"] for row in numbers()),
    "a jsonl": lambda: "rows.jsonl",
    "a folder and rows": lambda: ["rows.jsonl", Path("."), numbers(7)],
    "a mixture": lambda: [("rows.jsonl", 3), (numbers(), 0.5), {"source": numbers(9), "weight": 1, "documents": 4}],
}
STEPS: dict[str, Callable[[Source], Source]] = {
    "as it is": lambda x: x,
    "taken": lambda x: x.take(11),
    "by bytes": lambda x: x.take(bytes=50),
    "shuffled": lambda x: x.shuffle(3, buffer=8),
    "mapped": lambda x: x.map(lambda document: None if "3" in document.text else document.text.upper()),
    "all": lambda x: x.map(lambda d: d if d.text else None).shuffle(1, 5).take(17).shuffle(2, 4),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS)
def test_it_gives_the_same_again_and_goes_on_from_every_state(rows: Any, kind: str, step: str) -> None:
    make = lambda: STEPS[step](source(KINDS[kind]()))  # noqa: E731
    one = make()
    whole = list(one)
    assert list(one) == whole and one.count() == len(whole) > 3
    for stop in range(0, len(whole) + 1, 1 + len(whole) // 9):
        reader = iter(one)
        assert [next(reader) for _ in range(stop)] == whole[:stop]
        state = json.loads(json.dumps(one.state()))
        assert state == json.loads(json.dumps(reader.state()))
        other = make().seek(state)
        assert other.state() == state
        assert list(other) == whole[stop:], f"from {stop} on"
        assert list(other) == whole  # once from there, and then from the beginning
    assert list(make().seek(one.seek(state).state())) == whole[stop:]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_iterated_asynchronously_while_others_run(rows: Any, kind: str) -> None:
    one = source(KINDS[kind]()).shuffle(5, 8)
    whole = list(one)

    async def read(skip: int) -> None:
        found, ticks = [], 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        async for document in one:
            found.append(document)
            if len(found) == skip:
                break
        assert found == whole[:skip] and ticks
        ticking.cancel()
        state = json.loads(json.dumps(one.state()))
        assert list(source(KINDS[kind]()).shuffle(5, 8).seek(state)) == whole[skip:]
        assert [document async for document in one.seek(state)] == whole[skip:]

    for skip in (1, 5, len(whole)):
        asyncio.run(read(skip))
