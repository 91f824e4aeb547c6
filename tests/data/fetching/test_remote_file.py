"""Reading what lies elsewhere: exact ranges, streams, and every way in which an answer goes wrong."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from pylm.data.fetching import Hub, RemoteFile, open_url
from pylm.errors import DataError
from tests.support.hub_server import HubServer


@pytest.fixture(params=["large", "small", "redirected", "plain"])
def file(request: pytest.FixtureRequest, hub: Hub, server: HubServer, content: bytes) -> RemoteFile:
    """A file of LFS on another host name, one that is answered at once, one by a relative redirect, one of the web."""
    if request.param == "plain":
        return open_url(server.add_plain("a.bin", content), client=hub.client)
    server.relative = request.param == "redirected"
    server.add("org/name", {"a.bin": content}, large=request.param == "large")
    return hub.repository("dataset", "org/name").file("a.bin")


def test_ranges_are_exact(file: RemoteFile, content: bytes) -> None:
    draw = random.Random(2)
    assert file.size == len(content)
    for _ in range(50):
        start = draw.randrange(len(content))
        length = min(draw.choice([0, 1, 7, 1000, 300_000]), len(content) - start)
        assert file.read(start, length) == content[start : start + length]
    assert file.read(0, len(content)) == content
    with pytest.raises(DataError, match=f"it has {len(content)}"):
        file.read(len(content) - 1, 2)
    with pytest.raises(DataError, match="has no bytes -1 to 0"):
        file.read(-1, 1)


def test_streams_begin_anywhere(file: RemoteFile, content: bytes) -> None:
    for start in (0, 1, 500_000, len(content) - 1, len(content)):
        assert b"".join(file.stream(start)) == content[start:]


def test_connections_are_used_again(hub: Hub, server: HubServer, content: bytes) -> None:
    connected = []
    process = server.server.process_request
    server.server.process_request = lambda *args: (connected.append(1), process(*args))[1]  # type: ignore[method-assign]
    server.add("org/name", {"a.bin": content, "b.txt": b"few"})
    repository = hub.repository("dataset", "org/name")
    for start in range(20):
        assert repository.file("a.bin").read(start, 10) == content[start : start + 10]
        assert repository.file("b.txt").read(0, 3) == b"few"
    assert len(connected) == 2  # one for each host name


def test_the_hub_is_asked_once_where_a_large_file_lies(hub: Hub, server: HubServer, content: bytes) -> None:
    server.add("org/name", {"a.bin": content})
    file = hub.repository("dataset", "org/name").file("a.bin")
    threads = [threading.Thread(target=file.read, args=(n * 1000, 1000)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([path for path in server.paths(host=server.host) if "resolve" in path]) == 1
    server.fault("blobs", status=403)  # its signature has expired
    assert file.read(5, 5) == content[5:10]
    assert len([path for path in server.paths(host=server.host) if "resolve" in path]) == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"truncate": 1000},
        {"truncate": 0},
        {"drop": True},
        {"whole": True},
        {"size": 999},
        {"shift": 5},
        {"size": 2_000_000},
        {"status": 416},
        {"status": 503},
        {"pause": 0.002},
        {"headers": {"Content-Encoding": "gzip"}, "status": 200},
    ],
    ids=str,
)
def test_what_goes_wrong_three_times_is_gone_through(
    fault: dict[str, object], file: RemoteFile, server: HubServer, content: bytes
) -> None:
    where = "blobs" if file.sha256 else "a.bin"
    for start in (0, 300_000):
        server.fault(where, times=3, **fault)
        assert b"".join(file.stream(start)) == content[start:]
        server.faults.clear()
        server.fault(where, times=3, **fault)
        assert file.read(start, 400_000) == content[start : start + 400_000]
        server.faults.clear()


def test_another_size_than_was_listed_is_said(file: RemoteFile, server: HubServer) -> None:
    server.fault("blobs" if file.sha256 else "a.bin", size=999_999, times=-1)
    with pytest.raises(DataError, match="it says that it has 999999 bytes, and 1000003 were listed"):
        file.read(0, 10)


def test_two_hundred_truncations_in_one_stream(file: RemoteFile, server: HubServer, content: bytes) -> None:
    server.fault("blobs" if file.sha256 else "a.bin", truncate=4500, times=200)
    assert b"".join(file.stream()) == content
    assert server.faults[0].times == 0


def test_wrong_bytes_in_a_stream_are_noticed_at_its_end(hub: Hub, server: HubServer, content: bytes) -> None:
    for large in (True, False):
        server.add("org/name", {"a.bin": content}, large=large)
        server.fault("blobs" if large else "a.bin", flip=777_777)
        with pytest.raises(
            DataError, match="a.bin came with another content: its (SHA-256|git hash) is [0-9a-f]+, and"
        ):
            list(hub.repository("dataset", "org/name").file("a.bin").stream())


def test_a_server_without_ranges_is_read_through_as_far_as_is_reasonable(
    hub: Hub, server: HubServer, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pylm.data.fetching.remote_file.SKIPPED", 500_000)
    server.fault("a.bin", whole=True, times=-1)
    file = open_url(server.add_plain("a.bin", content), client=hub.client)
    assert file.size == len(content)
    assert file.read(400_000, 7) == content[400_000:400_007]
    assert b"".join(file.stream(600_000)) == content[600_000:]
    with pytest.raises(DataError, match="could not be fetched: it sends the whole where a part is asked for"):
        file.read(600_000, 7)


def test_a_file_that_changes_while_it_is_read(hub: Hub, server: HubServer, content: bytes) -> None:
    file = open_url(server.add_plain("a.bin", content), client=hub.client)
    server.add_plain("a.bin", content[::-1])
    with pytest.raises(DataError, match="a.bin was changed while it was read"):
        file.read(0, 10)


def test_what_an_address_says_of_a_file(hub: Hub, server: HubServer, content: bytes) -> None:
    import hashlib

    server.add("org/name", {"a.bin": content, "b.txt": b"hello\n"})
    large = open_url(f"{server.url}/datasets/org/name/resolve/main/a.bin", client=hub.client)
    assert large.sha256 == hashlib.sha256(content).hexdigest() and large.size == len(content)
    small = open_url(f"{server.url}/datasets/org/name/resolve/main/b.txt", client=hub.client)
    assert small.git_sha1 == "ce013625030ba8dba906f756967f9e9ca394464a" and small.size == 6
    plain = open_url(server.add_plain("c d.bin", content) + "?id=3&token=geheim", client=hub.client)
    assert (plain.path, plain.sha256, plain.git_sha1) == ("c d.bin", None, None)
    assert plain.name.endswith("/files/c%20d.bin?id=3&token=…") and plain.identity.endswith(f"-7-{len(content)}")


def test_the_name_of_a_file_never_leads_out_of_a_folder(hub: Hub, server: HubServer) -> None:
    from pylm.data.fetching.web import file_name

    names = {"https://a.b/c/d.txt": "d.txt", "https://a.b/c/": "c", "https://a.b/": "a.b", "https://a.b/..": "a.b",
             "https://a.b/x/..%2f..%2fetc": "etc", "https://a.b/%2e%2e": "a.b",
             "https://a.b/a%5c..%5cb": "b"}  # fmt: skip
    assert {url: file_name(url) for url in names} == names


def test_a_file_that_is_not_there(hub: Hub, server: HubServer) -> None:
    with pytest.raises(DataError, match="there is no file for you at http://.*/files/none: it answered 404"):
        open_url(f"{server.url}/files/none", client=hub.client)
    url = server.add_plain("a.bin", b"1234")
    file = open_url(url, client=hub.client)
    server.plain.clear()
    with pytest.raises(DataError, match=r"there is no .*a.bin: .* answered 404"):
        file.read(0, 1)


def test_redirects_without_end(hub: Hub, server: HubServer, waits: list[float]) -> None:
    url = server.add_plain("a.bin", b"1234")
    server.fault("a.bin", location=url, times=-1)
    with pytest.raises(DataError, match="it is redirected without end"):
        open_url(url, client=hub.client)


def test_a_silent_connection_is_given_up_and_made_anew(hub: Hub, server: HubServer, content: bytes) -> None:
    server.add("org/name", {"a.bin": content})
    file = hub.repository("dataset", "org/name").file("a.bin")
    file.read(0, 1)
    hub.client._pool.timeout = 0.2
    hub.client._pool.close()
    server.fault("blobs", pause=0.5, times=1)
    assert file.read(100, 200_000) == content[100:200_100]
    asked = len(server.seen)
    server.fault("blobs", pause=0.01, block=100, times=1)  # it comes, but too slowly to be waited for
    assert file.read(100, 200_000) == content[100:200_100]
    assert len(server.seen) == asked + 2


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"location": "http://[::1"}, "leads to this, which is no address"),
        ({"status": 206, "headers": {"Content-Range": f"bytes 0-9/{'9' * 5000}"}}, "another range"),
        ({"status": 429, "headers": {"Retry-After": "9" * 400}}, "answered 429"),
    ],
)
def test_headers_that_mean_nothing_are_one_sentence(
    fault: dict[str, Any], says: str, hub: Hub, server: HubServer
) -> None:
    server.add("org/name", {"a.txt": b"0123456789"})
    server.fault("a.txt", times=-1, **fault)
    with pytest.raises(DataError, match=says):
        hub.repository("dataset", "org/name").file("a.txt").read(0, 10)
