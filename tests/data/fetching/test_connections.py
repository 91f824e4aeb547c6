"""Connections: through proxies, over a fork, and where the other side has hung up meanwhile."""

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pylm.data.fetching import Hub, RemoteFile, open_url
from pylm.data.fetching.access import Access, Origin
from pylm.data.fetching.client import Client
from pylm.data.fetching.proxies import proxy_for
from pylm.errors import DataError, UsageError
from tests.support.hub_server import CERTIFICATE, HubServer


class ConnectProxy:
    """A proxy that opens tunnels to one port of this machine, whatever host it is asked for."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[list[str]] = []
        self.status = "200 Connection established"
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                head = b""
                while b"\r\n\r\n" not in head:
                    head += client.recv(1)
                self.asked.append(head.decode().split("\r\n")[:-2])
                client.sendall(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
                if not self.status.startswith("200"):
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.port))
                for a, b in ((client, server), (server, client)):
                    threading.Thread(target=self.copy, args=(a, b), daemon=True).start()

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while block := source.recv(1 << 16):
                target.sendall(block)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def tls(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with HubServer(tls=True) as server:
        yield server


@pytest.fixture
def proxy(tls: HubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectProxy]:
    """A proxy by which this machine's own addresses are reached too, for the tests."""
    monkeypatch.setattr("pylm.data.fetching.proxies.is_loopback", lambda host: False)
    proxy = ConnectProxy(tls.server.server_port)
    yield proxy
    proxy.socket.close()


def test_https_goes_through_a_tunnel(tls: HubServer, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://ann:gehe%20im@{proxy.url}")
    url = tls.add_plain("a.txt", b"text")
    file = open_url(url, allow_private=True)
    assert file.read(0, 4) == b"text" and file.read(1, 2) == b"ex"
    login = base64.b64encode(b"ann:gehe im").decode()
    assert proxy.asked == [[f"CONNECT {tls.host} HTTP/1.1", f"Host: {tls.host}", f"Proxy-Authorization: Basic {login}"]]
    assert not any("Proxy-Authorization" in seen.headers for seen in tls.seen)  # within the tunnel is the server


def test_a_private_address_is_refused_behind_a_proxy_too(
    tls: HubServer, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://{proxy.url}")
    with pytest.raises(DataError, match="is a private address"):
        open_url(tls.add_plain("a.txt", b"text"))
    assert not proxy.asked


def test_a_name_that_only_the_proxy_knows(tls: HubServer, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", proxy.url)
    real = socket.getaddrinfo

    def look_up(host: str, *args: object, **more: object) -> object:
        if host == "hub.example":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    tls.add_plain("a.txt", b"text")
    waits: list[float] = []
    with pytest.raises(DataError, match="hub.example does not prove that it is who it says: hostname mismatch"):
        open_url("https://hub.example/files/a.txt", client=Client(Access(), sleep=waits.append))
    assert proxy.asked[0][0] == "CONNECT hub.example:443 HTTP/1.1"  # it came as far as the server


def test_a_proxy_that_refuses(tls: HubServer, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://ann:geheim@{proxy.url}")
    proxy.status = "407 Proxy Authentication Required"
    client = Client(Access(allow_private=True), sleep=lambda seconds: None)
    with pytest.raises(DataError, match="the proxy 127.0.0.1:[0-9]+ answered 407") as caught:
        open_url(tls.add_plain("a.txt", b"text"), client=client)
    assert "geheim" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_used"),
    [
        ("https://a.example.org/x", "", True),
        ("https://a.example.org/x", "example.org", False),
        ("https://a.example.org/x", ".example.org, other", False),
        ("https://a.example.org/x", "*.example.org", False),
        ("https://notexample.org/x", "example.org", True),
        ("https://a.example.org:8443/x", "a.example.org:443", True),
        ("https://a.example.org/x", "a.example.org:443", False),
        ("https://8.8.8.8/x", "8.8.0.0/16", False),
        ("https://8.8.8.8/x", "9.0.0.0/8", True),
        ("https://a.example.org/x", "*", False),
        ("https://localhost/x", "", False),
        ("https://127.0.0.1/x", "", False),
    ],
)
def test_no_proxy(url: str, no_proxy: str, is_used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (proxy_for(Origin.of(url)) is not None) == is_used


def test_which_variable_names_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    https, http = Origin.of("https://example.org"), Origin.of("http://example.org")
    assert proxy_for(https) is None
    monkeypatch.setenv("ALL_PROXY", "http://all")
    monkeypatch.setenv("http_proxy", "http://plain:8080")
    found = proxy_for(https), proxy_for(http)
    assert [(one.host, one.port) for one in found if one] == [("all", 80), ("plain", 8080)]
    for named, kind in (("socks5://x:1", "socks5"), ("https://x:1", "https")):
        monkeypatch.setenv("HTTPS_PROXY", named)
        with pytest.raises(UsageError, match=f"HTTPS_PROXY names a proxy of the kind {kind}"):
            proxy_for(https)
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:geheim@")
    with pytest.raises(UsageError, match="HTTPS_PROXY is no address of a proxy") as caught:
        proxy_for(https)
    assert "geheim" not in str(caught.value)


@pytest.fixture
def file(hub: Hub, server: HubServer, content: bytes) -> RemoteFile:
    server.add("org/name", {"a.bin": content})
    return hub.repository("dataset", "org/name").file("a.bin")


def test_a_connection_that_was_closed_meanwhile_costs_no_wait(
    file: RemoteFile, server: HubServer, content: bytes, waits: list[float]
) -> None:
    assert file.read(0, 10) == content[:10]
    server.fault("blobs", drop=True, times=1)
    assert file.read(10, 10) == content[10:20] and waits == []


def test_a_forked_child_makes_its_own_connections(file: RemoteFile, server: HubServer, content: bytes) -> None:
    connected = []
    process = server.server.process_request
    server.server.process_request = lambda *args: (connected.append(1), process(*args))[1]  # type: ignore[method-assign]
    assert file.read(0, 10) == content[:10]
    before = len(connected)
    child = os.fork()
    if not child:
        os._exit(0 if file.read(100, 1000) == content[100:1100] else 1)
    assert file.read(50_000, 1000) == content[50_000:51_000]
    assert os.waitpid(child, 0)[1] == 0
    assert len(connected) == before + 1
