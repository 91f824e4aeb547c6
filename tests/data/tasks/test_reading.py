"""The files of tests, in each of the three forms, and what is said of files that are none."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pylm.data.tasks import Columns, Item, read
from pylm.errors import DataError


def lines(path: Path, rows: list[Any]) -> Path:
    data = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def only(path: Path, **columns: str) -> Item:
    (item,) = read(path, Columns(**columns))
    return item


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "A.NDJSON"])
def test_the_forms_of_llm_foundry(tmp_path: Path, name: str) -> None:
    rows = [
        {"query": "Ünique?", "choices": ["no", "yes"], "gold": 1, "category": "c"},
        {"context_options": ["the cat", "the dog"], "continuation": "meows", "gold": 0},
        {"context": "roses are", "continuation": "red"},
        {"context": "capital of France", "answer": "Paris", "aliases": ["Paris", "paris"]},
    ]
    choice, schema, language, answered = read(lines(tmp_path / name, rows))
    assert choice == Item("0", "choice", ("Ünique?",), ("no", "yes"), 1, "Ünique?", category="c")
    assert (choice.context, choice.answer) == ("Ünique?", "yes")
    assert (schema.kind, schema.context, schema.answer, schema.id) == ("schema", "the cat", "meows", "1")
    assert (language.kind, language.context, language.answer) == ("continuation", "roses are", "red")
    assert (answered.answer, answered.answers) == ("Paris", ("Paris", "paris"))


def request(number: int, place: int, context: str, continuation: str, label: Any) -> dict[str, Any]:
    document = {"query": context.rpartition("\n\n")[2], "choices": ["x"]}
    asked = {"context": context, "continuation": continuation}
    return {
        "request_type": "loglikelihood",
        "doc": document,
        "request": asked,
        "idx": place,
        "doc_id": number,
        "label": label,
    }


def test_requests_become_items(tmp_path: Path) -> None:
    rows = [
        *(request(7, place, "example\n\nquestion", f" {place}", 2) for place in (1, 0, 2)),
        *(request(1_000_007, place, "Answer:", f" {place}", 2) for place in range(3)),
        *(request(8, place, context, " ran", 1) for place, context in enumerate(["the sun", "the boy"])),
        request(9, 0, "one and", " two", ["two", "2"]),
    ]
    choice, bare, schema, language = read(lines(tmp_path / "requests.jsonl.gz", rows))
    assert (choice.id, choice.choices, choice.answer, choice.question) == ("7", (" 0", " 1", " 2"), " 2", "question")
    assert choice.contexts == ("example\n\nquestion",) and choice.is_prompt and not choice.is_unconditioned
    assert (bare.id, bare.is_unconditioned, bare.context) == ("7", True, "Answer:")
    assert (schema.kind, schema.contexts, schema.choices, schema.context) == (
        "schema", ("the sun", "the boy"), (" ran",), "the boy",
    )  # fmt: skip
    assert (language.kind, language.answer, language.answers) == ("continuation", " two", ("two", "2"))


@pytest.mark.parametrize(("answer", "gold"), [(1, 1), ("1", 1), ("B", 1), ("b", 1), ("blue", 1), ("red", 0)])
def test_a_plain_answer_is_a_number_a_letter_or_itself(tmp_path: Path, answer: Any, gold: int) -> None:
    path = lines(tmp_path / "a.jsonl", [{"id": "x", "prompt": "sky", "choices": ["red", "blue"], "answer": answer}])
    assert (only(path).gold, only(path).id) == (gold, "x")


def test_tables_hold_plain_rows(tmp_path: Path) -> None:
    rows = [["7", "Which, of\nthese", '["a", "b"]', "B"], ["8", "and then", "", "what"]]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "prompt", "choices", "answer"], *rows])
    choice, free = read(tmp_path / "a.csv")
    assert choice == Item("7", "choice", ("Which, of\nthese",), ("a", "b"), 1, "Which, of\nthese")
    assert free == Item("8", "continuation", ("and then",), ("what",), 0, "and then")


def test_parquet_with_columns_of_its_own(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"ctx": ["one", "two"], "endings": [["a", "b"], ["c", "d"]], "label": ["0", "1"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    first, second = read(tmp_path / "a.parquet", Columns("ctx", "endings", "label"))
    assert (first.answer, second.answer, second.context) == ("a", "d", "two")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "a.jsonl line 2 is no JSON object"),
        ("[1]", "a.jsonl line 2 is no JSON object"),
        ("[" * 100_000, "a.jsonl line 2 is no JSON object"),
        ("{}", "a.jsonl line 2 is no item of a test: it has nothing"),
        ('{"query": "q", "choices": ["a", ""], "gold": 0}', "a.jsonl line 2: an entry of choices is empty"),
        ('{"query": "q", "choices": ["a"], "gold": 1}', "a.jsonl line 2: gold is 1, and there are 1 choices"),
        ('{"query": "q", "choices": ["a"], "gold": true}', "a.jsonl line 2: gold is True, and there are 1 choices"),
        ('{"query": "q", "choices": "ab", "gold": 0}', "a.jsonl line 2: choices is no list of texts"),
        ('{"query": "q", "choices": [], "gold": 0}', "a.jsonl line 2: choices is empty"),
        ('{"query": 1e5, "choices": ["a"]}', "a.jsonl line 2: gold is None, and there are 1 choices"),
        ('{"context": null, "continuation": "x"}', "a.jsonl line 2: context is no text"),
        ('{"context_options": ["a"], "continuation": "b", "gold": -1}', "a.jsonl line 2: gold is -1"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"context": "a", "continuation": "b"}}\n{line}\n')
    with pytest.raises(DataError) as caught:
        list(read(path))
    assert sentence in caught.value.message


def test_files_that_are_no_tests(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"context": "a", "answer": "b"}\n')[:-9])
    requests = lines(tmp_path / "r.jsonl", [request(0, 0, "a", "b", 0), {"request": 1, "doc_id": 1}])
    index = lines(tmp_path / "i.jsonl", [{**request(0, 0, "a", "b", 0), "idx": "q"}])
    between = lines(tmp_path / "b.jsonl", [request(n % 2, n // 2, "a", str(n), 0) for n in range(4)])
    empty = lines(tmp_path / "e.jsonl", [request(0, 0, "a", "b", 0), request(0, 1, "a", "", 0)])
    label = lines(tmp_path / "l.jsonl", [request(0, place, "a", str(place), 5) for place in range(2)])
    for path, sentence in [
        (index, "i.jsonl line 1: idx is 'q'"),
        (between, "b.jsonl line 3: other items stand between the rows of doc_id 0"),
        (empty, "e.jsonl line 1: continuation is empty"),
        (tmp_path / "a.txt", "a.txt is no file of a test"),
        (tmp_path / "empty.jsonl", "empty.jsonl has no item"),
        (tmp_path / "cut.jsonl.gz", "cannot read"),
        (tmp_path / "none.jsonl", "No such file"),
        (requests, "r.jsonl line 2 is no request"),
        (label, "label is 5, and there are 2 requests"),
    ]:
        with pytest.raises(DataError, match=sentence):
            list(read(path))


@pytest.mark.parametrize("place", ["first", [1], float("inf"), 0.5])
def test_a_request_whose_place_is_no_number(tmp_path: Path, place: Any) -> None:
    rows = [request(0, 0, "q", "a", 0), request(0, place, "q", "b", 0)]
    with pytest.raises(DataError, match="line 2: idx is"):
        list(read(lines(tmp_path / "a.jsonl", rows)))


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"query": "q", "choices": ["a", "b"], "gold": "9" * 5000}, "gold is"),
        ({"query": "q", "choices": "[" * 100_000, "gold": 0}, "choices is no list of texts"),
    ],
)
def test_what_is_longer_than_python_reads(tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=f"line 1: {sentence}"):
        list(read(lines(tmp_path / "a.jsonl", [row])))
