"""tar archives are read as Python's tarfile reads them, and hostile ones are refused in a sentence."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
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

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def info(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, **more: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    for key, value in more.items():
        setattr(made, key, value)
    return made


def pack(name: str | Path, entries: list[tuple[str, bytes]], format: int = tarfile.PAX_FORMAT, mode: str = "w") -> None:
    with tarfile.open(name, mode, format=format) as archive:
        for path, data in entries:
            archive.addfile(info(path, len(data)), io.BytesIO(data))


def as_python_reads(name: str | Path) -> list[str]:
    with tarfile.open(name) as archive:
        files = [(one.name, archive.extractfile(one)) for one in archive if one.isreg()]
        read = [file.read().decode() for path, file in files if file and path.endswith(".txt")]
    return [text for text in read if text]


@given(
    st.lists(
        st.tuples(
            st.lists(st.text("ab漢", min_size=1, max_size=70), min_size=1, max_size=3).map("/".join),
            st.sampled_from([".txt", ".py", ""]),
            st.text("ab漢\n", max_size=40) | st.integers(500, 520).map(lambda size: "x" * size),
        ),
        max_size=6,
    ),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.sampled_from(["", "./", "/", "./././"]),
)
def test_the_files_of_an_archive_are_those_that_python_finds(
    tmp_path_factory: Any, files: list[tuple[str, str, str]], format: int, before: str
) -> None:
    name = tmp_path_factory.mktemp("tar") / "a.tar"
    entries = [(before + path + suffix, text.encode()) for path, suffix, text in files]
    pack(name, [*entries, ("last.txt", b"last")], format)
    assert texts(str(name)) == as_python_reads(name)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.zst"])
@pytest.mark.parametrize("far", [False, True])
def test_entries_are_read_as_their_suffixes_say(name: str, format: int, far: bool) -> None:
    objects = [{"text": random.Random(number).randbytes(700).hex()} for number in range(1000)]
    lines = "\n".join(map(json.dumps, objects)).encode()
    deep = "/".join(["d" * 60] * 2) + "/e.txt"
    entries = [
        ("b.jsonl", lines),
        (deep, b"deep<|endoftext|>and deeper"),
        ("c.jsonl.gz", gzip.compress(lines[: lines.rindex(b"\n")])),
        ("d.csv", b'id,text\n1,"a,b"\n'),
        ("e.json", b'[{"text": "of an array"}]'),
        ("f.png", b"\x89PNG"),
        (".hidden.txt", b"no"),
        ("g/._h.txt", b"no"),
    ]
    pack("plain.tar", entries, format)
    data = Path("plain.tar").read_bytes()
    if name.endswith("zst"):
        data = pytest.importorskip("pyarrow").Codec("zstd").compress(data, asbytes=True)
    Path(name).write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
    source: Any = Elsewhere(name) if far else name
    bulk = [one["text"] for one in objects]
    assert texts(source) == [*bulk, "deep", "and deeper", *bulk[:-1], "a,b", "of an array"]
    assert again_from_everywhere(source) >= 5
    reader = _rust.Documents([source])
    sources = []
    for _ in reader:
        sources.append(reader.source.removeprefix(getattr(source, "name", name)))
    assert list(dict.fromkeys(sources)) == ["/b.jsonl", f"/{deep}", "/c.jsonl.gz", "/d.csv", "/e.json"]


def test_what_is_no_file_is_passed_over() -> None:
    with tarfile.open("a.tar", "w") as archive:
        archive.addfile(info("d", kind=tarfile.DIRTYPE))
        archive.addfile(info("link.txt", kind=tarfile.SYMTYPE, linkname="/etc/passwd"))
        archive.addfile(info("hard.txt", kind=tarfile.LNKTYPE, linkname="a.txt"))
        archive.addfile(info("pipe.txt", kind=tarfile.FIFOTYPE))
        archive.addfile(info("disk.txt", kind=tarfile.BLKTYPE))
        archive.addfile(info("a.txt", 3), io.BytesIO(b"one"))
    assert texts("a.tar") == ["one"]


def test_hostile_archives_are_refused_in_a_sentence() -> None:
    pack("up.tar", [("a/../../b.txt", b"one")])
    with pytest.raises(DataError, match=r'the name of "a/../../b.txt" leads out of the archive'):
        texts("up.tar")
    for kind, headers in ((tarfile.GNUTYPE_SPARSE, {}), (tarfile.REGTYPE, {"GNU.sparse.major": "1"})):
        with tarfile.open("sparse.tar", "w", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(info("a.txt", 3, kind, pax_headers=headers), io.BytesIO(b"one"))
        with pytest.raises(DataError, match="packed as sparse, which is not read"):
            texts("sparse.tar")
    pack("a.tar", [("a.txt", b"one" * 300), ("b.txt", b"two" * 300)])
    whole = Path("a.tar").read_bytes()
    for place in (100, 512 + 1, 512 + 899, 512 + 1024 + 100, 512 + 1024 + 600):
        Path("cut.tar").write_bytes(whole[:place])
        with pytest.raises(DataError, match="cut.tar is no sound tar archive: it is cut off"):
            texts("cut.tar")
    for place, what in ((0, "checksum"), (130, "checksum"), (1536 + 3, "checksum")):
        Path("bad.tar").write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        with pytest.raises(DataError, match=f"bad.tar is no sound tar archive: .*{what}"):
            texts("bad.tar")
    pack("none.tar", [("a.png", b"x"), ("b.parquet", b"x"), ("README", b"x")])
    with pytest.raises(DataError, match=r"none.tar holds no text: 1 without a suffix, 1 .parquet, 1 .png"):
        texts("none.tar")
    Path("text.tar").write_text("no archive at all " * 100)
    with pytest.raises(DataError, match="text.tar is no sound tar archive"):
        texts("text.tar")
    Path("cut.tar.gz").write_bytes(gzip.compress(whole)[:-12])
    with pytest.raises(DataError, match="cut.tar.gz is (cut off|damaged)"):
        texts("cut.tar.gz")


@pytest.mark.parametrize("inner", [False, True])
def test_a_bomb_goes_off_nowhere(inner: bool) -> None:
    # a hundred megabytes of nothing in a hundred kilobytes
    nothing = b" " * 100_000_000
    entries = [("a.txt.gz", gzip.compress(nothing, 1))] if inner else [("a.txt", nothing)]
    pack("bomb.tar.gz", entries, mode="w:gz")
    with pytest.raises(DataError, match="unpacks to more than 200 times its bytes, as no text does"):
        texts("bomb.tar.gz")


def test_the_commands_read_archives(capsys: Any) -> None:
    pack("a.tar.gz", [(f"{number}.txt", f"document {number}".encode()) for number in range(50)], mode="w:gz")
    assert run(["tokenizer", "train", "a.tar.gz", "--vocab-size", "260", "--out", "tok"]) == 0
    for threads in ("1", "3"):
        line = ["tokenize", "a.tar.gz", "--tokenizer", "tok", "--val", "0.1", "--threads", threads, "--out", threads]
        assert run(line) == 0
    assert json.loads(Path("1/manifest.json").read_text())["splits"]["train"]["documents"] > 30
    names = sorted(path.name for path in Path("1").glob("*.bin"))
    assert names and all(Path("1", name).read_bytes() == Path("3", name).read_bytes() for name in names)
    pack("b.tar", [("b.jsonl", b'{"body": "one"}\n'), ("c.csv", b"text\ntwo\n")])
    assert texts("b.tar", field="body") == ["one", "two"]
    with pytest.raises(UsageError, match="no column"):
        documents("b.tar", field="body", column="body")
