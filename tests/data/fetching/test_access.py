"""What may be reached: addresses after their names are looked up, after redirects, by plain http, offline."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from pylm.data.fetching import Access, Hub, fetch, open_url
from pylm.data.fetching.access import Origin, is_public, shown
from pylm.data.fetching.client import Client
from pylm.errors import DataError, UsageError
from tests.support.hub_server import CERTIFICATE, HubServer


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
     "224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
     "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:0:7f00:1::1", "::127.0.0.1",
     "64:ff9b:1::a00:1", "fec0::1"],
)  # fmt: skip
def test_private_addresses_in_every_dress(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1", "0"])
def test_an_address_of_this_machine_is_refused_however_it_is_spelled(host: str, server: HubServer) -> None:
    port = server.server.server_port
    with pytest.raises(DataError, match="private address: nothing was asked of it") as caught:
        open_url(f"https://{host}:{port}/files/x")
    assert caught.value.hint is not None and "allow_private=True" in caught.value.hint
    assert not server.seen


def test_a_name_is_looked_up_once_and_its_checked_address_is_the_one_connected_to(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def look_up(host: str, port: int, **more: Any) -> list[Any]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "10.0.0.1"  # the second answer of a name that means ill
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, server.server.server_port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    url = server.add_plain("a.txt", b"text").replace("127.0.0.1", "localhost")
    assert open_url(url, allow_private=True).size == 4
    assert asked == ["localhost"]


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in ("8.8.8.8", "192.168.0.7")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: both)
    with pytest.raises(DataError, match=r"example.org is 192.168.0.7, which is a private address"):
        open_url("https://example.org/a.txt")


def test_an_endpoint_of_the_users_own_network_is_taken_but_not_where_it_redirects_to(server: HubServer) -> None:
    server.add("org/name", {"small.txt": b"few", "large.bin": b"x" * 9000})
    repository = Hub.from_environment().repository("dataset", "org/name")
    assert repository.file("small.txt").read(0, 3) == b"few"
    with pytest.raises(DataError, match="localhost:[0-9]+/blobs/[0-9a-f]+\\?X-Signature=… is plain http"):
        repository.file("large.bin").read(0, 3)


def test_a_redirect_into_the_private_network_is_refused(tls: HubServer) -> None:
    tls.add("org/name", {"large.bin": b"x" * 9000})
    repository = Hub.from_environment().repository("dataset", "org/name")
    with pytest.raises(DataError, match="localhost is .*, which is a private address"):
        repository.file("large.bin").read(0, 3)
    assert not tls.paths(host=tls.elsewhere)
    tls.fault("small", location="https://169.254.169.254/latest/meta-data")
    tls.add("org/name", {"small.txt": b"x"})
    with pytest.raises(DataError, match="169.254.169.254 is a private address"):
        Hub.from_environment().repository("dataset", "org/name").file("small.txt").read(0, 1)


@pytest.fixture
def tls(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with HubServer(tls=True) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.mark.parametrize("url", ["http://example.org/a.txt", "http://93.184.216.34/a", "http://10.0.0.1/a"])
def test_plain_http_is_for_this_machine_only(url: str) -> None:
    for allow_private in (False, True):
        with pytest.raises(DataError, match="is plain http, which anybody"):
            open_url(url, allow_private=allow_private)


def test_plain_http_on_this_machine_needs_allow_private(server: HubServer) -> None:
    url = server.add_plain("a.txt", b"text")
    with pytest.raises(DataError, match="is plain http"):
        open_url(url)
    assert open_url(url, allow_private=True).read(1, 2) == b"ex"


def test_a_plain_endpoint_is_said_aloud(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    Hub.from_environment(say=said.append)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    Hub.from_environment(say=said.append)
    monkeypatch.setenv("HF_ENDPOINT", "https://example.org")
    Hub.from_environment(say=said.append)
    plain = "HF_ENDPOINT is plain http, which others can read and change"
    assert said == [plain, f"{plain}: HF_TOKEN is not sent to it"]


@pytest.mark.parametrize("variable", ["PYLM_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_asks_nobody(variable: str, server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add("org/name", {"a.txt": b"text"})
    monkeypatch.setenv(variable, "1")
    with pytest.raises(DataError, match="hub:org/name at main is not here, and the network is not to be used"):
        Hub.from_environment().repository("dataset", "org/name")
    with pytest.raises(DataError, match="is not here, and the network is not to be used") as caught:
        open_url("https://example.org/a.txt")
    assert caught.value.hint and variable in caught.value.hint
    assert not server.seen


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("ftp://example.org/a", "is no address"),
        ("https://", "is no address"),
        ("https://example.org:port/a", "is no address"),
        ("https://example.org/a b", "is no address"),
        ("https://ann:geheim@example.org/a", "https://example.org/a has a password in it"),
    ],
)
def test_what_is_no_address(url: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Origin.of(url)
    assert says in str(caught.value) and "geheim" not in str(caught.value)


def test_an_endpoint_that_is_no_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "hub.example.org")
    with pytest.raises(UsageError, match="HF_ENDPOINT: hub.example.org is no address"):
        Hub.from_environment()


def test_signatures_are_not_shown() -> None:
    assert shown("https://a.b/c?id=3&X-Amz-Signature=abc&Key-Pair-Id=k&Policy=p") == (
        "https://a.b/c?id=3&X-Amz-Signature=…&Key-Pair-Id=…&Policy=…"
    )


def test_a_certificate_that_proves_nothing_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        HubServer(tls=True) as server,
        pytest.raises(DataError, match="does not prove that it is who it says") as caught,
    ):
        open_url(server.add_plain("a.txt", b"text"), allow_private=True)
    assert caught.value.hint and "SSL_CERT_FILE" in caught.value.hint


def test_a_name_that_nobody_knows_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: Any, **more: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    waits: list[float] = []
    with pytest.raises(DataError, match="example.org cannot be looked up: name or service not known"):
        open_url("https://example.org/a", client=Client(Access(), sleep=waits.append))
    assert waits == []


def test_the_rules_hold_for_fetch_too(server: HubServer, tmp_path: Any) -> None:
    server.add("org/name", {"a.txt": b"text"})
    file = Hub.from_environment(allow_private=True).repository("dataset", "org/name").file("a.txt")
    file.client.access = Access(offline=True)
    with pytest.raises(DataError, match="the network is not to be used"):
        fetch(file, tmp_path / "a.txt")
    assert list(tmp_path.glob("a.txt*")) == []
