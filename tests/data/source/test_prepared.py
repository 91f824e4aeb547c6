"""Shards of whatever a source may be: the same as those of the same text in a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pylm
from pylm.data.sources import default_folder
from pylm.data.streaming import source
from pylm.errors import DataError, UsageError

TEXTS = [f"{'the cat sat on the mat. ' * (number % 9)}{number} é" for number in range(120)]


@pytest.fixture
def tok(here: Path) -> pylm.Tokenizer:
    Path("all.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return pylm.Tokenizer.train("all.jsonl", 300)


def bytes_of(folder: str, split: str = "train") -> bytes:
    return b"".join(path.read_bytes() for path in sorted(Path(folder).glob(f"{split}_*.bin")))


def halves() -> list[Any]:
    Path("half.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:60]))
    return ["half.jsonl", lambda: iter(TEXTS[60:])]


KINDS: dict[str, Callable[[], Any]] = {
    "a generator": lambda: (text for text in TEXTS),
    "rows": lambda: [{"text": text, "n": 1} for text in TEXTS],
    "a function of rows": lambda: lambda: ({"text": text} for text in TEXTS),
    "a source": lambda: source("all.jsonl"),
    "a source that was mapped": lambda: source([{"text": text[::-1]} for text in TEXTS]).map(lambda x: x.text[::-1]),
    "a file and a function": halves,
}


@pytest.mark.parametrize("kind", KINDS)
def test_shards_are_those_of_a_file(tok: pylm.Tokenizer, kind: str) -> None:
    pylm.prepare("all.jsonl", "plain", tokenizer=tok, val=0.2)
    done = pylm.prepare(KINDS[kind](), "x", tokenizer=tok, val=0.2)
    assert bytes_of("x") == bytes_of("plain") and bytes_of("x", "val") == bytes_of("plain", "val")
    assert done.manifest is not None and not done.found
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith(".")) == []  # nothing is left over
    again = pylm.prepare(KINDS[kind](), "x", tokenizer=tok, val=0.2)
    assert again.found, "the same texts are the same source, wherever they were written down"
    assert str(Path().resolve()) not in json.dumps(done.manifest["sources"])


def test_texts_are_cut_into_shards_as_files_are(tok: pylm.Tokenizer) -> None:
    many = [text * 30 for text in TEXTS] * 12
    Path("many.jsonl").write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in many))
    for folder, text in (("plain", "many.jsonl"), ("x", iter(many))):
        pylm.prepare(text, folder, tokenizer=tok, val=0, shard_tokens=100_000)
    shards = {
        folder: {path.name: path.read_bytes() for path in Path(folder).glob("*.bin")} for folder in ("plain", "x")
    }
    assert shards["x"] == shards["plain"] and len(shards["x"]) > 3


def test_other_texts_are_another_source(tok: pylm.Tokenizer) -> None:
    pylm.prepare(iter(TEXTS), "x", tokenizer=tok)
    with pytest.raises(DataError, match="x"):
        pylm.prepare(iter(TEXTS[1:]), "x", tokenizer=tok)


def test_a_mixture_is_read_in_its_own_order(tok: pylm.Tokenizer) -> None:
    mix = [(TEXTS_OF("a"), 0.75), (TEXTS_OF("b"), 0.25)]
    pylm.prepare(mix, "x", tokenizer=tok, val=0)
    pylm.prepare([{"text": document.text} for document in source(mix)], "plain", tokenizer=tok, val=0)
    assert bytes_of("x") == bytes_of("plain")


def TEXTS_OF(letter: str) -> list[dict[str, str]]:
    return [{"text": letter * (number % 7 + 1)} for number in range(40)]


def test_the_key_of_rows_is_that_of_lines(tok: pylm.Tokenizer) -> None:
    Path("body.jsonl").write_text(json.dumps({"m": {"body": TEXTS[1]}}) + "\n")
    several = ["body.jsonl", [{"m": {"body": text}} for text in TEXTS[2:]]]
    pylm.prepare(several, "x", tokenizer=tok, field="m.body", val=0)
    pylm.prepare([{"text": text} for text in TEXTS[1:]], "plain", tokenizer=tok, val=0)
    assert bytes_of("x") == bytes_of("plain")


@pytest.mark.parametrize("limit", ["70docs", "3000B", "900tok"])
def test_texts_without_an_end_are_written_as_far_as_they_are_taken(tok: pylm.Tokenizer, limit: str) -> None:
    def endless() -> Any:
        while True:
            yield from (each for text in TEXTS for each in ("", text))  # an empty text is no document

    pylm.prepare(endless, "x", tokenizer=tok, limit=limit, val=0)
    pylm.prepare("all.jsonl", "plain", tokenizer=tok, limit=limit, val=0)
    assert bytes_of("x") == bytes_of("plain")
    assert pylm.Tokenizer.train(endless, 300, documents=len(TEXTS)).identity == tok.identity


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("x.csv", "x"),
        ("x.tsv.gz", "x"),
        ("x.json.zst", "x"),
        ("x.tgz", "x"),
        ("CC-1.warc.wet.gz", "CC-1"),
        ("x.py", "x.py"),
    ],
)
def test_a_folder_is_named_as_its_source_without_what_tells_the_format(name: str, folder: str) -> None:
    assert default_folder(name) == default_folder(f"https://somewhere.org/{name}?v=1") == Path("data") / folder


def test_special_tokens_count_as_one_where_they_are_allowed(here: Path) -> None:
    texts = [f"{text}<|endoftext|>" for text in TEXTS]
    Path("all.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tok = pylm.Tokenizer.train("all.jsonl", 300, specials=["<|endoftext|>"])
    for folder, texts_of in (("plain", "all.jsonl"), ("x", iter(texts))):
        pylm.prepare(
            texts_of, folder, tokenizer=tok, limit="900tok", val=0, allow_special="<|endoftext|>", split="line"
        )
    assert bytes_of("x") == bytes_of("plain")


def test_a_slice_is_cut_where_its_tokens_say_whoever_counts(tok: pylm.Tokenizer) -> None:
    other = pylm.Tokenizer.train("all.jsonl", 258)
    for limit in (100, 101, 555, 10**6):
        cut = source("all.jsonl").take(tokens=limit, tokenizer=tok)
        documents = cut.count()
        pylm.prepare(cut, "by-pipeline", tokenizer=tok, val=0, force=True)
        pylm.prepare("all.jsonl", "plain", tokenizer=tok, val=0, limit=f"{documents}docs", force=True)
        assert bytes_of("by-pipeline") == bytes_of("plain"), limit
        pylm.prepare(cut, "by-python", tokenizer=other, val=0, force=True)
        pylm.prepare("all.jsonl", "plain", tokenizer=other, val=0, limit=f"{documents}docs", force=True)
        assert bytes_of("by-python") == bytes_of("plain"), limit
    manifest = json.loads(Path("by-pipeline/manifest.json").read_text())
    assert [one["name"] for one in manifest["sources"]] == ["all.jsonl"]


def test_a_tokenizer_is_trained_on_any_of_them(tok: pylm.Tokenizer) -> None:
    for kind, made in KINDS.items():
        assert pylm.Tokenizer.train(made(), 300).identity == tok.identity, kind
    done = pylm.prepare(iter(TEXTS), "x", vocab_size=300)
    assert pylm.Tokenizer.load("x").identity == tok.identity and done.trained


def test_an_option_that_no_source_is_of_is_refused(tok: pylm.Tokenizer) -> None:
    Path("a.txt").write_text("text")
    Path("a.jsonl").write_text('{"text": "a"}')
    with pytest.raises(UsageError, match="no source is parquet"):
        pylm.prepare(["a.jsonl", [{"body": "a"}]], "x", tokenizer=tok, column="body")
    for name in ("field", "column"):
        with pytest.raises(UsageError, match=f'{name}="body" names a key of rows, and no source has any'):
            pylm.prepare("text:words", "x", tokenizer=tok, **{name: "body"})
    with pytest.raises(UsageError, match="no source is jsonl"):
        pylm.prepare("a.txt", "x", tokenizer=tok, field="body")
    with pytest.raises(DataError, match="has no 'body'"):
        pylm.prepare([{"text": "a"}], "x", tokenizer=tok, field="body")


def test_half_a_character_is_what_invalid_says(tok: pylm.Tokenizer) -> None:
    with pytest.raises(DataError, match="surrogate"):
        pylm.prepare(["text:fine", [{"text": "a \ud800 b"}]], "x", tokenizer=tok)
    pylm.prepare(["text:fine", [{"text": "a \ud800 b"}]], "x", tokenizer=tok, invalid="replace", val=0)
    ids = np.frombuffer(bytes_of("x"), "<u2").astype(int).tolist()
    assert "a \ufffd b" in tok.decode(ids)
