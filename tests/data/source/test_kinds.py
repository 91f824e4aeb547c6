"""What a source may be: each kind by what it gives, and one sentence for what is none."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pylm.data.streaming import Document, source
from pylm.data.streaming.grammar import HubName, hub_name, kind_of
from pylm.errors import DataError, PylmError, PylmWarning, UsageError


class Series:
    """A column as data frames have them: its items by iteration, missing ones among them."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)


class NAType:
    """What pandas keeps where nothing is."""

    def __bool__(self) -> bool:
        raise TypeError("ambiguous")


class Frame:
    """A data frame: it iterates over the names of its columns."""

    columns = ("id", "text", "body")

    def __getitem__(self, name: str) -> Series:
        return Series([f"{name} one", None, math.nan, NAType(), f"{name} two"])

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)


class DatasetDict(dict[str, Any]):
    """The splits of a data set of `datasets`."""


def texts(x: Any, **reading: Any) -> list[str]:
    return [document.text for document in source(x, **reading)]


def test_every_kind_gives_its_documents() -> None:
    assert texts("text:a: b") == ["a: b"]
    assert texts(Series(["a", None, "b"])) == ["a", "b"]
    assert texts(Frame()) == ["text one", "text two"]
    assert texts(Frame(), column="body") == ["body one", "body two"]
    table = pa.table({"text": ["a", None, "b"], "body": pa.array(["c"] * 3).dictionary_encode()})
    assert texts(table) == texts(table["text"]) == ["a", "b"]
    assert texts(table, column="body") == ["c", "c", "c"]
    assert texts([{"text": "a"}, {"text": None}, {"text": "b"}]) == ["a", "b"]
    assert texts([{"meta": {"body": "a"}}], field="meta.body") == ["a"]
    assert texts([{"meta.body": "a"}], field="meta.body") == ["a"]
    assert texts([{"source": "wiki", "text": "a"}, {"source": "web", "text": "b"}]) == ["a", "b"]
    assert texts([{"source": "wiki", "body": "a"}], field="body") == ["a"]
    assert texts(source(lambda: ["a", "b"]).take(1)) == ["a"]
    assert texts([Document("a"), Document("b")]) == ["a", "b"]
    assert texts(["text:a", lambda: ["b"], [{"text": "c"}], source("text:d")]) == ["a", "b", "c", "d"]


def test_a_row_gives_its_name_and_what_else_it_holds() -> None:
    (found,) = source([{"id": 5, "text": "a", "n": 1, "m": {"x": 2}}])
    assert found == Document("a", "5", {"n": 1, "m": {"x": 2}})
    (made,) = source([found]).map(lambda document: document.text * 2)
    assert made == Document("aa", "5", {"n": 1, "m": {"x": 2}})


def test_what_can_be_iterated_once_is_read_once() -> None:
    once = source(text for text in "abc")
    assert once.state() == once.state()  # nothing is read to say where it is
    assert [document.text for document in once] == ["a", "b", "c"]
    with pytest.raises(DataError, match="this generator can be iterated once, and that was done"):
        list(once)
    state = {"kind": "items", "item": 2}
    assert [document.text for document in source(text for text in "abc").seek(state)] == ["c"]


def test_a_data_set_of_datasets_knows_its_own_way_to_a_row() -> None:
    class Dataset(list[Any]):
        __module__ = "datasets.arrow_dataset"
        skipped = 0

        def skip(self, count: int) -> list[Any]:
            Dataset.skipped = count
            return self[count:]

    one = source(lambda: Dataset([{"text": str(number)} for number in range(9)]))
    reader = iter(one)
    assert [next(reader).text for _ in range(4)] == ["0", "1", "2", "3"]
    assert [document.text for document in one.seek(one.state())] == ["4", "5", "6", "7", "8"]
    assert Dataset.skipped == 4


def test_stdin_is_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for written, found in ((b'{"text": "a"}\n{"text": "b"}\n', ["a", "b"]), (b"one<|endoftext|>two", ["one", "two"])):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(written)))
        one = source("-")
        assert [document.text for document in one] == [document.text for document in one] == found


def test_what_is_given_twice_is_taken_once_and_said(here: Path) -> None:
    rows = [{"text": "a"}]
    (here / "a.txt").write_text("one")
    for several, name in (([rows, rows], "list"), (["a.txt", "text:b", "a.txt"], "a.txt")):
        with pytest.warns(PylmWarning, match=f"{name} is given more than once, and taken once"):
            found = texts(several)
        assert found == (["a"] if several[0] is rows else ["one", "b"])


REFUSED: list[tuple[Callable[[], Any], type[PylmError], str, str]] = [
    (lambda: source([]), UsageError, "no source was given", "name a file"),
    (lambda: source(5), UsageError, "this int holds no text", "an iterable of strings"),
    (lambda: source(b"a.txt"), UsageError, "bytes are neither a name nor a text", "text:"),
    (lambda: source("Once upon a time\n" * 90), UsageError, "Once upon a time.*… is no name of a source", "text: in"),
    (lambda: source([("a", 1), "b"]), UsageError, "b has no weight", "each a weight, or none"),
    (lambda: source([("a", 0)]), UsageError, "the weight 0 is no share", "above 0"),
    (lambda: source([("a", math.inf), ("b", 1)]), UsageError, "the weight inf", ""),
    (lambda: source({"source": "a", "wieght": 1}), UsageError, "a source has no 'wieght'", "did you mean weight"),
    (lambda: source({"source": "a", "tokens": 5, "bytes": 5}), UsageError, "a limit is a number", "one of the three"),
    (lambda: source({"source": "a", "tokens": "many"}), UsageError, "tokens: 'many' is not a whole number", "'1M'"),
    (lambda: source("text:a", column="body"), UsageError, "column=.*body.* names a key of rows", "leave out column="),
    (lambda: source("a").take(0), UsageError, "documents is 0", "at least 1"),
    (lambda: source("a").take(), UsageError, "a limit is a number", ""),
    (lambda: source("a").shuffle(1, 0), UsageError, "buffer is 0", ""),
    (lambda: source("a").shuffle(1.5), UsageError, "seed is 1.5", ""),
    (lambda: source("a").map(5), UsageError, "5 cannot be called", ""),
    (lambda: list(source("text:a").map(len)), UsageError, "the function of map returned int", "a string"),
    (lambda: list(source([{"txt": "a"}])), DataError, "item 0 of this list has no 'text', but txt", "did you mean txt"),
    (lambda: list(source([{"a": 1}], field="a.b")), DataError, "item 0 of this list has no 'a.b'", "field="),
    (lambda: list(source([{"text": 5}])), DataError, "'text' of item 0 of this list is no text but of the", ""),
    (lambda: list(source(lambda: 5)), UsageError, "this function returned no iterable but int", "yield"),
    (lambda: list(source(iter([Path("a.txt")]))), DataError, "of the type .*Path", "list"),
    (lambda: source(Frame(), column="bdy"), UsageError, "this Frame has no column 'bdy'", "did you mean body"),
    (lambda: source(pa.table({"body": ["a"]}), column="bdy"), UsageError, "this Table has no column 'bdy', but body\n",
     "did you mean body"),
    (lambda: source("a").take(5, tokenizer="gpt2"), UsageError, "a tokenizer counts tokens", ""),
    (lambda: source(DatasetDict(train=[], test=[])), UsageError, "this DatasetDict has splits: train, test",
     "x['train']"),
    (lambda: source("hub:x"), UsageError, "hub:x is no data set of the Hub", "hub:ORG/NAME"),
    (lambda: source("data:tinystoris"), UsageError, "there is no dataset tinystoris", "did you mean tinystories"),
    (lambda: list(source("tinystoris")), DataError, "tinystoris is no file, and no name", "did you mean tinystories"),
    (lambda: source("fineweb10B-gpt2"), UsageError, "is shards of tokens", "data get"),
    (lambda: list(source("text:a").seek({"kind": "joined"})), DataError, "another source", "state()"),
    (lambda: list(source(["text:a", [{"text": "b"}]]).seek({"kind": "joined", "part": 9, "inside": None})), DataError,
     "another source", ""),
    (lambda: list(source("text:a").seek("here")), DataError, "another source", ""),
    (lambda: list(source("text:a").seek({"kind": "items", "item": -1})), DataError, "another source", ""),
    (lambda: list(source("./a").seek({"kind": "files", "position": None, "row": "5"})), DataError, "another source",
     ""),
]  # fmt: skip


@pytest.mark.parametrize(("made", "kind", "message", "hint"), REFUSED)
def test_what_is_no_source_is_one_sentence(
    made: Callable[[], Any], kind: type[PylmError], message: str, hint: str
) -> None:
    with pytest.raises(kind, match=message) as refused:
        made()
    assert type(refused.value) is kind and hint in (refused.value.hint or "")
    assert "\n" not in refused.value.message


def test_a_path_wins_over_a_name_and_a_prefix_over_a_path(here: Path) -> None:
    assert kind_of("tinystories") == kind_of("tinystories_10M") == kind_of("data:tinystories") == "data"
    (here / "tinystories").write_text("mine")
    assert kind_of("tinystories") == "path" and kind_of("data:tinystories") == "data"
    assert texts("tinystories") == texts(Path("tinystories")) == ["mine"]
    kinds = {"-": "stdin", "*.txt": "path", "https://a.b/c": "url", "hub:a/b": "hub", "text:-": "text", "x": "path"}
    assert {name: kind_of(name) for name in kinds} == kinds
    (here / "data:x").write_text("named so")
    assert texts(Path("data:x")) == ["named so"]


def test_a_name_of_the_hub_is_read_by_its_parts() -> None:
    assert hub_name("hub:a/b") == HubName("a/b")
    assert hub_name("hub:a/b-c.d@main:x:train:body") == HubName("a/b-c.d", "main", "x", "train", "body")
    assert hub_name("hub:a/b@refs/pr/1") == HubName("a/b", "refs/pr/1")
    assert hub_name("hub:a/b::validation") == HubName("a/b", None, None, "validation")
    for name in ("hub:a", "hub:a/b/c", "hub:a/b:c:d:e:f", "hub:", "hub:a/b@"):
        with pytest.raises(UsageError, match="is no data set of the Hub"):
            hub_name(name)
