"""All of a dataset: its files as they were published, at their own paths, on terms that were read before."""

import hashlib
import json
import os
import shutil
import threading
from dataclasses import replace

import pytest

import pylm
from pylm.data import catalogue
from pylm.data.catalogue.entries import Fact
from pylm.data.getting import foreseen, manifest
from pylm.errors import DataError, PylmError, UsageError
from tests.data.getting.conftest import jsonl, livedoor_tar, parquet, texts


def got(name, out=None, **options):
    return pylm.data.get(name, out, allow_private=True, **options)


def files_below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_published_files_lie_at_their_own_paths_with_a_manifest(tinystories, tmp_path):
    said = []
    made = got("tinystories", tmp_path / "ts", say=said.append)
    there = files_below(tmp_path / "ts")
    manifest = json.loads(there.pop("dataset.json"))
    assert there == tinystories
    assert made.files == [tmp_path / "ts" / path for path in tinystories] and not made.was_here
    assert manifest == made.manifest
    for listed, (path, content) in zip(manifest["files"], tinystories.items(), strict=True):
        assert (listed["path"], listed["size"]) == (path, len(content))
        by_git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        assert listed.get("sha256", hashlib.sha256(content).hexdigest()) == hashlib.sha256(content).hexdigest()
        assert listed.get("git_sha1", by_git) == by_git and len({"sha256", "git_sha1"} & set(listed)) == 1
    (source,) = manifest["sources"]
    assert source["where"] == f"hub:roneneldan/TinyStories@{source['sha']}" and len(source["sha"]) == 40
    assert manifest["licence"] == "CDLA-Sharing-1.0" and manifest["name"] == "tinystories"
    assert "tinystories: CDLA-Sharing-1.0" in said and any("Eldan" in line for line in said)


def test_without_a_folder_it_goes_to_the_cache_and_is_found_there(tinystories, hub, tmp_path):
    made = got("tinystories")
    sha = made.manifest["sources"][0]["sha"]
    assert made.folder == tmp_path / "pylm-cache" / "data" / "tinystories" / sha[:12]
    asked = len(hub.seen)
    again = got("tinystories")
    assert again.was_here and again.manifest == made.manifest
    assert len(hub.seen) == asked + 1  # where the branch is, and nothing else
    assert got("tinystories", offline=True).was_here and got("tinystories", revision=sha).manifest["files"]
    copies = catalogue.here.copies([catalogue.dataset("tinystories")])["tinystories"]
    assert [copy.folder for copy in copies] == [made.folder]


def test_what_is_pinned_is_found_without_asking_anybody(tinystories, hub):
    sha = hub.repositories["dataset", "roneneldan/TinyStories"].branches["main"]
    got("tinystories", revision=sha)
    asked = len(hub.seen)
    assert got("tinystories", revision=sha).was_here
    assert len(hub.seen) == asked


def test_what_is_made_of_pinned_datasets_is_found_without_asking_anybody(tinystories, hub, knows, at):
    sha = hub.repositories["dataset", "roneneldan/TinyStories"].branches["main"]
    (part,) = catalogue.dataset("tinystories").parts
    at("copa", ("copa.jsonl", b"{}"), sha256=Fact(None))
    knows("core", of=("tinystories", "copa"))
    got("core")
    asked = len(hub.seen)
    assert got("core").was_here and len(hub.seen) > asked  # a branch may have moved
    knows("tinystories", parts=(replace(part, revision=Fact(sha)),))
    asked = len(hub.seen)
    assert got("core").was_here and len(hub.seen) == asked


def test_a_split_is_only_that(tinystories, tmp_path):
    assert list(files_below(got("tinystories::validation", tmp_path / "v").folder)) != []
    assert [path.name for path in got("tinystories::validation").files] == ["validation-00000-of-00001-x.parquet"]


def test_a_second_copy_comes_from_the_cache(tinystories, hub, tmp_path):
    got("tinystories")
    sent = hub.sent
    there = files_below(got("tinystories", tmp_path / "copy").folder)
    there.pop("dataset.json")
    assert there == tinystories
    assert hub.sent - sent < 1000  # a listing, and no file


def test_an_interrupted_download_goes_on_and_ends_with_the_same_bytes(tinystories, hub, tmp_path):
    hub.fault("resolve", status=404, times=-1)
    fault = hub.faults[-1]
    fault.match = "train-00002"
    with pytest.raises(DataError):
        got("tinystories", tmp_path / "ts")
    assert not (tmp_path / "ts" / "dataset.json").exists()
    hub.faults.clear()
    there = files_below(got("tinystories", tmp_path / "ts").folder)
    there.pop("dataset.json")
    assert there == tinystories


def test_a_lost_file_is_fetched_again(tinystories, tmp_path):
    made = got("tinystories", tmp_path / "ts")
    made.files[1].unlink()
    assert not got("tinystories", tmp_path / "ts").was_here
    assert made.files[1].read_bytes() == tinystories["data/train-00001-of-00004-x.parquet"]


def test_a_folder_of_something_else_is_left_alone(tinystories, hub, tmp_path):
    hub.add("HuggingFaceTB/cosmopedia", {"data/wikihow/train-00000-of-00001.parquet": parquet(text=texts(3))})
    got("cosmopedia", tmp_path / "x")
    with pytest.raises(DataError, match="holds cosmopedia already") as caught:
        got("tinystories", tmp_path / "x")
    assert "out=" in caught.value.hint
    for damaged in (
        "{",
        '{"files": [1], "request": {}}',
        '{"files": [{}], "request": {}, "name": "", "revisions": []}',
    ):
        (tmp_path / "x" / "dataset.json").write_text(damaged)
        with pytest.raises(DataError, match="damaged"):
            got("tinystories", tmp_path / "x")


def test_much_is_asked_about_or_agreed_to(tinystories, tmp_path, monkeypatch):
    monkeypatch.setattr(foreseen, "LARGE", 1000)
    with pytest.raises(UsageError, match="nobody is here to ask") as caught:
        got("tinystories", tmp_path / "ts")
    assert "yes=True" in caught.value.hint and not (tmp_path / "ts").exists()
    asked = []
    with pytest.raises(PylmError, match="was not fetched"):
        got("tinystories", tmp_path / "ts", ask=lambda text: asked.append(text) or False)
    assert len(asked) == 1 and "kB: fetch it?" in asked[0]
    assert got("tinystories", tmp_path / "ts", ask=lambda text: True).files
    assert got("tinystories", tmp_path / "ts2", yes=True).files


def test_a_full_disk_is_said_before_the_download(tinystories, hub, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DataError, match="needs .* more, and the disk of .* has 1 kB left"):
        got("tinystories", tmp_path / "ts")
    assert not any("resolve" in path for path in hub.paths())


def test_configurations_choose_folders_and_the_nearest_is_suggested(hub, tmp_path):
    content = parquet(text=texts(3))
    hub.add(
        "wikimedia/wikipedia",
        {f"2023110{d}.{lang}/train-00000-of-00001.parquet": content for d in (1, 2) for lang in ("ja", "en")},
    )
    paths = lambda name: [path.parent.name for path in got(name).files]  # noqa: E731
    assert paths("wikipedia:ja") == ["20231101.ja"] and paths("wikipedia:20231102.en") == ["20231102.en"]
    assert paths("wikipedia") == ["20231101.en"]
    with pytest.raises(DataError, match="has no files of wikipedia:20231101.jaa") as caught:
        got("wikipedia:20231101.jaa")
    assert "20231101.ja" in caught.value.hint


def test_fineweb_by_sample_by_crawl_and_by_language(hub):
    content = parquet(text=texts(3))
    hub.add("HuggingFaceFW/fineweb", {path: content for path in (
        "sample/10BT/000_00000.parquet", "sample/100BT/000_00000.parquet",
        "data/CC-MAIN-2024-10/000_00000.parquet", "data/CC-MAIN-2024-18/000_00000.parquet")})  # fmt: skip
    hub.add("HuggingFaceFW/fineweb-2", {path: content for path in (
        "data/jpn_Jpan/train/000_00000.parquet", "data/jpn_Jpan/test/000_00000.parquet",
        "data/jpn_Jpan_removed/train/000_00000.parquet")})  # fmt: skip
    paths = lambda name: [file["path"] for file in got(name).manifest["files"]]  # noqa: E731
    assert paths("fineweb") == ["sample/10BT/000_00000.parquet"]
    assert paths("fineweb:CC-MAIN-2024-18") == ["data/CC-MAIN-2024-18/000_00000.parquet"]
    assert paths("fineweb:default") == [f"data/CC-MAIN-2024-{w}/000_00000.parquet" for w in (10, 18)]
    assert paths("fineweb-2:jpn_Jpan") == [
        "data/jpn_Jpan/train/000_00000.parquet",
        "data/jpn_Jpan/test/000_00000.parquet",
    ]
    assert paths("fineweb-2:jpn_Jpan:test") == ["data/jpn_Jpan/test/000_00000.parquet"]


def test_the_other_layouts(hub):
    for repository, path in {
        "Skylion007/openwebtext": "data/train-00000-of-00080.parquet",
        "karpathy/climbmix-400b-shuffle": "shard_00000.parquet",
        "allenai/c4": "en/c4-train.00000-of-01024.json.gz",
        "monology/pile-uncopyrighted": "train/00.jsonl.zst",
        "HuggingFaceTB/smoltalk": "data/all/train-00000-of-00009.parquet",
        "yahma/alpaca-cleaned": "alpaca_data_cleaned.json",
    }.items():
        others = ("shard_06542.parquet", "multilingual/c4-ja.tfrecord-00000-of-01024.json.gz", "val.jsonl.zst",
                  "multilingual/c4-ja-validation.tfrecord-00000-of-00008.json.gz")  # fmt: skip
        hub.add(repository, {path: b"content", ".gitattributes": b"", **dict.fromkeys(others, b"other")})
    paths = lambda name: [file["path"] for file in got(name).manifest["files"]]  # noqa: E731
    assert paths("openwebtext") == ["data/train-00000-of-00080.parquet"]
    assert paths("climbmix") == ["shard_00000.parquet", "shard_06542.parquet"]
    assert paths("climbmix::train") == ["shard_00000.parquet"]
    assert paths("c4") == ["en/c4-train.00000-of-01024.json.gz"]
    assert paths("c4:ja:train") == ["multilingual/c4-ja.tfrecord-00000-of-01024.json.gz"]
    assert paths("pile") == ["train/00.jsonl.zst", "val.jsonl.zst"]
    assert paths("smoltalk") == ["data/all/train-00000-of-00009.parquet"]
    assert paths("alpaca-cleaned") == ["alpaca_data_cleaned.json"]


def test_terms_are_said_before_anything_is_fetched(at, hub):
    at("livedoor", ("ldcc-20140209.tar.gz", livedoor_tar()))
    said = []
    made = got("livedoor", say=lambda line: said.append((line, hub.sent)))
    assert any("no derivatives" in line and sent < 100 for line, sent in said)
    (path,) = made.files
    assert path.name == "ldcc-20140209.tar.gz" and path.read_bytes() == livedoor_tar()
    assert made.manifest["files"][0]["sha256"] == hashlib.sha256(livedoor_tar()).hexdigest()


def test_evaluation_sets_are_checked_against_their_published_hash(at, hub, knows):
    content = jsonl([{"query": "q", "choices": ["a", "b"], "gold": 0}])
    at("arc_easy", ("arc_easy.jsonl", content), sha256=Fact([hashlib.sha256(content).hexdigest()]))
    assert got("arc_easy").files[0].read_bytes() == content
    at("copa", ("copa.jsonl", content), sha256=Fact(["0" * 64]))
    with pytest.raises(DataError, match="came with another content.*0000"):
        got("copa")
    at(
        "hellaswag",
        ("val.jsonl", content),
        git_sha1=Fact([hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()]),
    )
    assert "git_sha1" in got("hellaswag").manifest["files"][0]
    with pytest.raises(UsageError, match="arc_easy is no text to train on"):
        got("arc_easy", limit="10docs")


def test_a_group_has_a_folder_for_each(at, hub, knows, tmp_path):
    at("arc_easy", ("arc_easy.jsonl", b"{}"), sha256=Fact(None))
    at("copa", ("copa.jsonl", b"[]"), sha256=Fact(None))
    knows("core", of=("arc_easy", "copa"))
    made = got("core", tmp_path / "core")
    assert [file["path"] for file in made.manifest["files"]] == ["arc_easy/arc_easy.jsonl", "copa/copa.jsonl"]
    assert got("core", tmp_path / "core").was_here


@pytest.fixture
def shards(hub):
    """Three shards of llm.c's form whose documents go on from one to the next; and their training tokens in a row."""
    numpy = pytest.importorskip("numpy")
    header, files, row = numpy.zeros(256, "<i4"), {}, []
    for name, seed in (("fineweb_val_000000.bin", 1), ("fineweb_train_000001.bin", 2), ("fineweb_train_000002.bin", 3)):
        drawn = numpy.random.default_rng(seed)
        tokens = numpy.where(drawn.random(5000) < 0.005, 50256, drawn.integers(0, 50256, 5000)).astype("<u2")
        tokens[0] = tokens[0] if "000002" in name else 50256
        header[:3] = 20240520, 1, len(tokens)
        files[name] = header.tobytes() + tokens.tobytes()
        row += tokens.tolist() if "train" in name else []
    hub.add("kjj0/fineweb10B-gpt2", files)
    return row


def test_shards_made_ready_are_a_folder_that_training_takes(shards, tmp_path):
    made = got("fineweb10B-gpt2", tmp_path / "shards")
    loader = pylm.data.Loader(str(made.folder), 32, 4, split="train", seed=1)
    assert loader.tokens == 10_000
    assert next(iter(loader)).inputs.shape == (4, 32)


@pytest.mark.parametrize("tokens", [1, 1234, 4999, 5000, 5001, 9000, 20_000])
def test_a_slice_of_shards_ends_before_the_next_document(shards, tokens, tmp_path):
    numpy = pytest.importorskip("numpy")
    made = got(f"fineweb10B-gpt2_{tokens / 1e6:.6f}M", tmp_path / "s")
    kept = [numpy.frombuffer(path.read_bytes()[1024:], "<u2").tolist() for path in made.files]
    borders = [at for at, token in enumerate(shards) if token == 50256 and at >= tokens]
    expected = shards[: borders[0]] if borders else shards
    assert sum(kept, []) == expected and made.manifest["slice"]["reached"] == len(expected)
    assert [int.from_bytes(path.read_bytes()[8:12], "little") for path in made.files] == [len(part) for part in kept]
    assert pylm.data.Loader(str(made.folder), 1, 1, split="train").tokens >= len(expected) - 1
    made.files[-1].write_bytes(b"mine")
    with pytest.raises(DataError, match="is there, and is something else|is another file than"):
        got(f"fineweb10B-gpt2_{tokens / 1e6:.6f}M", tmp_path / "s")
    with pytest.raises(UsageError, match="is tokens, and 3docs is none"):
        got("fineweb10B-gpt2", limit="3docs")


def test_any_repository_and_any_address(hub, tmp_path):
    files = {
        "data/train-00000.jsonl": jsonl([{"text": "a"}]),
        "data/test.jsonl": jsonl([{"text": "b"}]),
        "README.md": b"card",
    }
    sha = hub.add("org/name", files)
    assert [file["path"] for file in got("hub:org/name").manifest["files"]] == sorted(files)
    made = got(f"hub:org/name@{sha}")
    assert made.manifest["sources"][0]["sha"] == sha
    url = hub.add_plain("a b.txt", b"text")
    assert got(url, tmp_path / "url").files[0].read_bytes() == b"text"


def test_without_the_network_what_is_not_here_is_said(tinystories, hub):
    with pytest.raises(DataError, match="network is not to be used"):
        got("tinystories", offline=True)
    assert not hub.seen


def test_options_without_use_are_refused(tinystories):
    with pytest.raises(UsageError, match="keeps what a slice is cut from"):
        got("tinystories", store=True)
    with pytest.raises(UsageError, match="is a slice, and limit="):
        got("tinystories_10M", limit="1GB")
    with pytest.raises(UsageError, match="has no revision"):
        got("nue", revision="main")
    with pytest.raises(UsageError, match="there is no dataset tinystores") as caught:
        got("tinystores")
    assert "did you mean tinystories" in caught.value.hint


def test_a_home_that_is_none_asks_for_a_folder(tinystories, monkeypatch):
    monkeypatch.delenv("PYLM_CACHE")
    monkeypatch.setattr("pylm.data.getting.call.datasets_folder", lambda: None)
    with pytest.raises(UsageError, match="no home"):
        got("tinystories")
    assert os.environ.get("PYLM_CACHE") is None


@pytest.mark.parametrize("names", [["dataset.json"], ["a.jsonl", "a.jsonl.part"], ["a", "a.part.json"]])
def test_a_published_file_is_not_written_over_by_one_of_pylms(names, hub, tmp_path):
    hub.add("org/name", {name: jsonl([{"text": name}]) for name in names})
    with pytest.raises(DataError, match=f"{names[-1]} has a name that pylm gives"):
        got("hub:org/name", tmp_path / "out")
    assert files_below(tmp_path) == {
        path: content for path, content in files_below(tmp_path).items() if path.startswith("pylm-cache/hub")
    }


def test_the_signature_of_an_address_is_stored_and_said_nowhere(hub, tmp_path):
    url, said = hub.add_plain("a.txt", b"text"), []
    for secret in ("SECRET1", "SECRET2"):  # two addresses, whose contents may differ
        made = got(f"{url}?part=3&sig={secret}", say=said.append)
        assert not made.was_here and got(f"{url}?part=3&sig={secret}").was_here
        stored = [str(path) + path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
        assert not any("SECRET" in text for text in [*said, *stored, repr(made)])
        assert "part=3" in made.name


def kept_by_huggingface_hub(folder, name, sha, files):
    snapshot = folder / f"datasets--{name.replace('/', '--')}"
    for path, content in {**{f"snapshots/{sha}/{path}": files[path] for path in files}, "refs/main": sha}.items():
        (snapshot / path).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / path).write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("out", [None, "out"])
def test_what_huggingface_hub_has_kept_is_not_taken_for_all_there_is(out, hub, tmp_path):
    files = {f"{name}.jsonl": jsonl([{"text": name}]) for name in "abc"}
    sha = hub.add("org/name", files)
    kept_by_huggingface_hub(tmp_path / "hf-cache", "org/name", sha, {"b.jsonl": files["b.jsonl"]})
    said, out = [], out and tmp_path / out
    made = got("hub:org/name", out, offline=True, say=said.append)
    assert [path.name for path in made.files] == ["b.jsonl"] and "all of it" in " ".join(said)
    assert got("hub:org/name", out, offline=True).was_here
    whole = got("hub:org/name", out)
    assert not whole.was_here and [path.name for path in whole.files] == sorted(files)
    assert got("hub:org/name", out).was_here and len(got("hub:org/name", out, offline=True).files) == 3


@pytest.mark.parametrize("limit", [None, "1docs"])
def test_of_numbered_files_all_have_to_be_here(limit, tinystories, hub, tmp_path):
    sha, out = hub.add("org/name", tinystories), tmp_path / "out"
    path = "data/train-00002-of-00004-x.parquet"
    kept_by_huggingface_hub(tmp_path / "hf-cache", "org/name", sha, {path: tinystories[path]})
    with pytest.raises(DataError, match=r"has 4 files data/train-…-of-00004-x.parquet, and 1 of them are here"):
        got("hub:org/name", out, offline=True, limit=limit)
    assert not out.exists()


def test_two_that_end_at_once_write_one_manifest(tmp_path):
    errors = []

    def write():
        try:
            for _ in range(50):
                manifest.write(tmp_path, {"files": []})
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and [path.name for path in tmp_path.iterdir()] == ["dataset.json"]


def test_a_revision_is_named_once(hub):
    hub.add("org/name", {"a.txt": b"a"})
    with pytest.raises(UsageError, match='hub:org/name@main names a revision, and so does revision="other"'):
        got("hub:org/name@main", revision="other")
    assert not hub.seen
