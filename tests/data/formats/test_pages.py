"""Pages of parquet files, which several threads unpack: whatever pages a writer makes, pyarrow says what is in them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylm import _rust
from pylm.errors import DataError
from tests.data.formats.elsewhere import Elsewhere
from tests.data.formats.reading import again_from_everywhere, texts

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(rows: list[Any], kind: Any = None, **options: Any) -> None:
    parquet.write_table(
        pyarrow.table({"n": range(len(rows)), "text": pyarrow.array(rows, kind)}), "a.parquet", **options
    )


def some_rows(count: int) -> list[str | None]:
    draw = random.Random(count)
    return [None if draw.random() < 0.1 else "né " * draw.randrange(300) + str(row) for row in range(count)]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("codec", ["none", "zstd", "snappy", "gzip"])
@pytest.mark.parametrize(
    "options",
    [
        {"use_dictionary": False, "data_page_size": 3000, "write_batch_size": 7},
        {"use_dictionary": True, "dictionary_pagesize_limit": 20_000, "data_page_size": 3000, "write_batch_size": 7},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_LENGTH_BYTE_ARRAY"}},
        {"write_statistics": True, "write_page_index": True},
    ],
    ids=["plain", "dictionary, then plain", "lengths apart", "one page"],
)
@pytest.mark.parametrize("place", [str, Elsewhere])
def test_pages_hold_what_pyarrow_finds(
    version: str, codec: str, options: dict[str, Any], place: Callable[[str], Any]
) -> None:
    rows = some_rows(5000)
    write(rows, compression=codec, data_page_version=version, row_group_size=1700, **options)
    wanted = [text for text in parquet.read_table("a.parquet")["text"].to_pylist() if text]
    assert texts(place("a.parquet")) == wanted
    assert again_from_everywhere(place("a.parquet")) > 1
    reader = _rust.Documents([place("a.parquet")])
    assert sum(len(batch) for batch in reader) == len(wanted) and reader.nulls == rows.count(None)


def test_a_page_much_larger_than_a_block_is_read_in_parts() -> None:
    rows = ["a long text " * 400 + str(row) for row in range(3000)]
    write(rows, use_dictionary=False, data_page_size=1 << 26, compression="zstd")
    assert texts("a.parquet") == rows
    assert again_from_everywhere("a.parquet") > 8
    assert max(len(batch) for batch in _rust.Documents(["a.parquet"])) < 400


def test_few_texts_in_many_rows_are_read_in_parts() -> None:
    rows = [str(row % 3) * 10_000 for row in range(3000)]
    write(rows, compression="zstd")
    assert texts("a.parquet") == rows
    assert max(len(batch) for batch in _rust.Documents(["a.parquet"])) < 400


def test_halves_of_a_character_in_two_rows_are_no_text() -> None:
    write(["é".encode()[:1], "é".encode()[1:]], pyarrow.binary(), use_dictionary=False)
    with pytest.raises(DataError, match=r"a document of a\.parquet is not UTF-8"):
        texts("a.parquet")
    assert texts("a.parquet", invalid="replace") == ["\ufffd", "\ufffd"]


def test_a_damaged_page_is_an_error_and_no_end() -> None:
    write(some_rows(3000), use_dictionary=False, compression="none", data_page_size=3000, row_group_size=1000)
    chunk = parquet.read_metadata("a.parquet").row_group(1).column(1)
    whole = Path("a.parquet").read_bytes()
    for at in range(24):
        where = chunk.data_page_offset + at
        Path("a.parquet").write_bytes(whole[:where] + b"\xff" + whole[where + 1 :])
        try:
            found = len(texts("a.parquet"))
        except DataError as error:
            assert "a.parquet" in str(error)
        else:
            assert found > 2000
