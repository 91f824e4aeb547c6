"""One interface over whatever holds text: the same documents each time, any of them where a state says."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pylm
from pylm.data.streaming import Document, Source, source
from pylm.data.streaming.files import Files
from pylm.errors import DataError

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


def test_a_position_holds_whatever_is_read_at_a_time(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Batches:
        """The texts 0 to 29, some at a time."""

        def __init__(self, first: int, size: int) -> None:
            self.position, self.size = first, size

        def __next__(self) -> list[tuple[str, None, None]]:
            batch = [(str(number), None, None) for number in range(self.position, min(30, self.position + self.size))]
            self.position += len(batch)
            if not batch:
                raise StopIteration
            return batch

    sizes = iter([9, 2, 7, 9])
    monkeypatch.setattr(Files, "read", lambda self, position: Batches(position or 0, next(sizes)))
    one = source("rows.jsonl")
    reader = iter(one)
    assert [next(reader).text for _ in range(17)] == [str(number) for number in range(17)]
    state = one.state()
    for _ in range(2):  # read by other batches than those that the state counts in
        assert texts(one.seek(state)) == [str(number) for number in range(17, 30)]
    with pytest.raises(DataError, match="rows.jsonl ends before the position that was sought"):
        list(one.seek({"kind": "files", "position": 25, "row": 6}))


@pytest.mark.asyncio
@pytest.mark.parametrize("skip", [1, 5, 30])
@pytest.mark.parametrize("kind", KINDS)
async def test_it_is_iterated_asynchronously_while_others_run(rows: Any, kind: str, skip: int) -> None:
    one = source(KINDS[kind]()).shuffle(5, 8)
    whole, found, ticks = list(one), [], 0

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
    assert one.seek(state).take(3).count() == max(0, min(3, len(whole) - skip))


@pytest.mark.asyncio
async def test_an_error_comes_after_the_documents_before_it() -> None:
    def rows() -> Iterator[Any]:
        yield from ["a", "b", 5]

    found = []
    with pytest.raises(DataError, match="item 2 of this function is no text but of the type int"):
        async for document in source(rows):
            found.append(document.text)
    assert found == ["a", "b"]


@pytest.mark.asyncio
async def test_whoever_gives_up_waiting_loses_nothing() -> None:
    def slow() -> Iterator[str]:
        for number in range(150):
            time.sleep(0.001)
            yield str(number)

    one, found, gave_up = source(slow), [], 0
    reader = aiter(one)
    while True:
        try:
            found.append((await asyncio.wait_for(anext(reader), 0.01)).text)
        except TimeoutError:
            gave_up += 1
            assert texts(source(slow).seek(one.state()).take(1)) == [str(len(found))]
        except StopAsyncIteration:
            break
    assert gave_up and found == [str(number) for number in range(150)]


@pytest.mark.asyncio
async def test_two_who_ask_at_once_share_the_documents() -> None:
    reader = aiter(source(numbers(150)))

    async def all_that_come() -> list[Document]:
        return [document async for document in reader]

    both = await asyncio.gather(all_that_come(), all_that_come())
    assert sorted(both[0] + both[1]) == sorted(source(numbers(150)))


@pytest.mark.parametrize("step", [lambda one: one, lambda one: one.shuffle(1, 10), lambda one: one.take(25)])
def test_what_failed_is_taken_up_with_nothing_lost(step: Callable[[Source], Source]) -> None:
    failing = True

    def function(document: Document) -> str:
        if failing and document.id == "n15":
            raise OSError("the network is gone")
        return document.text

    def made() -> Source:
        return step(source(numbers(30)).map(function))

    one, found = made(), []
    with pytest.raises(OSError, match="the network"):
        for document in one:
            found.append(document)
    failing = False
    assert found + list(made().seek(one.state())) == list(made())


def test_a_mixture_keeps_its_shares_and_ends_where_one_source_does() -> None:
    of = {letter: [{"text": letter * (1 + number % 9)} for number in range(500)] for letter in "abc"}
    mixed = texts(source([(of["a"], 0.6), (of["b"], 0.3), (of["c"], 0.1)]))
    given = dict.fromkeys("abc", 0)
    for number, text in enumerate(mixed):
        given[text[0]] += len(text)
        total = sum(given.values())
        if number > 20:  # never further from its share than a longest document
            assert all(abs(given[x] - share * total) <= 9 for x, share in zip("abc", (0.6, 0.3, 0.1), strict=True))
    assert [text for text in mixed if text[0] == "a"] == texts(source(of["a"]))  # the first to end, and whole
    assert texts(source({"rows.txt": 1})) == texts(source("rows.txt")) if Path("rows.txt").exists() else True


def test_budgets_are_taken_one_after_another() -> None:
    several = [{"source": numbers(), "documents": 2}, {"source": numbers(), "bytes": "20"}, "text:the end"]
    whole = texts(source(numbers()))
    assert texts(source(several)) == [*whole[:2], *texts(source(numbers()).take(bytes=20)), "the end"]


def test_limits_end_with_the_document_that_reaches_them() -> None:
    rows = [{"text": "é" * number} for number in range(10)]
    sizes = [2 * number for number in range(10)]
    for limit in (1, 2, 3, 12, 13, 1000):
        wanted = next((n + 1 for n in range(10) if sum(sizes[: n + 1]) >= limit), 10)
        assert source(rows).take(bytes=limit).count() == wanted
    assert source(rows).take(3).take(100).count() == 3


def test_tokens_are_counted_with_an_end_of_text_each() -> None:
    tokenizer = pylm.Tokenizer.train("text:the cat sat on the mat and the dog sat on the cat", 270)
    rows = [{"text": "the cat " * number} for number in range(12)]
    sizes = [len(tokenizer.encode(row["text"])) + 1 for row in rows]
    for limit in (1, 5, 20, 21, 22, 10_000):
        wanted = next((n + 1 for n in range(12) if sum(sizes[: n + 1]) >= limit), 12)
        assert source(rows).take(tokens=limit, tokenizer=tokenizer).count() == wanted


def test_a_shuffle_is_a_permutation_of_each_window() -> None:
    whole = texts(source(numbers(100)))
    found = texts(source(numbers(100)).shuffle(7, buffer=30))
    for start in range(0, 100, 30):
        assert sorted(found[start : start + 30]) == sorted(whole[start : start + 30])
    assert found[:30] != whole[:30] and found != texts(source(numbers(100)).shuffle(8, buffer=30))
    # the order is part of what a state means: it must not change with Python or with pylm
    assert texts(source([{"text": str(number)} for number in range(8)]).shuffle(1)) == ORDER


ORDER = ["5", "7", "6", "0", "1", "3", "4", "2"]
