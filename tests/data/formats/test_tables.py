"""csv and tsv are read as Python's csv module reads them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylm import _rust
from pylm.cli import run
from pylm.errors import DataError, UsageError
from tests.data.formats.elsewhere import Elsewhere
from tests.data.formats.reading import again_from_everywhere, documents, texts


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def as_python_reads(data: str, delimiter: str, column: str = "text") -> list[str]:
    rows = csv.DictReader(io.StringIO(data, newline=""), delimiter=delimiter)
    return [row[column] for row in rows if row[column]]


@given(
    st.lists(st.lists(st.text(alphabet='ab",\t\n\r é漢', max_size=12), min_size=1, max_size=4), max_size=8),
    st.sampled_from([",", "\t"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
def test_what_is_written_as_a_table_is_read_again(
    tmp_path_factory: Any, rows: list[list[str]], delimiter: str, end: str, mark: bool
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerow(["id", "text", "more"])
    writer.writerows(rows)
    name = tmp_path_factory.mktemp("table") / ("a.csv" if delimiter == "," else "a.tsv")
    name.write_bytes(("\ufeff" * mark + out.getvalue()).encode())
    assert texts(str(name)) == as_python_reads(out.getvalue(), delimiter)


@given(st.text(alphabet='ab",\n\r', max_size=40))
def test_any_text_is_the_table_that_python_takes_it_for(tmp_path_factory: Any, rest: str) -> None:
    data = "text,b\n" + rest
    # a quote that is never closed is an error here, and the end of the file there
    if len(re.findall('"', rest)) % 2:
        return
    name = tmp_path_factory.mktemp("table") / "a.csv"
    name.write_bytes(data.encode())
    try:
        found = texts(str(name))
    except DataError as error:
        assert "not closed" in error.message
        return
    # Python's reader takes lines, and knows of no record that ends at a lone carriage return within one
    assert found == as_python_reads(data, ",")


def large(count: int = 15_000) -> list[list[str]]:
    draw = random.Random(0)
    words = ["plain ", 'a "quoted" word ', "two\nlines ", "1,5 ", "漢字 "]
    return [[str(number), "".join(draw.choices(words, k=draw.randrange(1, 30)))] for number in range(count)]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv"])
@pytest.mark.parametrize("far", [False, True])
def test_a_large_table_is_whole_and_goes_on_from_every_position(name: str, far: bool) -> None:
    rows = large()
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t" if "tsv" in name else ",")
    writer.writerow(["id", "body"])
    writer.writerows(rows)
    data = out.getvalue().encode()
    Path(name).write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
    source: Any = Elsewhere(name) if far else name
    assert texts(source, column="body") == [text for _, text in rows]
    assert again_from_everywhere(source, column="body") > 1
    found = documents(source, column="body", meta=True, extra="id")
    assert [row[1] for row in found] == [number for number, _ in rows]


def test_ids_and_other_columns_come_where_they_are_asked_for() -> None:
    Path("a.csv").write_text('text,id,n,why\none,x1,5,"so, so"\n,x2,6,\ntwo\n\nthree,x3,,no\n')
    reader = _rust.Documents(["a.csv"], meta=True, extra="n")
    rows = next(reader)
    assert [(text, name, json.loads(meta or "{}")) for text, name, meta in rows] == [
        ("one", "x1", {"n": "5", "why": "so, so"}),
        ("two", None, {}),
        ("three", "x3", {"n": "", "why": "no"}),
    ]
    assert reader.extra == [5, None, None]


def test_a_table_that_cannot_be_read_says_why() -> None:
    Path("a.csv").write_text("id,body\n1,one\n")
    with pytest.raises(UsageError, match=r'a.csv has no column "text"') as caught:
        texts("a.csv")
    assert "it has: id, body" in (caught.value.hint or "")
    Path("b.csv").write_text('text\none\n"two\n')
    with pytest.raises(DataError, match=r"b.csv: line 3, byte 9: a quoted field of this record is not closed"):
        texts("b.csv")
    Path("c.csv").write_bytes(b"text\none\ncaf\xe9\n")
    with pytest.raises(DataError, match="a document of c.csv is not UTF-8"):
        texts("c.csv")
    assert texts("c.csv", invalid="replace") == ["one", "caf\ufffd"]
    Path("d.csv").write_bytes(b"")
    Path("e.csv").write_bytes(b"text\n")
    assert texts("d.csv", "e.csv") == []


def test_the_commands_read_tables(capsys: Any) -> None:
    Path("a.csv").write_text("id,body\n1,one\n2,two\n")
    assert run(["tokenizer", "train", "a.csv", "--column", "body", "--vocab-size", "257", "--out", "tok"]) == 0
    assert run(["tokenize", "a.csv", "--column", "body", "--tokenizer", "tok", "--val", "0", "--out", "x"]) == 0
    assert json.loads(Path("x/manifest.json").read_text())["splits"]["train"]["documents"] == 2
    assert run(["tokenize", "a.csv", "--tokenizer", "tok", "--out", "y"]) == 2
    assert "it has: id, body" in capsys.readouterr().err
