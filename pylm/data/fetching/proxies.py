"""Proxies, as the environment names them: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY in either case."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from pylm.data.fetching.access import Origin, is_loopback
from pylm.errors import UsageError

__all__ = ["Proxy", "proxy_for"]


@dataclass(frozen=True)
class Proxy:
    """Where a proxy listens, and what it wants to be told."""

    host: str
    port: int
    headers: dict[str, str] = field(default_factory=dict, repr=False)  # its password


def proxy_for(origin: Origin) -> Proxy | None:
    """Return the proxy by which an origin is to be reached; None where it is reached without."""
    named = _setting(f"{origin.scheme}_proxy") or _setting("all_proxy")
    if not named or is_loopback(origin.host) or _is_excepted(origin, _setting("no_proxy")):
        return None
    variable = f"{origin.scheme.upper()}_PROXY"
    try:
        parts = urlsplit(named if "://" in named else f"http://{named}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise UsageError(f"{variable} is no address of a proxy", "it looks like http://HOST:PORT")
    if parts.scheme != "http":
        raise UsageError(
            f"{variable} names a proxy of the kind {parts.scheme}", "pylm goes by those of http://HOST:PORT"
        )
    if parts.username is None:
        return Proxy(host, port or 80)
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return Proxy(host, port or 80, {"Proxy-Authorization": f"Basic {base64.b64encode(login).decode()}"})


def _setting(name: str) -> str:
    return os.environ.get(name) or os.environ.get(name.upper()) or ""


def _is_excepted(origin: Origin, exceptions: str) -> bool:
    """Say whether NO_PROXY has a host: `*`, a name with all below it, a name with a port, an address or a network."""
    for rule in exceptions.replace(",", " ").lower().split():
        name, _, port = rule.rpartition(":") if rule.count(":") == 1 else (rule, "", "")
        name = name.removeprefix("*").lstrip(".")
        if port and port != str(origin.port):
            continue
        if not name or origin.host == name or origin.host.endswith(f".{name}") or _is_within(origin.host, name):
            return True
    return False


def _is_within(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False
