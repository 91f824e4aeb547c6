"""Rows of every file and form as examples, and the one sentence that each fault gets."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pylm.data.catalogue.entries import Fact, all_entries
from pylm.data.chat import Example, read
from pylm.errors import DataError, PylmError, UsageError
from tests.support.hub_server import HubServer

PAIRS = [{"prompt": "a é", "completion": "b"}, {"prompt": "", "completion": "c\n"}]
TALK = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as the name of a file says."""
    names = list(rows[0])
    plain = path.name.removesuffix(".gz")
    if plain.endswith(".jsonl"):
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    elif plain.endswith(".json"):
        content = json.dumps(rows).encode()
    elif plain.endswith(".parquet"):
        content = parquet({name: [row[name] for row in rows] for name in names})
    else:
        quoted = ([json.dumps(str(row[name]), ensure_ascii=False) for name in names] for row in rows)
        content = "\n".join([",".join(names), *map(",".join, quoted)]).replace("\\n", "\n").encode()
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def parquet(columns: dict[str, list[Any]]) -> bytes:
    pyarrow, written = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    out = pyarrow.BufferOutputStream()
    written.write_table(pyarrow.table(columns), out)
    return out.getvalue().to_pybytes()


def pairs_of(examples: Any) -> list[tuple[str, str]]:
    return [(one.prompt, one.completion) for one in examples]


@pytest.mark.parametrize("name", ["f.jsonl", "f.jsonl.gz", "f.json", "f.json.gz", "f.csv", "f.csv.gz", "f.parquet"])
def test_every_kind_of_file(tmp_path: Path, name: str) -> None:
    found = list(read(write(tmp_path / name, PAIRS)))
    assert pairs_of(found) == [("a é", "b"), ("", "c\n")]
    where = {"jsonl": "line 1", "json": "item 0", "csv": "line 2"}.get(name.removesuffix(".gz").split(".")[1], "row 1")
    assert found[0].place == f"{tmp_path / name} {where}"


def test_folders_globs_and_rows_of_python(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.jsonl", [{"prompt": str(number), "completion": "x"}])
    (tmp_path / "README.md").write_text("not rows")
    wanted = [(str(number), "x") for number in range(3)]
    assert pairs_of(read(tmp_path)) == pairs_of(read(f"{tmp_path}/*.jsonl")) == wanted
    assert pairs_of(read(one for one in PAIRS)) == pairs_of(read(PAIRS)) == [("a é", "b"), ("", "c\n")]


def test_parquet_of_messages_brings_them_whole(tmp_path: Path) -> None:
    talks = [TALK, [{"role": "system", "content": "s"}, *TALK]]
    (tmp_path / "f.parquet").write_bytes(parquet({"messages": talks, "source": ["x", "y"]}))
    assert [list(one.messages) for one in read(tmp_path / "f.parquet")] == talks


def test_rows_of_parquet_without_a_text_are_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "f.parquet").write_bytes(parquet({"prompt": ["a", "b", "c"], "completion": ["x", None, "y"]}))
    with pytest.raises(DataError, match="has 1 rows whose 'completion' is null"):
        list(read(tmp_path / "f.parquet"))
    (tmp_path / "g.parquet").write_bytes(parquet({"body": ["a"]}))
    with pytest.raises(DataError, match="has no column of text that examples have, but body"):
        list(read(tmp_path / "g.parquet"))


FORMS = [
    ({"messages": TALK}, Example("p", "messages", tuple(TALK))),
    (
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]},
        Example("p", "messages", tuple(TALK)),
    ),
    ({"prompt": "hi", "completion": "yo"}, Example("p", "completion", tuple(TALK), 1, "hi", "yo")),
    ({"prompt": TALK[:1], "completion": TALK[1:], "x": 1}, Example("p", "messages", tuple(TALK), 1)),
    ({"instruction": "hi", "output": "yo"}, Example("p", "instruction", tuple(TALK), 1, "hi\n", "yo")),
    (
        {"instruction": "do", "input": "this", "output": "yo"},
        Example("p", "instruction", ({"role": "user", "content": "do\nthis"}, TALK[1]), 1, "do\nthis\n", "yo"),
    ),
    ({"text": "hi", "label": 3}, Example("p", "labels", (TALK[0], {**TALK[1], "content": "3"}), 1, "hi", " 3", "3")),
    ({"text": "yo", "n": 1}, Example("p", "text", completion="yo")),
    (
        {"messages": [{**TALK[0], "name": None}, TALK[1]], "tools": [{"n": 1}], "id": 3},
        Example("p", "messages", tuple(TALK), variables={"tools": [{"n": 1}]}),
    ),
]


@pytest.mark.parametrize(("row", "example"), FORMS)
def test_forms(row: dict[str, Any], example: Example) -> None:
    (found,) = read([row])
    assert found == replace(example, place="item 0 of this list")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"prompt": "a"}], "item 0 of this list has no 'completion', but prompt"),
        ([{"prompt": "a", "answer": "b"}], "has no 'completion', but prompt, answer"),
        ([{"question": "a"}], "item 0 of this list has question, which make no example"),
        ([*PAIRS, {"prompt": "a", "text": "b"}], "item 2 of this list has no 'completion', but prompt, text"),
        ([{"prompt": "a", "completion": ""}], "'completion' of item 0 of this list is empty"),
        ([{"prompt": "a", "completion": None}], "'completion' of item 0 of this list is no text but null"),
        ([{"instruction": 1, "output": "a"}], "'instruction' of item 0 of this list is no text but of the type int"),
        ([{"text": "a", "label": 0.5}], "'label' of item 0 of this list is of the type float"),
        ([{"messages": []}], "'messages' of item 0 of this list is no list of messages"),
        ([{"messages": [{"content": "a"}]}], "message 0 of item 0 of this list has no role, but content"),
        ([{"messages": [TALK[0], {"role": "assistant"}]}], "message 1 of item 0 of this list has no content, but role"),
        ([{"messages": TALK[:1]}], "has no message of the assistant, which is what is learned, but user"),
        ([{"messages": [TALK[0], {**TALK[1], "content": ""}]}], "message 1 of item 0 of this list is empty"),
        ([{"prompt": TALK, "completion": TALK[:1]}], "has no message of the assistant"),
        ([PAIRS[0], {"prompt": TALK[:1], "completion": TALK[1:]}], "of the form messages, those before it of compl"),
        ([], "this list holds no example"),
        (["a"], "item 0 of this list is no row but str"),
    ],
)  # fmt: skip
def test_rows_that_are_no_examples(rows: list[Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        list(read(rows))
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("f.jsonl", b'{"text": "a"}\n\n{"text": \n', "f.jsonl line 3 is no JSON: "),
        ("f.jsonl", b'{"text": "a"}\n["b"]\n', "f.jsonl line 2 is no JSON object"),
        ("f.jsonl", b'{"text": "\xff"}\n', "f.jsonl line 1 is no UTF-8: byte 10"),
        ("f.jsonl", b'{"text": "\\ud800"}\n', "f.jsonl line 1 has \\ud800, half of a character"),
        ("f.jsonl", b"[" * 100_000, "f.jsonl line 1 is nested too deeply"),
        ("f.jsonl", b"", "f.jsonl holds no example"),
        ("f.jsonl.gz", gzip.compress(b'{"text": "a"}\n', mtime=0)[:-6], "f.jsonl.gz is damaged, as gzip says"),
        ("f.json", b'{"text": "a"}', "f.json is no list of rows"),
        ("f.json", b'[{"text": "a"}, 3]', "item 1 of "),
        ("f.txt", b"words", "f.txt is no file of rows"),
        ("f.csv", b"prompt,completion\na,b\nc,\n", "'completion' of "),
        ("f.csv", b"body\nwords\n", "f.csv line 2 has body, which make no example"),
        ("f.csv", b"text,label\na,b\nc, d, e\n", "f.csv line 3 has 3 fields, and the first line names 2"),
        ("f.csv", b'text,label\n"a"b,c\n', "f.csv line 2 is no csv"),
        ("f.csv", b"text\n\xff\n", "f.csv line 2 is no UTF-8: byte 0"),
    ],
)
def test_files_that_are_damaged(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PylmError) as caught:
        list(read(tmp_path / name))
    assert words in caught.value.message


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        list(read(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="has no file of rows"):
        list(read(tmp_path))
    with pytest.raises(UsageError, match="holds no rows"):
        list(read("text:a"))
    with pytest.raises(UsageError, match="holds no rows"):
        list(read(3))
    with pytest.raises(UsageError, match="is a slice by tokens"):
        list(read("smoltalk_1M"))


def test_labels(tmp_path: Path) -> None:
    rows = [{"text": str(number), "label": label} for number, label in enumerate(["b", "a", "b"])]
    found = read(rows, labels=["a", "b"])
    assert [one.label for one in found] == ["b", "a", "b"]
    assert list(found.labels) == ["b", "a"]
    with pytest.raises(DataError, match=r"item 0 .* has the label 'b', .* are a, c"):
        list(read(rows, labels=["a", "c"]))


def test_the_fingerprint_is_of_the_examples(tmp_path: Path) -> None:
    def fingerprint(rows: Any) -> str:
        found = read(rows)
        list(found)
        return str(found.about["fingerprint"])

    same = fingerprint(PAIRS)
    assert same == fingerprint(write(tmp_path / "a.csv", PAIRS)) == fingerprint([{**one, "id": 1} for one in PAIRS])
    assert same != fingerprint(PAIRS[::-1])
    assert same != fingerprint([{**PAIRS[0], "completion": "x"}, PAIRS[1]])


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for name in list(os.environ):
        if name.startswith("HF_") or name.lower().endswith("_proxy") or name == "PYLM_OFFLINE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "pylm-cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf-cache"))
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.mark.filterwarnings("ignore:HF_ENDPOINT is plain http")
def test_the_hub_and_the_catalogue(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    talks = [TALK, [*TALK, *TALK]]
    sha = hub.add(
        "HuggingFaceTB/smoltalk",
        {"data/all/train-00000-of-00001.parquet": parquet({"messages": talks, "source": ["x", "y"]})},
    )
    hub.add("a/lines", {"train.jsonl": "".join(json.dumps(row) + "\n" for row in PAIRS).encode()})
    entry = all_entries()["smoltalk"]
    part = replace(entry.parts[0], revision=Fact(sha))
    monkeypatch.setitem(all_entries(), "smoltalk", replace(entry, parts=(part,)))
    found = list(read("smoltalk"))
    assert [list(one.messages) for one in found] == talks
    assert found[1].place.endswith(f"@{sha}:data/all/train-00000-of-00001.parquet row 2")
    assert pairs_of(read("hub:a/lines")) == [("a é", "b"), ("", "c\n")]
