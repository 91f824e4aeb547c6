"""Files fetched whole: verified, resumed, and never under their names before they are right."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pylm.data.fetching import Hub, RemoteFile, fetch, fetch_all, open_url
from pylm.data.fetching.partial import Part, Spans
from pylm.errors import DataError, UsageError
from tests.support.hub_server import HubServer

PIECE = 100_000


@pytest.fixture(params=[1, 4])
def connections(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def file(hub: Hub, server: HubServer, content: bytes) -> RemoteFile:
    server.add("org/name", {"data/a.bin": content})
    return hub.repository("dataset", "org/name").file("data/a.bin")


def alone(folder: Path) -> list[str]:
    """Return the names in a folder: one file, with nothing of its making beside it."""
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_by_ranges(
    connections: int, file: RemoteFile, server: HubServer, content: bytes, tmp_path: Path
) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    def progress(done: float, total: float | None = None, *, unit: str | None = None, **more: Any) -> None:
        told.append((done, total, unit))

    path = fetch(file, tmp_path / "out" / "a.bin", connections=connections, piece=PIECE, progress=progress)
    assert path.read_bytes() == content and alone(path.parent) == ["a.bin"]
    assert len(server.paths(host=server.elsewhere)) < 40
    assert told[0] == (0, len(content), "bytes") and told[-1] == (len(content), len(content), "bytes")
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    asked = len(server.seen)
    assert fetch(file, path) == path and len(server.seen) == asked  # it is there


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
@pytest.mark.parametrize("large", [True, False])
def test_sizes_around_a_piece(
    size: int, large: bool, connections: int, hub: Hub, server: HubServer, content: bytes, tmp_path: Path
) -> None:
    server.add("org/name", {"a.bin": content[:size]}, large=large)
    file = hub.repository("dataset", "org/name").file("a.bin")
    fetch(file, tmp_path / "out" / "a.bin", connections=connections, piece=PIECE)
    assert (tmp_path / "out" / "a.bin").read_bytes() == content[:size] and alone(tmp_path / "out") == ["a.bin"]


def test_a_file_whose_size_nobody_says(hub: Hub, server: HubServer, content: bytes, tmp_path: Path) -> None:
    file = open_url(server.add_plain("a.bin", content), client=hub.client)
    file.size = None
    fetch(file, tmp_path / "a.bin", piece=PIECE)
    assert (tmp_path / "a.bin").read_bytes() == content


@pytest.mark.parametrize(
    "fault",
    [
        {"truncate": 3_000, "times": 200},
        {"truncate": 0, "times": 3},
        {"whole": True, "times": 50},
        {"whole": True, "times": 1, "ranges_only": True},
        {"drop": True, "times": 4},
        {"size": 77, "times": 3},
        {"status": 503, "times": 3},
        {"status": 416, "times": 3},
        {"status": 403, "times": 1},
    ],
    ids=str,
)
def test_what_goes_wrong_is_gone_through(
    fault: dict[str, Any], connections: int, file: RemoteFile, server: HubServer, content: bytes, tmp_path: Path
) -> None:
    file.read(0, 1)
    server.fault("blobs", **fault)
    fetch(file, tmp_path / "a.bin", connections=connections, piece=PIECE)
    assert (tmp_path / "a.bin").read_bytes() == content
    if "truncate" in fault:
        assert server.faults[0].times == 0


@pytest.mark.parametrize("large", [True, False])
def test_wrong_bytes_are_noticed_always(
    large: bool, connections: int, hub: Hub, server: HubServer, content: bytes, tmp_path: Path
) -> None:
    server.add("org/name", {"a.bin": content}, large=large)
    file = hub.repository("dataset", "org/name").file("a.bin")
    fault = server.fault("blobs" if large else "resolve", flip=500_000, times=-1)
    wrong = content[:500_000] + bytes([content[500_000] ^ 1]) + content[500_001:]
    right, came = (hashlib.sha256(content), hashlib.sha256(wrong))
    if not large:
        right, came = (hashlib.sha1(b"blob %d\0" % len(one) + one) for one in (content, wrong))
    with pytest.raises(DataError) as caught:
        fetch(file, tmp_path / "a.bin", connections=connections, piece=PIECE)
    kind = "SHA-256" if large else "git hash"
    assert caught.value.message == (
        f"{file.name} came with another content: its {kind} is {came.hexdigest()}, "
        f"and {right.hexdigest()} was published"
    )
    assert alone(tmp_path) == ["pylm-cache"] or alone(tmp_path) == []
    fault.times = 1  # wrong once: it is fetched again
    fetch(file, tmp_path / "a.bin", connections=1, piece=10**7)
    assert (tmp_path / "a.bin").read_bytes() == content


def test_what_was_interrupted_is_gone_on_with(
    connections: int, file: RemoteFile, server: HubServer, content: bytes, tmp_path: Path
) -> None:
    server.fault("blobs", pause=0.01, block=20_000, times=-1)

    def interrupt(done: float, *args: Any, **more: Any) -> None:
        if done > 400_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(file, tmp_path / "a.bin", connections=connections, piece=PIECE, progress=interrupt)
    assert not (tmp_path / "a.bin").exists()
    kept = json.loads((tmp_path / "a.bin.part.json").read_text())
    assert kept["identity"] == file.sha256 and kept["size"] == len(content)
    part = (tmp_path / "a.bin.part").read_bytes()
    assert all(part[start:end] == content[start:end] for start, end in kept["spans"])
    here = sum(end - start for start, end in kept["spans"])
    assert here > 400_000 - PIECE

    server.faults.clear()
    before, told = server.sent, []
    fetch(file, tmp_path / "a.bin", piece=PIECE, progress=lambda done, *args, **more: told.append(done))
    assert (tmp_path / "a.bin").read_bytes() == content
    assert told[0] == here and server.sent - before == len(content) - here  # only what was missing


def test_a_small_file_is_resumed_too(file: RemoteFile, server: HubServer, content: bytes, tmp_path: Path) -> None:
    server.fault("blobs", truncate=600_000, times=1)
    server.fault("blobs", status=503, times=5)
    with pytest.raises(DataError, match="answered 503"):
        fetch(file, tmp_path / "a.bin")
    before = server.sent
    fetch(file, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == content and server.sent - before == len(content) - 600_000


@pytest.mark.parametrize("damage", ["bytes", "short", "other", "json", "alone", "endless"])
def test_damaged_leftovers_do_no_harm(
    damage: str, file: RemoteFile, server: HubServer, content: bytes, tmp_path: Path
) -> None:
    part, ledger = tmp_path / "a.bin.part", tmp_path / "a.bin.part.json"
    record = {"identity": file.sha256, "size": len(content), "spans": [[0, 700_000]]}
    part.write_bytes(content[:700_000])
    if damage == "bytes":
        part.write_bytes(content[:300] + b"?" + content[301:700_000])
    elif damage == "short":
        part.write_bytes(content[:300_000])
    elif damage == "other":
        record["identity"] = "another"
        part.write_bytes(b"?" * 700_000)
    elif damage == "endless":
        record["spans"] = [[0, float("inf")]]
    if damage != "alone":
        ledger.write_text("{" if damage == "json" else json.dumps(record))
    fetch(file, tmp_path / "a.bin", piece=PIECE)
    assert (tmp_path / "a.bin").read_bytes() == content
    assert sorted(path.name for path in tmp_path.glob("a.bin*")) == ["a.bin"]
    missing = {"bytes": 2 * len(content) - 700_000, "short": len(content) - 300_000}  # only the first cannot be told
    assert server.sent == missing.get(damage, len(content))


def test_what_is_not_recorded_yet_is_never_more_than_a_piece(
    connections: int, file: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Part.record
    ahead: list[float] = []

    def slowly(part: Part, spans: list[tuple[int, int]]) -> None:
        time.sleep(0.02)
        record(part, spans)

    def progress(done: float, *args: Any, **more: Any) -> None:
        ledger = tmp_path / "a.bin.part.json"
        spans = json.loads(ledger.read_text())["spans"] if ledger.exists() else []
        ahead.append(done - sum(end - start for start, end in spans))

    monkeypatch.setattr(Part, "record", slowly)
    fetch(file, tmp_path / "a.bin", connections=connections, piece=PIECE, progress=progress)
    assert 0 < max(ahead) <= PIECE


def test_another_file_of_that_name_is_not_overwritten(file: RemoteFile, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_text("mine")
    with pytest.raises(DataError, match="a.bin is another file than hub:org/name@") as caught:
        fetch(file, tmp_path / "a.bin")
    with pytest.raises(DataError, match="is a folder"):
        fetch(file, tmp_path)
    assert (tmp_path / "a.bin").read_text() == "mine" and caught.value.hint and "move it away" in caught.value.hint


def test_what_does_not_fit_is_refused_before_it_is_fetched(
    file: RemoteFile, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = len(server.seen)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000))
    for call in (lambda: fetch(file, tmp_path / "a.bin"), lambda: fetch_all([file], tmp_path)):
        with pytest.raises(DataError, match=r"needs 1 MB more, and the disk of .* has 5 kB left"):
            call()
    assert len(server.seen) == asked and not (tmp_path / "a.bin.part").exists()


def test_a_disk_that_fills_up_on_the_way(
    connections: int, file: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    real = os.pwrite

    def write(handle: int, data: Any, at: int) -> int:
        if at > 500_000:
            raise OSError(28, "No space left on device")
        return real(handle, data, at)

    monkeypatch.setattr(os, "pwrite", write)
    with pytest.raises(DataError, match="the disk of .* is full") as caught:
        fetch(file, tmp_path / "a.bin", connections=connections, piece=PIECE)
    assert caught.value.hint == "make room: what is here is kept"
    monkeypatch.undo()
    fetch(file, tmp_path / "a.bin", connections=connections, piece=PIECE)
    assert (tmp_path / "a.bin").read_bytes() == content


def test_a_folder_that_may_not_be_written(file: RemoteFile, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written: a folder of it is a file"):
        fetch(file, tmp_path / "file" / "a.bin")


def test_a_copy_of_huggingface_hub_is_checked_and_taken(
    file: RemoteFile, hub: Hub, server: HubServer, content: bytes, tmp_path: Path
) -> None:
    assert hub.huggingface is not None and file.sha256
    blob = hub.huggingface / "datasets--org--name" / "blobs" / file.sha256
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content)
    asked = len(server.seen)
    fetch(file, tmp_path / "a.bin", piece=PIECE)
    assert (tmp_path / "a.bin").read_bytes() == content and len(server.seen) == asked
    blob.write_bytes(content[:-1] + b"?")
    fetch(file, tmp_path / "b.bin", piece=PIECE)  # a damaged one is not
    assert (tmp_path / "b.bin").read_bytes() == content and blob.read_bytes() != content


def test_many_files_side_by_side(hub: Hub, server: HubServer, content: bytes, tmp_path: Path) -> None:
    files = {f"d{n % 7}/{n}.bin": content[n : 2 * n + 10] for n in range(0, 10_000, 100)}
    files["large.bin"] = content
    server.add("org/name", files)
    listed = hub.repository("dataset", "org/name").files()
    told: list[float] = []
    paths = fetch_all(listed, tmp_path / "out", piece=PIECE, progress=lambda done, *args, **more: told.append(done))
    assert [path.relative_to(tmp_path / "out").as_posix() for path in paths] == [file.path for file in listed]
    assert all(path.read_bytes() == files[file.path] for path, file in zip(paths, listed, strict=True))
    assert len(server.paths(host=server.host)) == len(files) + 2  # the commit, the listing, each file once
    assert told[-1] == sum(map(len, files.values()))


def test_one_wrong_file_among_many_ends_them(hub: Hub, server: HubServer, content: bytes, tmp_path: Path) -> None:
    server.add("org/name", {f"{n}.bin": content[n:9_000] for n in range(20)})
    server.fault("blobs", flip=8_000, times=-1)
    with pytest.raises(DataError, match="came with another content"):
        fetch_all(hub.repository("dataset", "org/name").files(), tmp_path / "out")


def fetch_in_child(url: str, folder: str) -> None:
    os.environ["HF_ENDPOINT"] = url
    file = Hub.from_environment(allow_private=True).repository("dataset", "org/name").file("data/a.bin")
    fetch(file, Path(folder) / "a.bin", piece=PIECE)


def test_two_processes_fetch_one_file_once(file: RemoteFile, server: HubServer, content: bytes, tmp_path: Path) -> None:
    server.fault("blobs", pause=0.005, block=20_000, times=-1)
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=fetch_in_child, args=(server.url, str(tmp_path))) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert (tmp_path / "a.bin").read_bytes() == content and server.sent == len(content)


def test_no_thread_is_left_behind(file: RemoteFile, server: HubServer, tmp_path: Path) -> None:
    before = {thread for thread in threading.enumerate() if "process_request" not in thread.name}
    fetch(file, tmp_path / "a.bin", piece=PIECE)
    after = {thread for thread in threading.enumerate() if "process_request" not in thread.name}
    assert after <= before


def test_xet_goes_by_huggingface_hub_and_is_checked_all_the_same(
    file: RemoteFile, server: HubServer, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the local Hub has no xet behind it
    fetch(file, tmp_path / "a.bin", xet=True)
    assert (tmp_path / "a.bin").read_bytes() == content
    assert sorted(path.name for path in tmp_path.glob("*.bin*")) == ["a.bin"]
    assert any(
        "huggingface" in str(seen.headers["User-Agent"]) or "hf_hub" in str(seen.headers["User-Agent"])
        for seen in server.seen
    )
    server.fault("blobs", flip=9, times=-1)
    with pytest.raises(DataError, match="came with another content"):
        fetch(file, tmp_path / "b.bin", xet=True)
    plain = open_url(server.add_plain("c.bin", b"1"), client=file.client)
    with pytest.raises(UsageError, match="is no file of the Hub: leave out xet=True"):
        fetch(plain, tmp_path / "c.bin", xet=True)


def test_xet_where_it_is_not_installed(file: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pylm.data.fetching.xet.find_spec", lambda name: None)
    with pytest.raises(DataError, match="xet=True needs huggingface_hub and hf_xet") as caught:
        fetch(file, tmp_path / "a.bin", xet=True)
    assert caught.value.hint == "pip install huggingface-hub hf_xet"


def test_spans_join_and_leave_gaps() -> None:
    spans = Spans([(50, 60), (0, 10), (10, 20), (55, 70), (5, 12)])
    assert spans.spans == [(0, 20), (50, 70)] and spans.frontier() == 20
    assert spans.missing(100) == [(20, 50), (70, 100)] and spans.missing(70) == [(20, 50)]
    spans.add(20, 50)
    assert spans.spans == [(0, 70)] and spans.missing(70) == []
    assert Spans([]).missing(5) == [(0, 5)] and Spans([]).missing(0) == [] and Spans([(3, 4)]).frontier() == 0
