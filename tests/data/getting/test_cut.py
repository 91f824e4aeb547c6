"""The beginning of a dataset: its documents in order up to the one that reaches the limit, and not one more."""

import errno
import gzip
import io
import json
import os

import pytest

import pylm
from pylm.data.getting import cut as cutting
from pylm.data.getting import manifest
from pylm.data.getting.parquet_rows import row_of, rows_of_groups
from pylm.errors import DataError, PylmError, UsageError
from pylm.tokenizer import Tokenizer
from tests.data.getting.conftest import LIVEDOOR, japanese, jsonl, livedoor_tar, parquet, texts, wet


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    text = tmp_path_factory.mktemp("tok") / "text.txt"
    text.write_text("\n".join(texts(200, seed=5)))
    return Tokenizer.train([text], 300, progress=None)


def got(name, out=None, **options):
    return pylm.data.get(name, out, allow_private=True, **options)


def lines(made):
    (path,) = made.files
    assert path.name == "text_00000.jsonl"
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def plainly_cut(documents, tokens, count):
    """The rule, as it reads: documents in order, tokens and one end of text each, the one that reaches is last."""
    taken, reached = [], 0
    for document in documents:
        taken.append(document)
        reached += count(document) + 1
        if reached >= tokens:
            break
    return taken, reached


@pytest.fixture
def stories(tinystories):
    return texts(100)


@pytest.mark.parametrize("tokens", [1, 500, 1000, 2000, 3000])
def test_a_slice_ends_with_the_document_that_reaches_it(stories, tokenizer, tokens, tmp_path):
    expected, reached = plainly_cut(stories, tokens, lambda text: len(tokenizer.encode(text)))
    made = got(f"tinystories_{tokens / 1e6:.6f}M", tmp_path / "s", tokenizer=tokenizer)
    assert lines(made) == expected
    assert made.manifest["slice"] == {
        "unit": "tokens", "limit": tokens, "documents": len(expected), "reached": reached,
        "bytes": sum(len(text.encode()) for text in expected), "last": made.manifest["slice"]["last"],
        "counted": f"tokens of {tokenizer.identity}, and an end of text each",
    }  # fmt: skip


def test_the_last_row_is_named(stories, tokenizer, tmp_path):
    made = got("tinystories", tmp_path / "s", limit="40docs")
    sha = made.manifest["sources"][0]["sha"]
    # 25 stories a file, 10 a row group: the 40th is number 14 of the second file
    name = f"hub:roneneldan/TinyStories@{sha}:data/train-00001-of-00004-x.parquet"
    assert made.manifest["slice"]["last"] == {"file": name, "row_group": 1, "row": 4}


@pytest.mark.parametrize("rows", [["a", None, "b", "", "c"], ["a", "", "b", "c"]])
def test_among_rows_without_text_the_place_of_the_last_document_is_said(hub, rows, tmp_path):
    hub.add("roneneldan/TinyStories", {"data/train-0.parquet": parquet(group=3, text=[*rows, "d", "e"])})
    made = got("tinystories", tmp_path / "s", limit="3docs")
    last = made.manifest["slice"]["last"]
    assert lines(made) == ["a", "b", "c"]
    assert {key: last[key] for key in ("at", "row", "further")} == {"at": 0, "row": 0, "further": 2}


@pytest.mark.parametrize("groups", [[7], [3, 3, 1], [1] * 40])
def test_the_rows_of_row_groups_are_those_that_pyarrow_finds(groups):
    pyarrow, written = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {
        "text": ["x"] * sum(groups),
        "n": list(range(sum(groups))),
        "d": [1.5] * sum(groups),
        "b": [True] * sum(groups),
    }
    out = io.BytesIO()
    written.write_table(pyarrow.table(columns), out, row_group_size=groups[0], store_schema=True)
    content = out.getvalue()
    read = written.ParquetFile(out).metadata
    found = rows_of_groups(len(content), lambda start, length: content[start : start + length])
    assert found == [read.row_group(n).num_rows for n in range(read.num_row_groups)] == groups
    assert [row_of(found, n) for n in range(sum(groups))] == [
        (g, r) for g, rows in enumerate(groups) for r in range(rows)
    ]
    with pytest.raises(ValueError, match="no footer"):
        rows_of_groups(9, lambda start, length: b"PAR2" * 3)


@pytest.mark.parametrize("limit", ["1docs", "60docs", "1000B", "3KB"])
def test_limits_of_documents_and_bytes(stories, limit, tmp_path):
    number = {"1docs": 1, "60docs": 60, "1000B": 1000, "3KB": 3000}[limit]
    expected, reached = plainly_cut(stories, number, lambda text: 0 if "docs" in limit else len(text.encode()) - 1)
    made = got("tinystories", tmp_path / "s", limit=limit)
    assert lines(made) == expected and made.manifest["slice"]["reached"] == reached


def test_more_than_there_is_is_said(stories, tmp_path):
    said = []
    assert lines(got("tinystories", tmp_path / "s", limit="1000docs", say=said.append)) == stories
    assert "tinystories has no more than 100 documents: all of it is here" in said


def test_finewebs_own_counts_are_taken_without_tokenizing(hub, tmp_path, monkeypatch):
    documents, counts, halves = texts(40), [7 * n % 11 for n in range(40)], {}
    for n, half in enumerate((slice(20), slice(20, 40))):
        content = parquet(text=documents[half], id=["x"] * 20, token_count=counts[half])
        hub.add("HuggingFaceFW/fineweb", {f"sample/10BT/00{n}_00000.parquet": content, **halves})
        halves[f"sample/10BT/00{n}_00000.parquet"] = content
    monkeypatch.setattr(Tokenizer, "load", lambda *_, **__: pytest.fail("a vocabulary was loaded"))
    made = got("fineweb_0.00015M", tmp_path / "s")
    taken, reached = 0, 0
    while reached < 150:
        reached, taken = reached + counts[taken] + 1, taken + 1
    assert lines(made) == documents[:taken] and made.manifest["slice"]["reached"] == reached
    assert made.manifest["slice"]["counted"] == "tokens by token_count, and an end of text each"


def test_gpt2s_vocabulary_counts_where_nobody_names_another(stories, tokenizer, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Tokenizer, "load", lambda name, offline=None: asked.append((name, offline)) or tokenizer)
    made = got("tinystories_0.0005M", tmp_path / "s")
    assert asked == [("gpt2", None)] and made.manifest["slice"]["counted"].startswith("tokens of gpt2")
    assert lines(made) == plainly_cut(stories, 500, lambda text: len(tokenizer.encode(text)))[0]


def test_only_what_is_needed_is_read(hub, tmp_path):
    big = [text * 40 for text in texts(400)]
    files = {f"data/train-0000{n}.parquet": parquet(group=20, text=big[100 * n : 100 * n + 100]) for n in range(4)}
    hub.add("roneneldan/TinyStories", files)
    got("tinystories", tmp_path / "s", limit="10docs")
    assert hub.sent < 2 * len(files["data/train-00000.parquet"]) + 10_000  # the tail, and the first row groups
    assert not any("train-00001" in path for path in hub.paths())


def test_every_layout_reads_its_text(hub, at, tmp_path):
    some = texts(30)
    zstd = pytest.importorskip("pyarrow").Codec("zstd")
    content = jsonl([{"text": t, "meta": {"pile_set_name": "x"}} for t in some])
    hub.add("monology/pile-uncopyrighted", {"train/00.jsonl.zst": zstd.compress(content, asbytes=True)})
    hub.add("allenai/c4", {"en/c4-train.00000-of-01024.json.gz": gzip.compress(content)})
    hub.add("roneneldan/TinyStories", {"TinyStoriesV2-GPT4-train.txt": "<|endoftext|>".join(some).encode()})
    shards = {"shard_00000.parquet": parquet(text=some), "shard_06542.parquet": parquet(text=["no"])}
    hub.add("karpathy/climbmix-400b-shuffle", shards)
    rows = [{"instruction": "i", "input": "", "output": t} for t in some]
    hub.add("yahma/alpaca-cleaned", {"alpaca_data_cleaned.json": json.dumps(rows).encode()})
    for name in ("pile", "c4", "tinystories-v2", "climbmix", "alpaca-cleaned"):
        assert lines(got(name, tmp_path / name, limit="12docs")) == some[:12], name
    at("livedoor", ("ldcc-20140209.tar.gz", livedoor_tar()))
    assert lines(got("livedoor", tmp_path / "livedoor", limit="9docs")) == LIVEDOOR


def test_of_conversations_it_is_what_is_said(hub, tmp_path, tokenizer):
    talks = [
        [{"role": "user", "content": f"ask {n}"}, {"role": "assistant", "content": f"tell {n}"}] for n in range(30)
    ]
    content = parquet(messages=talks, source=["x"] * 30)
    hub.add("HuggingFaceTB/smoltalk", {"data/all/train-00000-of-00009.parquet": content})
    said = [f"ask {n}\n\ntell {n}" for n in range(30)]
    made = got("smoltalk_0.0001M", tmp_path / "s", tokenizer=tokenizer)
    assert lines(made) == plainly_cut(said, 100, lambda text: len(tokenizer.encode(text)))[0]


def test_a_crawl_is_read_file_by_file(hub, knows, tmp_path):
    from dataclasses import replace

    from pylm.data.catalogue.entries import Fact, all_entries

    pages = texts(6)
    for n in range(3):
        hub.add_plain(f"crawl-data/CC-MAIN-2025-43/{n}.warc.wet.gz", wet(pages[2 * n : 2 * n + 2]))
    listing = gzip.compress(b"".join(b"crawl-data/CC-MAIN-2025-43/%d.warc.wet.gz\n" % n for n in range(3)))
    hub.add_plain("crawl-data/CC-MAIN-2025-43/wet.paths.gz", listing)
    (part,) = all_entries()["commoncrawl"].parts
    base = f"{hub.url}/files/"
    knows("commoncrawl", parts=(replace(part, paths=Fact(base + "crawl-data/{config}/wet.paths.gz"), base=base),))
    assert lines(got("commoncrawl", tmp_path / "c", limit="3docs")) == pages[:3]
    assert any("1.warc" in path for path in hub.paths()) and not any("2.warc" in path for path in hub.paths())
    hub.add_plain("crawl-data/CC-MAIN-2025-43/wet.paths.gz", b"no gzip")
    with pytest.raises(DataError, match="is no packed list of paths"):
        got("commoncrawl", tmp_path / "d", limit="3docs")


def test_nue_counts_its_languages(hub, at, tmp_path, tokenizer):
    ja, en = japanese(12), texts(15)
    hub.add("wikimedia/wikipedia", {
        "20231101.ja/train-00000-of-00001.parquet": parquet(id=["1"] * 12, text=ja),
        "20231101.en/train-00000-of-00001.parquet": parquet(id=["1"] * 15, text=en)})  # fmt: skip
    at("livedoor", ("ldcc-20140209.tar.gz", livedoor_tar()))
    of = {"ja": ja + LIVEDOOR, "en": en}
    expected = {
        language: {"documents": len(some), "lines": sum(len([1 for x in t.split("\n") if x.strip()]) for t in some),
                   "bytes": sum(len(t.encode()) for t in some)}
        for language, some in of.items()
    }  # fmt: skip
    said = []
    whole = got("nue", tmp_path / "nue", say=said.append)
    assert whole.manifest["counts"] == expected
    assert {file["path"].split("/")[0] for file in whole.manifest["files"]} == {
        "wikipedia-20231101.ja", "wikipedia-20231101.en", "livedoor"}  # fmt: skip
    assert any(line.startswith("ja: 14 documents, ") and line.endswith("% of the text") for line in said)
    cut = got("nue", tmp_path / "cut", limit="100docs")
    assert lines(cut) == ja + en + LIVEDOOR and cut.manifest["counts"] == expected
    few = got("nue_0.0001M", tmp_path / "few", tokenizer=tokenizer)
    assert lines(few) == plainly_cut(ja + en + LIVEDOOR, 100, lambda text: len(tokenizer.encode(text)))[0]


@pytest.mark.parametrize("batches_before", [0, 1, 3])
def test_an_interrupted_cut_goes_on_and_ends_with_the_same_bytes(stories, tmp_path, monkeypatch, batches_before):
    whole = got("tinystories", tmp_path / "whole", limit="90docs")
    seen = []

    def interrupt(done, *_, **__):
        seen.append(done)
        if len(seen) > batches_before:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        got("tinystories", tmp_path / "cut", limit="90docs", progress=interrupt)
    assert not (tmp_path / "cut" / "text_00000.jsonl").exists()
    left = (tmp_path / "cut" / "text_00000.jsonl.part").stat().st_size
    begun = []
    real = cutting.batches
    monkeypatch.setattr(cutting, "batches", lambda *a, **k: begun.append(k["start"]) or real(*a, **k))
    again = got("tinystories", tmp_path / "cut", limit="90docs")
    assert left > 0 and all(start != (0, None) for start in begun[:1])
    assert again.files[0].read_bytes() == whole.files[0].read_bytes()
    assert again.manifest["slice"] == whole.manifest["slice"]
    assert sorted(path.name for path in again.folder.iterdir()) == ["dataset.json", "text_00000.jsonl"]


def test_what_was_killed_at_its_end_gets_nothing_more(stories, tmp_path):
    def interrupt(done, *_, **__):
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        got("tinystories", tmp_path / "cut", limit="30docs", progress=interrupt)
    assert lines(got("tinystories", tmp_path / "cut", limit="30docs")) == stories[:30]


def test_what_a_kill_left_is_cut_back_to_what_was_saved(stories, tmp_path):
    whole = got("tinystories", tmp_path / "whole", limit="90docs")

    def interrupt(done, *_, **__):
        if done >= 50:
            raise KeyboardInterrupt

    part = tmp_path / "cut" / "text_00000.jsonl.part"
    for left in (b'{"text": "half of a li', b""):
        with pytest.raises(KeyboardInterrupt):
            got("tinystories", tmp_path / "cut", limit="90docs", progress=interrupt)
        with part.open("ab") as file:
            file.write(left)
    assert got("tinystories", tmp_path / "cut", limit="90docs").files[0].read_bytes() == whole.files[0].read_bytes()
    for number, damaged in enumerate(
        (lambda text: '{"half": ', lambda text: text.replace('"written": ', '"written": -'))
    ):
        again = tmp_path / f"again{number}"
        with pytest.raises(KeyboardInterrupt):
            got("tinystories", again, limit="90docs", progress=interrupt)
        state = again / "text_00000.jsonl.part.json"
        state.write_text(damaged(state.read_text()))
        assert got("tinystories", again, limit="90docs").files[0].read_bytes() == whole.files[0].read_bytes()


def test_what_was_killed_before_its_manifest_is_not_cut_again(stories, tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(manifest, "write", die)
        with pytest.raises(KeyboardInterrupt):
            got("tinystories", tmp_path / "cut", limit="30docs")
    monkeypatch.setattr(cutting, "batches", lambda *_, **__: pytest.fail("it was read again"))
    assert lines(got("tinystories", tmp_path / "cut", limit="30docs")) == stories[:30]
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["dataset.json", "text_00000.jsonl"]


def test_somebody_elses_file_is_not_overwritten(stories, tmp_path):
    (tmp_path / "text_00000.jsonl").write_text("mine")
    with pytest.raises(DataError, match="is there, and is something else"):
        got("tinystories", tmp_path, limit="30docs")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["text_00000.jsonl"]
    made = got("tinystories", tmp_path / "x", limit="3docs")
    made.files[0].write_text("edited")
    with pytest.raises(DataError, match="is there, and is something else"):
        got("tinystories", tmp_path / "x", limit="3docs")
    assert made.files[0].read_text() == "edited"


def test_two_do_not_write_one_slice(stories, tmp_path):
    import fcntl

    (tmp_path / "cut").mkdir()
    with (tmp_path / "cut" / "text_00000.jsonl.part").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process writes"):
            got("tinystories", tmp_path / "cut", limit="3docs")
    assert lines(got("tinystories", tmp_path / "cut", limit="3docs")) == stories[:3]


def test_a_disk_that_gets_full_is_said_and_what_is_there_is_gone_on_with(stories, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=f"the disk of {tmp_path} is full: tinystories is not whole"):
            got("tinystories", tmp_path, limit="30docs")
    assert lines(got("tinystories", tmp_path, limit="30docs")) == stories[:30]


def test_a_slice_that_another_process_has_just_finished_is_left_alone(stories, tmp_path, monkeypatch):
    import fcntl

    def finish(*_):
        (tmp_path / "text_00000.jsonl.part").rename(tmp_path / "text_00000.jsonl")

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", finish)
        with pytest.raises(DataError, match="another process writes"):
            got("tinystories", tmp_path, limit="3docs")
    assert (tmp_path / "text_00000.jsonl").read_bytes() == b""


def test_what_was_left_of_another_request_is_begun_anew(stories, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        got("tinystories", tmp_path / "cut", limit="90docs", progress=interrupt)
    assert lines(got("tinystories", tmp_path / "cut", limit="3docs")) == stories[:3]


def test_a_slice_is_found_where_it_is(stories, hub, tmp_path):
    made = got("tinystories", limit="30docs")
    assert made.folder.parent.name == "tinystories_30documents"
    assert got("tinystories", limit="30docs").was_here
    assert not got("tinystories", limit="31docs").was_here
    with pytest.raises(DataError, match="holds tinystories already with another"):
        got("tinystories", made.folder, limit="29docs")


def test_stored_files_serve_the_next_slice_without_the_network(stories, hub, tokenizer, tmp_path):
    slice_ = plainly_cut(stories, 1900, lambda text: len(tokenizer.encode(text)))[0]
    assert 25 < len(slice_) <= 50 and lines(got("tinystories_0.0019M", store=True, tokenizer=tokenizer)) == slice_
    sha = hub.repositories["dataset", "roneneldan/TinyStories"].branches["main"][:12]
    kept = tmp_path / "pylm-cache" / "data" / "tinystories" / sha / "data"
    assert [path.name for path in sorted(kept.iterdir())] == [f"train-0000{n}-of-00004-x.parquet" for n in (0, 1)]
    assert lines(got("tinystories", tmp_path / "b", limit="40docs", store=True, offline=True)) == stories[:40]
    assert lines(got("tinystories", tmp_path / "c", limit="45docs", offline=True)) == stories[:45]


def test_a_slice_of_what_is_here_needs_no_network(stories, hub, tmp_path):
    got("tinystories")
    sent = hub.sent
    assert lines(got("tinystories", tmp_path / "b", limit="40docs")) == stories[:40]
    assert lines(got("tinystories", tmp_path / "c", limit="40docs", offline=True)) == stories[:40]
    assert hub.sent - sent < 1000


def test_what_came_from_an_address_is_cut_without_the_network(at, hub, tmp_path):
    at("livedoor", ("ldcc-20140209.tar.gz", livedoor_tar()))
    with pytest.raises(DataError, match="network is not to be used"):
        got("livedoor", tmp_path / "a", limit="1docs", offline=True)
    got("livedoor")
    assert lines(got("livedoor", tmp_path / "b", limit="1docs", offline=True)) == LIVEDOOR[:1]


def test_a_missing_column_names_those_there_are(hub, tmp_path):
    hub.add("org/name", {"train.parquet": parquet(body=texts(3))})
    with pytest.raises(PylmError, match="text") as caught:
        got("hub:org/name", tmp_path / "x", limit="2docs")
    assert "body" in f"{caught.value.message} {caught.value.hint}"
    with pytest.raises(PylmError) as caught:
        got("hub:org/name:::none", tmp_path / "x", limit="2docs")
    assert caught.value.hint == "name one as hub:ORG/NAME:::COLUMN; it has: body"
    assert lines(got("hub:org/name:::body", tmp_path / "y", limit="2docs")) == texts(3)[:2]


def test_other_peoples_datasets_are_cut_too(hub, tmp_path):
    train, test = jsonl([{"text": t} for t in texts(5)]), jsonl([{"text": "no"}])
    hub.add("org/name", {"data/train-0.jsonl": train, "data/test-0.jsonl": test, "README.md": b"a card"})
    assert lines(got("hub:org/name", tmp_path / "x", limit="9docs")) == texts(5)
    assert lines(got("hub:org/name::test", tmp_path / "y", limit="9docs")) == ["no"]
    url = hub.add_plain("x.jsonl", jsonl([{"text": t} for t in texts(5)]))
    assert lines(got(url, tmp_path / "z", limit="2docs")) == texts(5)[:2]


def test_options_without_use_are_refused(stories, tokenizer):
    with pytest.raises(UsageError, match="fetches files whole"):
        got("tinystories", limit="3docs", xet=True)
    with pytest.raises(UsageError, match="counts a slice"):
        got("tinystories", limit="3docs", tokenizer=tokenizer)
    with pytest.raises(UsageError, match="a limit is not"):
        got("tinystories", limit="many")
