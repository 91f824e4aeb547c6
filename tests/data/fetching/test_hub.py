"""Repositories: pinned, listed once, and what is said where the Hub refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylm.data.fetching import Hub
from pylm.data.fetching.answers import count_of, hashes_of, range_of
from pylm.data.fetching.huggingface_cache import HuggingFaceCache
from pylm.errors import DataError, PylmError, UsageError
from tests.support.hub_server import CONVERTED, HubServer

FILES = {
    "README.md": b"hello\n",
    "data/train-0.parquet": b"a" * 5000,
    "data/train-1.parquet": b"b" * 5000,
    "data/x": b"",
}


def paths(files: Any) -> list[str]:
    return [file.path for file in files]


def test_a_repository_is_pinned_first_and_listed_once(hub: Hub, server: HubServer) -> None:
    server.page = 2
    sha = server.add("org/name", FILES)
    repository = hub.repository("dataset", "org/name")
    server.add("org/name", {"other.txt": b"later"})  # what comes after is not seen
    assert repository.sha == sha and repository.name == f"hub:org/name@{sha}"
    assert paths(repository.files()) == sorted(FILES)
    assert paths(repository.files("data/")) == sorted(FILES)[1:]
    file = repository.file("data/train-0.parquet")
    assert file.name == f"hub:org/name@{sha}:data/train-0.parquet"
    assert file.size == 5000 and file.sha256 and file.git_sha1 is None and file.identity == file.sha256
    small = repository.file("README.md")
    # what `git hash-object` prints of "hello\n"
    assert small.git_sha1 == "ce013625030ba8dba906f756967f9e9ca394464a" == small.identity and small.sha256 is None
    asked = server.paths()
    assert asked[0] == "/api/datasets/org/name/revision/main"
    assert all(f"/tree/{sha}" in path for path in asked[1:]) and len(asked) == 4  # five entries on pages of two

    again = Hub.from_environment(allow_private=True).repository("dataset", "org/name", sha)
    assert paths(again.files()) == sorted(FILES) and server.paths() == asked  # a commit's listing never changes


def test_models_lie_elsewhere(hub: Hub, server: HubServer) -> None:
    server.add("org/model", {"tokenizer.json": b"{}"}, kind="model")
    assert hub.repository("model", "org/model").file("tokenizer.json").read(0, 2) == b"{}"
    assert server.paths()[-1].startswith("/org/model/resolve/")


def test_a_branch_with_a_slash(hub: Hub, server: HubServer) -> None:
    sha = server.add("org/name", {"a": b"1"}, branch="pr/7")
    assert hub.repository("dataset", "org/name", "pr/7").sha == sha


def test_the_conversion_is_read_and_its_beginnings_are_refused(hub: Hub, server: HubServer) -> None:
    server.add("org/name", {"script.py": b"pass"})
    files = {"en/train/0000.parquet": b"1", "fr/partial-train/0000.parquet": b"2", "fr/test/0000.parquet": b"3"}
    server.add("org/name", files, branch=CONVERTED)
    converted = hub.repository("dataset", "org/name").converted()
    assert paths(converted.files("en")) == ["en/train/0000.parquet"]
    assert converted.file("fr/test/0000.parquet").read(0, 1) == b"3"
    for under in ("", "fr", "fr/partial-train"):
        with pytest.raises(DataError, match="the Hub's parquet of hub:org/name holds only the beginning of fr/train"):
            converted.files(under)


def test_offline_takes_what_was_asked_before(hub: Hub, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    sha = server.add("org/name", FILES)
    hub.repository("dataset", "org/name").files()
    monkeypatch.setenv("PYLM_OFFLINE", "1")
    asked = len(server.seen)
    repository = Hub.from_environment().repository("dataset", "org/name")
    assert repository.sha == sha and paths(repository.files()) == sorted(FILES) and len(server.seen) == asked
    with pytest.raises(DataError, match="README.md is not here, and the network is not to be used"):
        repository.file("README.md").read(0, 1)


def test_what_huggingface_hub_has_is_read_and_never_written(
    hub: Hub, server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    sha = server.add("org/name", FILES)
    cache = hub.huggingface
    assert cache is not None
    for path in ("README.md", "data/train-0.parquet"):
        huggingface_hub.hf_hub_download("org/name", path, repo_type="dataset", cache_dir=cache, endpoint=server.url)
    before = {path: path.lstat().st_mtime_ns for path in cache.rglob("*")}
    asked = len(server.seen)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = Hub.from_environment().repository("dataset", "org/name")
    assert offline.sha == sha and paths(offline.files()) == ["README.md", "data/train-0.parquet"]
    assert b"".join(offline.file("data/train-0.parquet").stream()) == FILES["data/train-0.parquet"]
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert len(server.seen) == asked
    online = hub.repository("dataset", "org/name")
    assert online.file("README.md").read(1, 3) == b"ell"
    assert len(server.seen) == asked + 2  # the commit and the listing: no file
    assert {path: path.lstat().st_mtime_ns for path in cache.rglob("*")} == before

    (cache / f"datasets--org--name/snapshots/{sha}/README.md").resolve().write_bytes(b"jello\n")  # nobody hashed it
    assert hub.repository("dataset", "org/name").file("README.md").read(0, 6) == b"hello\n"


def test_a_copy_that_may_not_be_read_is_not_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = HuggingFaceCache(tmp_path, "dataset", "org/name")
    (tmp_path / "datasets--org--name/snapshots/abc").mkdir(parents=True)
    copy = tmp_path / "datasets--org--name/snapshots/abc/a.txt"
    copy.write_text("a")
    assert cache.find("abc", "a.txt", 1) == copy
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read whatever there is
    assert cache.find("abc", "a.txt", 1) is None


def test_a_copy_of_another_size_is_not_found(hub: Hub, server: HubServer) -> None:
    server.add("org/name", FILES)
    file = hub.repository("dataset", "org/name").file("data/train-0.parquet")
    assert hub.huggingface is not None and file.sha256
    blob = hub.huggingface / "datasets--org--name" / "blobs" / file.sha256
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"a" * 4999)
    assert file.local() is None
    blob.write_bytes(b"a" * 5000)
    assert file.local() == blob


def refused(hub: Hub, *args: Any) -> tuple[str, str]:
    with pytest.raises(PylmError) as caught:
        hub.repository(*args).files()
    return caught.value.message, caught.value.hint or ""


def test_an_unknown_repository_is_answered_with_the_nearest(hub: Hub, server: HubServer) -> None:
    server.add("org/tiny-stories", {"a": b"1"})
    message, hint = refused(hub, "dataset", "org/tiny-storys")
    assert message == "the Hub has no dataset org/tiny-storys that you may see"
    assert hint == "did you mean org/tiny-stories?"
    assert refused(hub, "dataset", "who/knows")[1] == "is it spelled so? a private one needs HF_TOKEN"


def test_an_unknown_revision_or_file_is_answered_with_the_nearest(hub: Hub, server: HubServer) -> None:
    sha = server.add("org/name", FILES)
    message, hint = refused(hub, "dataset", "org/name", "mian")
    assert message == "hub:org/name has no revision mian" and hint == "did you mean main?"
    with pytest.raises(DataError, match=f"hub:org/name@{sha} has no data/train-0.parqet") as caught:
        hub.repository("dataset", "org/name").file("data/train-0.parqet")
    assert caught.value.hint == "did you mean data/train-0.parquet or data/train-1.parquet?"
    with pytest.raises(DataError) as caught:
        hub.repository("dataset", "org/name").files("qqq")
    assert caught.value.hint == "it has README.md, data"
    assert "has no revision" in refused(hub, "dataset", "org/name", "0" * 40)[0]


def test_gated_data_is_explained(server: HubServer, hub: Hub) -> None:
    server.token = "hf_right"
    server.add("org/gated", {"a.bin": b"1"}, gated=True)
    with pytest.raises(DataError, match="hub:org/gated is gated: its publisher gives it to those who accept") as caught:
        hub.repository("dataset", "org/gated").file("a.bin").read(0, 1)
    page = f"{server.url}/datasets/org/gated"
    assert caught.value.hint == (
        f"accept them at {page}, make a token at {server.url}/settings/tokens, and set HF_TOKEN to it"
    )


@pytest.mark.parametrize("id", ["", "a/b/c", "../x", "org/..", "org/na me", "/org", "org/x..y"])
def test_what_is_no_name_of_a_repository(id: str, hub: Hub, server: HubServer) -> None:
    with pytest.raises(UsageError, match="is no name of a repository"):
        hub.repository("dataset", id)
    assert not server.seen


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "a\\b", "a\nb", ""])
def test_a_listing_that_leads_out_of_its_folder_is_refused(path: str, hub: Hub, server: HubServer) -> None:
    server.add("org/name", {path: b"1"})
    with pytest.raises(DataError, match="leads elsewhere"):
        hub.repository("dataset", "org/name").files()


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"[1]", b'{"error": 1}', b'[{"type": "file"}]', b"[null]"])
def test_what_is_no_answer_of_the_hub(body: bytes, hub: Hub, server: HubServer, waits: list[float]) -> None:
    url = server.add_plain("page", body)
    server.add("org/name", {"a": b"1"})
    server.fault("/tree/", location=url, times=-1)
    with pytest.raises(DataError, match="does not answer as the Hub does|is not one of the Hub's"):
        hub.repository("dataset", "org/name").files()
    server.fault("/revision/", location=url, times=-1)
    with pytest.raises(DataError, match="does not answer as the Hub does"):
        hub.repository("dataset", "org/name")


@pytest.mark.parametrize("damage", [lambda text: text[:-9], lambda text: "[[1]]", lambda text: "{}", lambda text: "",
                                    lambda text: text.replace("README.md", "../../README.md"),
                                    lambda text: text.replace(", 6, ", ', "6", ')])  # fmt: skip
def test_a_damaged_listing_is_asked_for_anew(damage: Callable[[str], str], hub: Hub, server: HubServer) -> None:
    sha = server.add("org/name", FILES)
    hub.repository("dataset", "org/name").files()
    assert hub.cache is not None
    kept = next(Path(hub.cache).rglob(f"{sha}.json"))
    before = kept.read_text()
    kept.write_text(damage(before))
    assert kept.read_text() != before
    assert paths(hub.repository("dataset", "org/name").files()) == sorted(FILES)
    assert len(json.loads(kept.read_text())) == len(FILES)


def test_without_a_cache_folder_it_works_all_the_same(
    hub: Hub, server: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "file"))
    server.add("org/name", FILES)
    assert len(Hub.from_environment().repository("dataset", "org/name").files()) == 4


def test_hashes_and_ranges_of_headers() -> None:
    sha1, sha256 = "a" * 40, "b" * 64
    commit = {"X-Repo-Commit": "c" * 40}
    assert hashes_of({"X-Linked-Etag": f'"{sha256}"', "ETag": f'"{sha1}"', **commit}) == (sha256, None)
    assert hashes_of({"ETag": f'W/"{sha1}"', **commit}) == (None, sha1)
    assert hashes_of({"ETag": f'"{sha1}"'}) == (None, None)  # of anybody else it means nothing
    assert hashes_of({"ETag": '"d41d8cd9-12"', **commit}) == (None, None)
    assert range_of({"Content-Range": "bytes 5-9/100"}) == (5, 100)
    assert range_of({"Content-Range": "bytes 5-9/*"}) == (5, None)
    assert range_of({"Content-Range": "bytes */100"}) == (None, 100)
    assert range_of({"Content-Range": "lines 1-2/3"}) == (None, None) == range_of({})
    assert count_of({"Content-Length": "12"}, "Content-Length") == 12
    assert count_of({"Content-Length": "9" * 5000}, "Content-Length") is None
