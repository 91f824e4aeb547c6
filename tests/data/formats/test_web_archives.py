"""WET files: the records of the type `conversion`, as a plain reader finds them."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from pylm.cli import run
from pylm.errors import DataError
from tests.data.formats.elsewhere import Elsewhere
from tests.data.formats.reading import again_from_everywhere, documents, texts


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def record(kind: str, number: int, content: bytes, end: bytes = b"\r\n") -> bytes:
    header = [
        b"WARC/1.0",
        f"WARC-Type: {kind}".encode(),
        f"WARC-Target-URI: https://example.org/{number}?a=b:c".encode(),
        b"WARC-Date: 2026-01-02T03:04:05Z",
        f"WARC-Record-ID: <urn:uuid:{number}>".encode(),
        b"Content-Type: text/plain",
        f"Content-Length: {len(content)}".encode(),
    ]
    return end.join([*header, b"", b""]) + content + end * 2


def some(count: int) -> list[tuple[str, bytes]]:
    draw = random.Random(1)
    words = ["WARC/1.0\r\n", "word ", "\r\n\r\n", "漢字 ", "Content-Length: 5\n"]
    made = []
    for number in range(count):
        kind = "warcinfo" if number == 0 else draw.choice(["conversion", "conversion", "metadata"])
        made.append((kind, "".join(draw.choices(words, k=draw.randrange(200))).encode()))
    return made


def plainly(data: bytes) -> list[str]:
    """Read records by their lengths, as the standard has them."""
    found, place = [], 0
    while place < len(data):
        end = data.index(b"\r\n\r\n", place)
        fields = dict(line.split(b": ", 1) for line in data[place:end].split(b"\r\n")[1:])
        place = end + 4 + int(fields[b"Content-Length"])
        if fields[b"WARC-Type"] == b"conversion" and fields[b"Content-Length"] != b"0":
            found.append(data[end + 4 : place].decode())
        place += 4
    return found


@pytest.mark.parametrize("name", ["a.warc.wet", "a.warc.wet.gz", "a.wet.gz", "a.warc.gz"])
@pytest.mark.parametrize("far", [False, True])
def test_conversions_are_documents(name: str, far: bool) -> None:
    records = some(2500)
    pieces = [record(kind, number, content) for number, (kind, content) in enumerate(records)]
    # each record is a member of its own
    Path(name).write_bytes(b"".join(gzip.compress(one, 1) if name.endswith("gz") else one for one in pieces))
    source: Any = Elsewhere(name) if far else name
    assert texts(source) == plainly(b"".join(pieces))
    assert again_from_everywhere(source) > 1
    rows = documents(source, meta=True)
    numbers = [number for number, (kind, content) in enumerate(records) if kind == "conversion" and content]
    assert [row[1] for row in rows] == [f"urn:uuid:{number}" for number in numbers]
    wanted = {"url": f"https://example.org/{numbers[0]}?a=b:c", "date": "2026-01-02T03:04:05Z"}
    assert json.loads(rows[0][2] or "") == wanted


def test_damage_is_said_in_a_sentence() -> None:
    whole = record("conversion", 1, b"one") + record("conversion", 2, b"two")
    Path("plain.wet").write_bytes(record("conversion", 1, b"one", b"\n"))
    assert texts("plain.wet") == ["one"]
    for place in range(len(whole) // 2 + 10, len(whole) - 4, 7):
        Path("a.wet").write_bytes(whole[:place])
        with pytest.raises(DataError, match="a.wet is no sound web archive"):
            texts("a.wet")
    for hostile in (b"-5", b"99999999999999999999", b"five", b"18446744073709551615"):
        Path("a.wet").write_bytes(whole.replace(b"Content-Length: 3", b"Content-Length: " + hostile))
        with pytest.raises(DataError, match="a.wet is no sound web archive"):
            texts("a.wet")
    Path("a.wet").write_bytes(b"WARC/1.0\r\n" + b"X: y\r\n" * 2000)
    with pytest.raises(DataError, match="a header does not end"):
        texts("a.wet")
    Path("a.wet").write_bytes(b"x" * 100_000)
    with pytest.raises(DataError, match="a line of a header does not end"):
        texts("a.wet")
    Path("a.wet").write_bytes(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(DataError, match="no record begins where one should"):
        texts("a.wet")
    Path("a.warc").write_bytes(record("response", 1, b"one") * 3)
    with pytest.raises(DataError, match="none of the 3 records of a.warc is of the type conversion"):
        texts("a.warc")
    cut = gzip.compress(whole)[:-12]
    Path("a.wet.gz").write_bytes(cut)
    with pytest.raises(DataError, match="a.wet.gz is (cut off|damaged)"):
        texts("a.wet.gz")


def test_the_commands_read_web_archives() -> None:
    pieces = [record("conversion", number, f"page {number}".encode()) for number in range(300)]
    Path("a.warc.wet.gz").write_bytes(b"".join(gzip.compress(one) for one in pieces))
    assert run(["tokenizer", "train", "a.warc.wet.gz", "--vocab-size", "260", "--out", "tok"]) == 0
    assert run(["tokenize", "a.warc.wet.gz", "--tokenizer", "tok", "--val", "0", "--out", "x"]) == 0
    assert json.loads(Path("x/manifest.json").read_text())["splits"]["train"]["documents"] == 300
