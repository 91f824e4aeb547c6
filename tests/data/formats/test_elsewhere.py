"""Sources that lie elsewhere: the same documents as of the file here, with little asked for and nothing stored."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylm import _rust
from pylm.errors import DataError, UsageError
from tests.data.formats.elsewhere import Elsewhere

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def texts_of(reader: Any) -> list[str]:
    return [text for batch in reader for text, _, _ in batch]


def some_texts(count: int, seed: int = 0, longest: int = 300) -> list[str]:
    draw = random.Random(seed)
    words = ["the ", "Größe ", "漢字", "a", "\n", "🙂 ", "word ", "\r\n"]
    return ["x" + "".join(draw.choices(words, k=draw.randrange(longest))) for _ in range(count)]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, texts: list[str | None], **options: Any) -> None:
    columns = {
        "pad": [random.Random(index).randbytes(40).hex() for index in range(len(texts))],
        "text": texts,
        "id": [f"d{index}" for index in range(len(texts))],
        "token_count": pyarrow.array([None if text is None else len(text) for text in texts], pyarrow.int64()),
    }
    parquet.write_table(pyarrow.table(columns), name, **options)


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("rows", [70, 1000, 100_000])
def test_parquet_is_what_it_is_here(codec: str, rows: int) -> None:
    texts = some_texts(3000)
    write("a.parquet", texts, row_group_size=rows, compression=codec)
    far = Elsewhere("a.parquet")
    assert texts_of(_rust.Documents([far])) == texts == texts_of(_rust.Documents(["a.parquet"]))
    # the footer, and the text column alone, no byte twice
    metadata = parquet.read_metadata("a.parquet")
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    columns = sum(group.column(1).total_compressed_size for group in groups)
    assert far.on_the_wire <= columns + (64 << 10) + metadata.serialized_size
    assert len(far.asked) <= 2 + len(groups) + columns // (1 << 20)


def test_a_twentieth_of_a_file_costs_its_row_groups() -> None:
    texts = [random.Random(index).randbytes(2000).hex() for index in range(20_000)]
    write("a.parquet", texts, row_group_size=500, compression="zstd", use_dictionary=False)
    far = Elsewhere("a.parquet")
    reader = _rust.Documents([far])
    count = 0
    for batch in reader:
        count += len(batch)
        if count >= 10_000:
            break
    metadata = parquet.read_metadata("a.parquet")
    needed = sum(metadata.row_group(index).total_byte_size for index in range(-(-count // 500)))
    del reader
    # a file of 80 MB: what is asked for ahead is 3 MB, of which a larger file shows less
    assert far.on_the_wire <= needed + (8 << 20)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.txt.gz", "a.jsonl.gz"])
def test_other_files_are_what_they_are_here(name: str) -> None:
    texts = [text.replace("\r\n", "\n") for text in some_texts(20_000)]
    lines = "\n".join(json.dumps({"text": text}) for text in texts) if "jsonl" in name else "<|endoftext|>".join(texts)
    Path(name).write_bytes(gzip.compress(lines.encode(), 1) if name.endswith(".gz") else lines.encode())
    far = Elsewhere(name)
    assert texts_of(_rust.Documents([far])) == texts
    assert far.on_the_wire == far.size
    assert len(far.asked) <= 1 + far.size // (1 << 20)


def request(**changes: Any) -> str:
    asked = {
        "tokenizer": "x",
        "vocab_size": 257,
        "eot": 256,
        "split": "<|endoftext|>",
        "field": "text",
        "column": "text",
        "invalid": "error",
        "skip_bad": False,
        "allow_special": [],
        "validation": 0.1,
        "shard_tokens": 140_000,
        "limit": None,
        "header": "none",
        "training": None,
    }
    return json.dumps(asked | changes)


def test_shards_are_the_same_from_here_and_from_elsewhere_and_go_on_after_a_failure() -> None:
    texts = some_texts(3000)
    write("a.parquet", texts, row_group_size=300)
    noise = [random.Random(index).randbytes(2000).hex() for index in range(2000)]
    Path("b.txt.gz").write_bytes(gzip.compress("<|endoftext|>".join(noise).encode(), 1))
    bytes_alone = _rust.Bpe.from_merges([], "gpt2", ["<|endoftext|>"])
    _rust.tokenize(["a.parquet", "b.txt.gz"], "here", bytes_alone, request())
    far = [Elsewhere("a.parquet", "a.parquet"), Elsewhere("b.txt.gz", "b.txt.gz")]
    whole = far[1].read

    def failing(start: int, length: int) -> bytes:
        if start > 1_500_000:
            raise ConnectionError("the line is dead")
        return whole(start, length)

    far[1].read = failing  # type: ignore[method-assign]
    with pytest.raises(ConnectionError, match="the line is dead"):
        _rust.tokenize(far, "far", bytes_alone, request(), threads=1)
    far[1].read = whole  # type: ignore[method-assign]
    outcome = _rust.tokenize(far, "far", bytes_alone, request())
    assert outcome["progress"]["done_before"] > 0
    shards = sorted(path.name for path in Path("here").glob("*.bin"))
    assert len(shards) > 5
    for name in shards:
        assert Path("here", name).read_bytes() == Path("far", name).read_bytes()
    sources = json.loads(Path("far/manifest.json").read_text())["sources"]
    assert [(one["name"], one["fingerprint"]) for one in sources] == [(one.name, one.identity) for one in far]
    # another content under the same name is not the same source
    far[0].identity = "another"
    with pytest.raises(DataError, match="older a.parquet"):
        _rust.tokenize(far, "far", bytes_alone, request())


def test_a_tokenizer_is_trained_on_what_lies_elsewhere() -> None:
    write("a.parquet", some_texts(3000), row_group_size=300)
    here = _rust.train_bpe(["a.parquet"], vocab_size=300)
    assert _rust.train_bpe([Elsewhere("a.parquet")], vocab_size=300)["merges"] == here["merges"]
    assert _rust.look_at_sources([Elsewhere("a.parquet")])[0] == 1


@pytest.mark.parametrize("name", ["a.parquet", "a.txt.gz", "a.jsonl", "a.txt"])
@pytest.mark.parametrize("far", [True, False])
def test_reading_goes_on_from_every_position(name: str, far: bool) -> None:
    texts = [random.Random(index).randbytes(3000).hex() for index in range(700)]
    if name == "a.parquet":
        write(name, texts, row_group_size=200)
    else:
        lines = (
            "\n".join(json.dumps({"text": text}) for text in texts) if "jsonl" in name else "<|endoftext|>".join(texts)
        )
        Path(name).write_bytes(gzip.compress(lines.encode(), 1) if name.endswith(".gz") else lines.encode())
    sources: list[Any] = [Elsewhere(name) if far else name, "last.txt"]
    Path("last.txt").write_text("the end")
    reader = _rust.Documents(sources)
    done = 0
    for batch in reader:
        done += len(batch)
        position = json.loads(json.dumps(reader.position))
        rest = texts_of(_rust.Documents(sources, start=position))
        assert rest == [*texts, "the end"][done:], position
    assert done == 701 and reader.source == "last.txt"
    with pytest.raises(UsageError, match="cannot go on in file 3"):
        _rust.Documents(sources, start={"file": 3, "at": 0, "row": 0, "line": 0})
    with pytest.raises(UsageError, match="no position"):
        _rust.Documents(sources, start={"files": 3})


def test_what_lies_beside_the_text_comes_where_it_is_asked_for() -> None:
    texts: list[str | None] = [*some_texts(500), None, *some_texts(700, 1)]
    write("a.parquet", texts, row_group_size=300)
    numbers, found = [], []
    far = Elsewhere("a.parquet")
    reader = _rust.Documents([far], extra="token_count")
    for batch in reader:
        found += [text for text, _, _ in batch]
        numbers += reader.extra
    assert reader.nulls == 1
    there = [text for text in texts if text is not None]
    assert found == there and numbers == [len(text) for text in there]
    far = Elsewhere("a.parquet")
    reader = _rust.Documents([far], meta=True, extra="token_count")
    rows = [row for batch in reader for row in batch]
    wanted = parquet.read_table("a.parquet").to_pylist()
    wanted = [row for row in wanted if row["text"] is not None]
    assert [(row[0], row[1]) for row in rows] == [(one["text"], one["id"]) for one in wanted]
    # row groups that lie side by side are asked for together
    assert len(far.asked) <= 4 and far.on_the_wire <= far.size + (64 << 10)
    metas = [json.loads(row[2] or "") for row in rows]
    assert metas == [{"pad": one["pad"], "token_count": one["token_count"]} for one in wanted]
    with pytest.raises(UsageError, match="no column 'tokens'|no column \"tokens\""):
        texts_of(_rust.Documents([far], extra="tokens"))
    with pytest.raises(UsageError, match="holds no whole numbers"):
        texts_of(_rust.Documents([far], extra="pad"))


def test_odd_parquet_is_read_as_pyarrow_reads_it() -> None:
    texts = [*some_texts(40), None, "", None, *some_texts(300, 2)]
    columns = {
        "large": pyarrow.array(texts, pyarrow.large_string()),
        "dictionary": pyarrow.array(texts).dictionary_encode(),
        "meta": pyarrow.array([{"text": text, "deep": {"text": text}} for text in texts]),
        "never": pyarrow.array([None] * len(texts), pyarrow.string()),
        "many": pyarrow.array([[text] for text in texts]),
    }
    table = pyarrow.table(columns)
    with parquet.ParquetWriter("a.parquet", table.schema) as writer:
        for piece in (table.slice(0, 0), table.slice(0, 100), table.slice(0, 0), table.slice(100)):
            writer.write_table(piece)
    for source in ("a.parquet", Elsewhere("a.parquet")):
        for column in ("large", "dictionary", "meta.text", "meta.deep.text"):
            reader = _rust.Documents([source], column=column, meta=True)
            rows = [row for batch in reader for row in batch]
            assert [row[0] for row in rows] == [text for text in texts if text], column
            assert reader.nulls == 2
            metas = [json.loads(row[2] or "") for row in rows]
            assert all("many" in meta and column.split(".")[-1] not in meta for meta in metas[:1] if "." not in column)
            if column == "meta.text":
                assert metas[0]["meta"] == {"deep": {"text": texts[0]}}
        assert texts_of(_rust.Documents([source], column="never")) == []
        with pytest.raises(UsageError, match="no column"):
            texts_of(_rust.Documents([source], column="none"))
        with pytest.raises(UsageError, match="holds no text"):
            texts_of(_rust.Documents([source], column="many.list.element"))


Read = Callable[[int, int], bytes]


def failing_after(calls: int, whole: Read) -> Read:
    left = iter(range(calls))

    def read(start: int, length: int) -> bytes:
        if next(left, None) is None:
            raise ConnectionError("the line is dead")
        return whole(start, length)

    return read


def one_short(whole: Read) -> Read:
    return lambda start, length: whole(start, length)[:-1]


def test_what_goes_wrong_elsewhere_passes_through_as_itself() -> None:
    write("a.parquet", some_texts(5000), row_group_size=500)
    Path("b.txt.gz").write_bytes(gzip.compress(random.Random(0).randbytes(3_000_000).hex().encode()))
    for name in ("a.parquet", "b.txt.gz"):
        far = Elsewhere(name)
        whole = far.read
        for broken in range(2):
            far.read = failing_after(broken, whole)  # type: ignore[method-assign]
            with pytest.raises(ConnectionError, match="the line is dead"):
                texts_of(_rust.Documents([far]))
        far.read = one_short(whole)  # type: ignore[method-assign]
        with pytest.raises(DataError, match="asked for .* bytes at .*, and got"):
            texts_of(_rust.Documents([far]))
    far = Elsewhere("a.parquet")
    far._bytes = far._bytes[:-2000] + bytes(1990) + far._bytes[-10:]  # noqa: SLF001
    with pytest.raises(DataError, match="no sound parquet"):
        texts_of(_rust.Documents([far]))
    far = Elsewhere("a.parquet")
    far.size = None  # type: ignore[assignment]
    with pytest.raises(DataError, match="does not say how long"):
        _rust.Documents([far])
    Path("c.txt").write_bytes(b"%PDF-1.7 and more")
    with pytest.raises(DataError, match="c.txt is a PDF"):
        texts_of(_rust.Documents([Elsewhere("c.txt")]))


def test_it_is_asked_for_by_several_threads_and_ended_at_any_time() -> None:
    texts = [random.Random(index).randbytes(2000).hex() for index in range(3000)]
    write("a.parquet", texts, row_group_size=500, use_dictionary=False, compression="none")
    far = Elsewhere("a.parquet")
    whole, at_once, most = far.read, [0], [0]

    def slow(start: int, length: int) -> bytes:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        threading.Event().wait(0.01)
        at_once[0] -= 1
        return whole(start, length)

    far.read = slow  # type: ignore[method-assign]
    assert texts_of(_rust.Documents([far])) == texts
    assert most[0] > 1
    for stop in range(4):
        reader = _rust.Documents([far])
        for _ in range(stop):
            next(reader)
        del reader


ENDS = """
import sys, time
from pylm import _rust

class Slow:
    name, size, identity = "a.txt", 100_000_000, "x"
    def read(self, start, length):
        time.sleep(0.05)
        return b"word " * (length // 5) + b"w" * (length % 5)

reader = _rust.Documents([Slow()])
if sys.argv[1] == "read":
    next(reader)
print("ends")
"""


@pytest.mark.parametrize("how", ["read", "unread"])
def test_python_ends_while_threads_read(how: str) -> None:
    done = subprocess.run([sys.executable, "-c", ENDS, how], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ends\n", b"")
