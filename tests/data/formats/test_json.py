"""JSON: one array, objects over several lines, lines under another suffix, dotted fields, nulls, many frames."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylm import _rust
from pylm.errors import DataError
from tests.data.formats.elsewhere import Elsewhere
from tests.data.formats.reading import again_from_everywhere, documents, texts


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


OTHERS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('a"\\[]{},\n漢', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"]}', max_size=3), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.fixed_dictionaries({"text": st.text('ab"\\[]{},\n漢', max_size=12) | st.none()}, optional={"x": OTHERS})


@given(st.lists(OBJECTS, max_size=8), st.sampled_from([None, 2]), st.booleans(), st.booleans(), st.booleans())
def test_an_array_is_its_objects(
    tmp_path_factory: Any, objects: list[dict[str, Any]], indent: int | None, ascii: bool, mark: bool, windows: bool
) -> None:
    data = json.dumps(objects, indent=indent, ensure_ascii=ascii)
    data = "\ufeff" * mark + (data.replace("\n", "\r\n") if windows else data) + "\n" * windows
    name = tmp_path_factory.mktemp("json") / "a.json"
    name.write_bytes(data.encode())
    reader = _rust.Documents([str(name)], meta=True)
    rows = [row for batch in reader for row in batch]
    there = [one for one in objects if one["text"]]
    assert [row[0] for row in rows] == [one["text"] for one in there]
    assert reader.nulls == sum(one["text"] is None for one in objects)
    metas = [json.loads(row[2]) if row[2] else {} for row in rows]
    assert metas == [{"x": one["x"]} if "x" in one else {} for one in there]


def made(count: int = 12_000) -> list[dict[str, Any]]:
    draw = random.Random(0)
    words = ["plain ", 'a "quoted" word ', "two\nlines ", "[{ ", "漢字 ", "\\ "]
    return [{"id": number, "text": "".join(draw.choices(words, k=draw.randrange(1, 30)))} for number in range(count)]


@pytest.mark.parametrize("name", ["array.json", "array.json.gz", "pretty.json", "lines.json.gz", "lines.json"])
@pytest.mark.parametrize("far", [False, True])
def test_json_is_read_whatever_its_layout(name: str, far: bool) -> None:
    objects = made()
    if name.startswith("array"):
        data = json.dumps(objects)
    else:
        data = "\n".join(json.dumps(one, indent=2 if name.startswith("pretty") else None) for one in objects)
    Path(name).write_bytes(gzip.compress(data.encode(), 1) if name.endswith(".gz") else data.encode())
    source: Any = Elsewhere(name) if far else name
    assert texts(source) == [one["text"] for one in objects]
    assert [row[1] for row in documents(source, meta=True)] == [str(one["id"]) for one in objects]
    assert again_from_everywhere(source) > 1


def test_an_array_that_is_broken_or_cut_off_is_said_to_be() -> None:
    Path("a.json").write_text('[{"text": "one"}, {"text": "two"}')
    with pytest.raises(DataError, match="a.json is cut off: its JSON array does not end"):
        texts("a.json")
    Path("b.json").write_text('[{"text": "one"},\n {"text": 2}, {"text": "three"}]')
    with pytest.raises(DataError, match="b.json: line 2, byte .*: invalid type"):
        texts("b.json")
    assert texts("b.json", skip_bad=True) == ["one", "three"]
    Path("c.json").write_text('["one", "two"]')
    with pytest.raises(DataError, match="an object on each line"):
        texts("c.json")
    far = '[{"text": "three"}]' + "\n" * 3_000_000 + "]"
    for number, rest in enumerate(['[{"text": "three"}]', '{"text": 3}]', far]):
        Path(f"{number}.json").write_text('[{"text": "one"},\n {"text": "two"}]\n' + rest)
        with pytest.raises(DataError, match=f"{number}.json: line 3, byte .*"):
            texts(f"{number}.json")
    Path("d.json").write_text("[]")
    Path("e.json").write_text("")
    assert texts("d.json", "e.json") == []


def test_a_dotted_field_is_sought_within_objects() -> None:
    lines = [
        {"meta": {"text": "one", "id": 1}, "text": "no"},
        {"meta.text": "two", "meta": {"text": "no"}},
        {"meta": {"text": "no"}, "meta.text": "three"},
        {"meta": None, "id": "x"},
        {"meta": {"text": None}},
    ]
    Path("a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    reader = _rust.Documents(["a.jsonl"], field="meta.text", meta=True)
    rows = next(reader)
    assert [row[0] for row in rows] == ["one", "two", "three"] and reader.nulls == 2
    assert json.loads(rows[0][2] or "") == {"meta": {"id": 1}, "text": "no"}
    Path("b.jsonl").write_text('{"meta": {"body": "a text"}, "title": "t"}\n')
    with pytest.raises(DataError, match=r'the line has no "text"') as caught:
        texts("b.jsonl")
    assert "--field meta.body" in (caught.value.hint or "")
    assert texts("b.jsonl", field="meta.body") == ["a text"]
    Path("c.jsonl").write_text('{"Text": "a", "content": "a much longer text"}\n')
    with pytest.raises(DataError) as caught:
        texts("c.jsonl")
    assert "--field Text" in (caught.value.hint or "")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_mark_windows_lines_and_nulls(end: str) -> None:
    lines = ['{"text": "one"}', '{"text": null}', "", '{"text": "two\\r\\n", "n": 3}']
    Path("a.jsonl").write_bytes(("\ufeff" + end.join(lines) + end).encode())
    reader = _rust.Documents(["a.jsonl"], extra="n")
    assert [row[0] for row in next(reader)] == ["one", "two\r\n"]
    assert reader.extra == [None, 3] and reader.nulls == 1


def test_several_members_and_frames_are_one_text() -> None:
    zstd = pytest.importorskip("pyarrow")
    pieces = ["\n".join(json.dumps(one) for one in made(400)[start : start + 50]) + "\n" for start in range(0, 400, 50)]
    Path("a.jsonl.gz").write_bytes(b"".join(gzip.compress(piece.encode()) for piece in pieces))
    codec = zstd.Codec("zstd")
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip"
    frames = [codec.compress(piece.encode(), asbytes=True) for piece in pieces]
    Path("a.jsonl.zst").write_bytes(skippable + skippable.join(frames))
    wanted = [one["text"] for one in made(400)]
    assert texts("a.jsonl.gz") == wanted == texts("a.jsonl.zst")
