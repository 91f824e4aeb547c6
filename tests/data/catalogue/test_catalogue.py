"""The catalogue: every fact has its day or says that nobody could check, and names choose what they say."""

import datetime
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from pylm.data import catalogue
from pylm.data.catalogue import here
from pylm.data.catalogue.entries import FILE, Fact
from pylm.data.fetching.huggingface_cache import huggingface_cache_folder
from pylm.errors import UsageError

WRITTEN = json.loads(FILE.read_text(encoding="utf-8"))
PROMISED = (
    "tinystories tinystories-v2 openwebtext fineweb fineweb-edu fineweb-2 fineweb10B-gpt2 climbmix c4 wikipedia pile "
    "commoncrawl livedoor nue cosmopedia smoltalk alpaca-cleaned fineweb2-rules"
).split()
FACTS = {"licence", "size", "documents", "columns", "revision", "files", "urls", "paths", "sha256", "git_sha1"}
OURS = {
    "title",
    "kind",
    "config",
    "parts",
    "of",
    "reading",
    "rule",
    "token_count",
    "terms",
    "attribution",
    "note",
    "language",
}


def test_everything_promised_is_there():
    assert set(PROMISED) <= set(catalogue.names())


@pytest.mark.parametrize("name", WRITTEN)
def test_every_fact_says_when_it_was_seen(name):
    written = WRITTEN[name]
    places = [written, *written.get("parts", [])]
    for place in places:
        for key, value in place.items():
            if key in FACTS | {"file_size"}:
                assert set(value) == {"value", "verified"}, key
                if value["verified"] is not None:
                    assert datetime.date.fromisoformat(value["verified"]) >= datetime.date(2026, 11, 29)
            else:
                assert key in OURS | {"repository", "base", "names"}, key
    for key in ("licence", "size", "documents", "columns"):
        assert key in written
    assert bool(written.get("parts")) != bool(written.get("of"))


@pytest.mark.parametrize("name", WRITTEN)
def test_every_entry_can_be_used(name):
    known = catalogue.dataset(name)
    chosen = catalogue.entry(name if not known.configs else f"{name}:{known.configs[0]}")
    assert chosen.read_split == known.splits[0]
    for part in known.parts:
        assert sum(place is not None for place in (part.repository, part.urls.value, part.paths.value)) == 1
        for rules in (part.files.value or {}).values():
            for pattern, glob in rules:
                match = re.fullmatch(pattern, chosen.config) or re.search(pattern, chosen.config)
                assert match is None or "\\" not in match.expand(glob)
        for fact in (part.sha256, part.git_sha1):
            assert fact.value is None or len(fact.value) == len(part.urls.value)
    for other in known.of:
        assert catalogue.entry(other).parts


def test_pins_are_commits_or_are_not_verified():
    for name in catalogue.names():
        for part in catalogue.dataset(name).parts:
            if part.repository is not None:
                is_commit = re.fullmatch(r"[0-9a-f]{40}", part.revision.value) is not None
                assert is_commit == (part.revision.verified is not None), name


@pytest.mark.parametrize(
    ("name", "config", "split", "tokens"),
    [
        ("tinystories", "", "train", None),
        ("tinystories_10M", "", "train", 10_000_000),
        ("tinystories_2.5M", "", "train", 2_500_000),
        ("fineweb_1B", "sample-10BT", "train", 1_000_000_000),
        ("data:wikipedia:ja_100M", "ja", "train", 100_000_000),
        ("fineweb-2:jpn_Jpan:test", "jpn_Jpan", "test", None),
        ("fineweb-2:jpn_Jpan_10M", "jpn_Jpan", "train", 10_000_000),
        ("arc_easy", "", "train", None),
        ("tinystories::validation", "", "validation", None),
        ("c4::validation_10M", "en", "validation", 10_000_000),
        ("fineweb:CC-MAIN-2024-10_1M", "CC-MAIN-2024-10", "train", 1_000_000),
        ("mmlu", "all", "test", None),
    ],
)
def test_a_name_chooses_configuration_split_and_slice(name, config, split, tokens):
    found = catalogue.entry(name)
    assert (found.config, found.read_split, found.tokens) == (config, split, tokens)
    assert catalogue.is_known(name)
    assert catalogue.entry(found.full_name) == found


@pytest.mark.parametrize("name", ["tinystores", "my.txt", "data/x", "hub:a/b", "tinystories_10K"])
def test_other_texts_are_no_names(name):
    assert not catalogue.is_known(name)


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("tinystores_10M", "there is no dataset tinystores", "did you mean tinystories"),
        ("zzz", "there is no dataset zzz", "pylm data list"),
        ("fineweb-2", "fineweb-2 is taken by language", "fineweb-2:jpn_Jpan"),
        ("c4:en:vaildation", "c4 has no split vaildation", "validation"),
        ("pile:x", "pile has no configurations, and x names one", "name it pile"),
        ("arc_easy_10M", "arc_easy is no text to train on, and has no slices", "name it arc_easy"),
        ("tinystories_0M", "a slice of no tokens holds nothing", "tinystories_10M"),
        ("c4:en:train:x", "c4:en:train:x has too many parts", "c4[:CONFIG[:SPLIT]][_10M]"),
    ],
)
def test_a_wrong_name_is_answered(name, said, hint):
    with pytest.raises(UsageError) as caught:
        catalogue.entry(name)
    assert caught.value.message == said and hint in (caught.value.hint or "")


def test_terms_of_what_it_is_made_of_are_its_own():
    assert any("no derivatives" in term for term in catalogue.all_terms(catalogue.entry("nue")))
    assert any("not for commercial use" in term for term in catalogue.all_terms(catalogue.entry("alpaca-cleaned")))


def test_facts_that_the_file_leaves_out_are_not_known():
    assert Fact.of(None) == Fact(None, None)
    assert {field.name for field in fields(Fact)} == {"value", "verified"}


def in_hub_cache(folder: Path, repository: str, sha: str, files: dict[str, bytes]) -> None:
    """Lay files out as huggingface_hub does: blobs, and links to them in the snapshot."""
    home = folder / f"datasets--{repository.replace('/', '--')}"
    for path, content in files.items():
        blob = home / "blobs" / path.replace("/", "_")
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link = home / "snapshots" / sha / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)


def test_copies_are_found_in_both_caches(tmp_path, monkeypatch):
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "ours"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "theirs"))
    sha = "0123456789" * 4
    in_hub_cache(tmp_path / "theirs", "roneneldan/TinyStories", sha, {
        "data/train-00000-of-00004-x.parquet": b"12345", "README.md": b"no text", "TinyStoriesV2-GPT4-valid.txt": b"12",
    })  # fmt: skip
    (
        tmp_path / "theirs" / "datasets--roneneldan--TinyStories" / "snapshots" / sha / "data" / "train-1.parquet"
    ).symlink_to(tmp_path / "gone")
    folder = tmp_path / "ours" / "data" / "wikipedia-ja" / "b04c8d1ceb2f"
    folder.mkdir(parents=True)
    manifest = {
        "name": "wikipedia:ja",
        "dataset": "wikipedia",
        "sources": [{"sha": sha}],
        "files": [{"path": "a", "size": 7}],
    }
    (folder / here.MANIFEST).write_text(json.dumps(manifest))
    (tmp_path / "ours" / "data" / "x" / "y").mkdir(parents=True)
    (tmp_path / "ours" / "data" / "x" / "y" / here.MANIFEST).write_text("{")
    found = here.copies(
        [catalogue.dataset(name) for name in ("tinystories", "tinystories-v2", "wikipedia", "nue", "c4")]
    )
    theirs = tmp_path / "theirs" / "datasets--roneneldan--TinyStories" / "snapshots" / sha
    assert found["tinystories"] == [here.Copy(theirs, "tinystories", "huggingface", sha, 1, 5)]
    assert found["tinystories-v2"] == [here.Copy(theirs, "tinystories-v2", "huggingface", sha, 1, 2)]
    assert found["wikipedia"] == [here.Copy(folder, "wikipedia:ja", "pylm", sha, 1, 7)]
    assert found["nue"] == found["c4"] == []


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HOME": "/d"}, "/d/.cache/huggingface/hub"),
    ],
)
def test_the_hub_cache_is_where_its_client_has_it(variables, where, monkeypatch):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert huggingface_cache_folder() == Path(where)
