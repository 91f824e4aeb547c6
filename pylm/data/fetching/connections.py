"""Connections: to the very address that was checked, through a proxy or not, and kept for the next request."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any

from pylm.data.fetching.access import Access, Origin
from pylm.data.fetching.proxies import Proxy, proxy_for

__all__ = ["Connection", "Pool"]

CONNECT_SECONDS = 10.0
Address = tuple[int, Any]  # a family, and what its sockets connect to


class Connection(http.client.HTTPConnection):
    """A connection whose address was checked after its name was looked up, and whose name is not looked up again."""

    def __init__(self, origin: Origin, access: Access, context: ssl.SSLContext | None, timeout: float) -> None:
        """Nothing is connected before the first request; `timeout` is how long it may be silent."""
        super().__init__(origin.host, origin.port, timeout=timeout)
        self.default_port = {"https": 443, "http": 80}[origin.scheme]  # the one that the Host header leaves out
        self.origin, self.access, self.context, self.silence = origin, access, context, timeout
        self.proxy = proxy_for(origin)

    def connect(self) -> None:
        """Connect, through the proxy and with TLS where they belong."""
        addresses = _checked(self.origin, self.access, is_required=self.proxy is None)
        sock = _connected(addresses if self.proxy is None else _look_up(self.proxy.host, self.proxy.port))
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context is not None:
                if self.proxy is not None:
                    _open_tunnel(sock, self.proxy, self.origin)
                sock = self.context.wrap_socket(sock, server_hostname=self.origin.host)
            sock.settimeout(self.silence)
        except BaseException:
            sock.close()
            raise
        self.sock = sock

    def __del__(self) -> None:
        """Close what an exception left in the middle of an answer."""
        with suppress(OSError):
            self.close()

    def ask(self, url: str, path: str, headers: dict[str, str]) -> None:
        """Send a request; a proxy without a tunnel is told the whole address."""
        if self.proxy is not None and self.origin.scheme == "http":
            path, headers = url, headers | self.proxy.headers
        self.request("GET", path, headers=headers)


def _look_up(host: str, port: int) -> list[Address]:
    return [(family, address) for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _checked(origin: Origin, access: Access, is_required: bool) -> list[Address]:
    """Return the addresses of an origin, each of them allowed; a proxy may know names that cannot be looked up here."""
    try:
        addresses = _look_up(origin.host, origin.port)
    except (OSError, UnicodeError):
        if is_required:
            raise
        return []
    for _, address in addresses:
        access.check_address(origin, str(address[0]))
    return addresses


def _connected(addresses: list[Address]) -> socket.socket:
    """Return a socket to the first address that answers."""
    problem: OSError | None = None
    for family, address in addresses:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(CONNECT_SECONDS)
            sock.connect(address)
        except OSError as error:
            sock.close()
            problem = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise problem or OSError("it has no address")


def _open_tunnel(sock: socket.socket, proxy: Proxy, origin: Origin) -> None:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
    sock.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    response = http.client.HTTPResponse(sock, method="CONNECT")  # the proxy says no more before TLS begins
    try:
        response.begin()
        if response.status != 200:
            raise OSError(f"the proxy {proxy.host}:{proxy.port} answered {response.status} {response.reason}")
    finally:
        response.close()  # the socket stays open


class Pool:
    """Connections that wait for their next request, for any number of threads."""

    def __init__(self, access: Access, timeout: float) -> None:
        """`timeout`: seconds for which a connection may be silent."""
        self.access, self.timeout = access, timeout
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[Connection]] = {}
        self._context: ssl.SSLContext | None = None  # reading the system's certificates takes 50 ms
        self._pid = os.getpid()

    def take(self, origin: Origin) -> tuple[Connection, bool]:
        """Return a connection, and whether it was used before: its other side may have gone meanwhile."""
        with self._lock:
            if self._pid != os.getpid():  # those of the process that this one was forked from are that one's
                self._idle, self._pid = {}, os.getpid()
            if waiting := self._idle.get(origin):
                return waiting.pop(), True
            if self._context is None and origin.scheme == "https":
                self._context = ssl.create_default_context()
        return Connection(origin, self.access, self._context, self.timeout), False

    def give(self, connection: Connection) -> None:
        """Keep a connection whose last answer was read to its end."""
        with self._lock:
            self._idle.setdefault(connection.origin, []).append(connection)

    def __del__(self) -> None:
        """Close what nobody will use."""
        self.close()

    def close(self) -> None:
        """Close those that wait."""
        with self._lock:
            for connection in [one for waiting in self._idle.values() for one in waiting]:
                with suppress(OSError):
                    connection.close()
            self._idle = {}
