"""Data sets of the Hub and files at addresses as sources: which files a name means, and their documents."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pylm
from pylm.cli import run as command
from pylm.data.streaming import source
from pylm.errors import DataError, PylmError, UsageError
from tests.support.hub_server import HubServer

pytestmark = pytest.mark.filterwarnings("ignore:HF_ENDPOINT is plain http")

SLICE = "tinystories_0.001M"
CARD = """---
license: mit
configs:
- config_name: en
  data_files:
  - split: train
    path: text/en-*.jsonl
  - split: test
    path: [text/held-en.jsonl]
- config_name: ja
  data_files: text/ja-*.jsonl
---
# A data set
"""


@pytest.fixture
def hub(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for name in list(os.environ):
        if name.startswith("HF_") or name.lower().endswith("_proxy") or name == "PYLM_OFFLINE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYLM_CACHE", str(here / "pylm-cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(here / "hf-cache"))
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def lines(*texts: str, key: str = "text") -> bytes:
    return "".join(json.dumps({key: text, "id": f"row {text}"}) + "\n" for text in texts).encode()


def table(**columns: list[Any]) -> bytes:
    pytest.importorskip("pyarrow.parquet")
    import pyarrow
    import pyarrow.parquet

    to = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), to, row_group_size=2)
    return to.getvalue()


def texts(name: Any, **reading: Any) -> list[str]:
    return [document.text for document in source(name, **reading)]


def test_a_card_says_which_files_a_configuration_and_a_split_are(hub: HubServer) -> None:
    files = {"text/en-0.jsonl": lines("a", "b"), "text/en-1.jsonl": lines("c"), "text/held-en.jsonl": lines("d"),
             "text/ja-0.jsonl": lines("e"), "README.md": CARD.encode(), "other.txt": b"no"}  # fmt: skip
    hub.add("org/carded", files)
    assert texts("hub:org/carded:en") == ["a", "b", "c"]
    assert texts("hub:org/carded:en:test") == ["d"]
    assert texts("hub:org/carded@main:ja") == ["e"]
    hub.add(
        "org/usual",
        files | {"README.md": CARD.replace("- config_name: ja", "- config_name: ja\n  default: true").encode()},
    )
    assert texts("hub:org/usual") == ["e"]
    for name, message, hint in [
        ("hub:org/carded", "has no configuration default, but en, ja", "CONFIG"),
        ("hub:org/carded:eng", "has no configuration eng, but en, ja", "did you mean en"),
        ("hub:org/carded:en:tset", "has no split tset, but train, test", "did you mean test"),
    ]:
        with pytest.raises(UsageError, match=message) as refused:
            texts(name)
        assert hint in str(refused.value.hint)


def test_without_a_card_names_say_it(hub: HubServer) -> None:
    files = {"data/train-00000.jsonl": lines("a"), "data/train-00001.jsonl": lines("b"),
             "data/validation.jsonl": lines("c"), "readme.txt": b"no text"}  # fmt: skip
    hub.add("org/named", files)
    assert texts("hub:org/named") == ["a", "b"]
    assert texts("hub:org/named::validation") == ["c"]
    hub.add("org/folders", {"sample/10BT/000.jsonl": lines("a"), "sample/100BT/000.jsonl": lines("b")})
    assert texts("hub:org/folders:100BT") == ["b"]
    with pytest.raises(UsageError, match="hub:org/folders has no configuration 10T") as refused:
        texts("hub:org/folders:10T")
    assert "did you mean 10BT" in str(refused.value.hint)
    hub.add("org/packed", {"en/c4-train.0.json.gz": gzip.compress(lines("a")), "de/c4-train.0.json.gz": b""})
    assert texts("hub:org/packed:en") == ["a"]


def test_what_a_script_made_is_read_as_the_hub_converted_it(hub: HubServer) -> None:
    hub.add("org/script", {"script.py": b"import this"})
    hub.add("org/script", {"plain/train/0000.parquet": table(text=["a", "b", "c"])}, branch="refs/convert/parquet")
    assert texts("hub:org/script") == ["a", "b", "c"]


def test_a_column_may_stand_in_the_name_and_the_rest_is_meta(hub: HubServer) -> None:
    hub.add("org/rows", {"train.parquet": table(id=[7, 8, 9], body=["a", None, "c"], n=[1, 2, 3])})
    assert texts("hub:org/rows:::body") == ["a", "c"]
    first = next(iter(source("hub:org/rows:::body")))
    assert (first.text, first.id, dict(first.meta)) == ("a", "7", {"n": 1})
    assert dict(next(iter(source("hub:org/rows:::body", meta=False))).meta) == {}
    with pytest.raises(UsageError, match='has no column "text"'):
        texts("hub:org/rows")


def test_a_stream_goes_on_anywhere_in_files_that_lie_elsewhere(hub: HubServer) -> None:
    tables = {f"train-{number}.parquet": table(text=[f"{number} {row}" for row in range(7)]) for number in range(3)}
    hub.add("org/rows", tables)
    whole = texts("hub:org/rows")
    assert len(whole) == 21
    for stop in range(0, 22, 5):
        one = source("hub:org/rows").map(lambda document: document.text.upper()).shuffle(1, 4)
        reader = iter(one)
        begun = [next(reader).text for _ in range(stop)]
        state = json.loads(json.dumps(one.state()))
        other = source("hub:org/rows").map(lambda document: document.text.upper()).shuffle(1, 4).seek(state)
        assert sorted([*begun, *texts(other)]) == sorted(whole), stop


def test_an_address_is_a_source(hub: HubServer) -> None:
    url = hub.add_plain("some texts.jsonl", lines("a", "b"))
    with pytest.raises(PylmError, match="plain http|private address"):
        os.environ.pop("HF_ENDPOINT")
        texts(url)
    assert texts(url, allow_private=True) == ["a", "b"]


def test_shards_of_a_data_set_are_those_of_its_text_and_nothing_is_kept(hub: HubServer, here: Path) -> None:
    words = [f"{'the cat sat ' * (number % 5)}{number}" for number in range(50)]
    hub.add("org/rows", {"train-0.parquet": table(text=words[:30]), "train-1.parquet": table(text=words[30:])})
    Path("all.jsonl").write_bytes(lines(*words))
    tok = pylm.Tokenizer.train("hub:org/rows", 280, allow_private=True)
    assert tok.identity == pylm.Tokenizer.train("all.jsonl", 280).identity
    before = {path for path in here.rglob("*.parquet")}
    done = pylm.prepare("hub:org/rows", tokenizer=tok, val=0, allow_private=True)
    assert done.folder == Path("data/rows") and done.manifest is not None
    pylm.prepare("all.jsonl", "plain", tokenizer=tok, val=0)
    assert Path("data/rows/train_00000.bin").read_bytes() == Path("plain/train_00000.bin").read_bytes()
    assert {path for path in here.rglob("*.parquet")} == before == set()
    assert [one["name"].rpartition(":")[2] for one in done.manifest["sources"]] == [
        "train-0.parquet",
        "train-1.parquet",
    ]
    assert pylm.prepare("hub:org/rows", tokenizer=tok, val=0, allow_private=True).found


def test_a_dataset_of_the_catalogue_streams_by_its_name(hub: HubServer) -> None:
    from pylm.data.catalogue import entry

    (part,) = entry("tinystories").parts
    tables = {"data/train-00000-of-00001.parquet": table(text=["one", "two", "three"]),
              "data/validation-00000-of-00001.parquet": table(text=["held"])}  # fmt: skip
    sha = hub.add("roneneldan/TinyStories", tables)
    repository = hub.repositories["dataset", "roneneldan/TinyStories"]
    repository.commits[part.revision.value] = repository.commits[sha]
    assert texts("tinystories") == texts("data:tinystories") == ["one", "two", "three"]
    tok = pylm.Tokenizer.train("text:one two three", 262)
    assert source("tinystories").take(tokens=1, tokenizer=tok).count() == 1


def test_offline_is_one_sentence(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/rows", {"train.jsonl": lines("a")})
    monkeypatch.setenv("PYLM_OFFLINE", "1")
    with pytest.raises(DataError, match="the network is not to be used"):
        texts("hub:org/rows")


@pytest.mark.parametrize("name", ["hub:org/rows", "tinystories"])
def test_what_huggingface_hub_kept_in_part_is_not_taken_for_all(
    name: str, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pylm.data.catalogue import entry

    (part,) = entry("tinystories").parts
    id, sha = ("org/rows", "1" * 40) if name.startswith("hub:") else (part.repository, part.revision.value)
    assert id is not None
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("PYLM_OFFLINE", "1")
    kept = tmp_path / "kept" / f"datasets--{id.replace('/', '--')}"
    file = kept / "snapshots" / sha / "data" / "train-00001-of-00004.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(table(text=["two"]))
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(sha)
    with pytest.raises(DataError, match="has 4 files data/train-…-of-00004.parquet, and 1 of them are here"):
        texts(name)


@pytest.fixture
def stories(hub: HubServer) -> list[str]:
    """TinyStories with a few texts, at the commit that the catalogue knows."""
    from pylm.data.catalogue import entry

    words = [f"{'the cat sat on a mat ' * (number % 7)}{number}" for number in range(200)]
    (part,) = entry("tinystories").parts
    sha = hub.add("roneneldan/TinyStories", {"data/train-00000-of-00001.parquet": table(text=words)})
    repository = hub.repositories["dataset", "roneneldan/TinyStories"]
    repository.commits[part.revision.value] = repository.commits[sha]
    return words


def test_the_whole_pipeline_of_a_slice(
    hub: HubServer, here: Path, stories: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = stories
    gpt2 = pylm.Tokenizer.train([{"text": text} for text in words], 300)
    gpt2.save("tok")
    load = pylm.Tokenizer.load
    monkeypatch.setattr(
        pylm.Tokenizer, "load", lambda name, **options: load("tok" if name == "gpt2" else name, **options)
    )
    sizes = [len(gpt2.encode(text)) + 1 for text in words]
    count = next(number + 1 for number in range(len(words)) if sum(sizes[: number + 1]) >= 1000)
    assert [document.text for document in source(SLICE, allow_private=True)] == words[:count]

    words_of = {"streamed": [], "stored": ["--store"]}
    for folder, options in words_of.items():
        line = [
            "tokenize",
            SLICE,
            "--tokenizer",
            "gpt2",
            "--out",
            folder,
            "--val",
            "0",
            "--allow-private",
        ]
        assert command([*line, *options]) == 0
        assert "CDLA-Sharing-1.0" in capsys.readouterr().err
    pylm.prepare([{"text": text} for text in words[:count]], "plain", tokenizer=gpt2, val=0)
    shards = [Path(folder, "train_00000.bin").read_bytes() for folder in ("plain", *words_of)]
    assert shards[0] == shards[1] == shards[2]
    names = {
        folder: [one["name"] for one in json.loads(Path(folder, "manifest.json").read_text())["sources"]]
        for folder in words_of
    }
    assert names["streamed"][0].startswith("hub:roneneldan/TinyStories@") and names["stored"] == [
        "data:tinystories_0.001M"
    ]
    assert list(here.glob(f"pylm-cache/data/{SLICE}/*/text_00000.jsonl"))
    # a tokenizer of one's own: what it is trained on is the slice too
    done = pylm.prepare(SLICE, "own", vocab_size=300, val=0, allow_private=True)
    assert done.manifest is not None and done.manifest["splits"]["train"]["documents"] == count
    assert [path for path in here.iterdir() if path.name.startswith(".")] == []


def test_what_is_stored_serves_without_the_network(
    hub: HubServer, here: Path, stories: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tok = pylm.Tokenizer.train("text:the cat sat on a mat", 262)
    pylm.prepare("tinystories", "stored", tokenizer=tok, val=0, store=True, allow_private=True)
    assert list(here.glob("pylm-cache/data/tinystories/*/data/train-00000-of-00001.parquet"))
    hub.seen.clear()
    monkeypatch.setenv("PYLM_OFFLINE", "1")
    assert [document.text for document in source("tinystories")] == stories
    pylm.prepare("tinystories", "again", tokenizer=tok, val=0)
    assert hub.seen == []
    shards = [Path(folder, "train_00000.bin").read_bytes() for folder in ("stored", "again")]
    assert shards[0] == shards[1]


def test_a_share_of_a_cluster_reads_what_its_machine_sees(hub: HubServer) -> None:
    hub.add("org/rows", {"train.jsonl": lines("a")})
    with pytest.raises(UsageError, match="ray= shares the work among machines"):
        pylm.prepare("hub:org/rows", "x", tokenizer=pylm.Tokenizer.train("text:a b", 257), ray="auto")
