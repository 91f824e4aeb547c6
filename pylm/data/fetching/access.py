"""What may be reached: no private address, no plain http, nothing where the network is not to be used."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from pylm.errors import DataError, UsageError
from pylm.wording import param

__all__ = ["Access", "Origin", "is_offline", "shown"]

PORTS = {"http": 80, "https": 443}
NAT64 = IPv6Network("64:ff9b::/96")  # an IPv4 address in its last 32 bits
# networks of one's own that Python takes for the internet: an IPv4 address as it is, NAT64's own, those of a site
OWN = [IPv6Network(network) for network in ("::/96", "64:ff9b:1::/48", "fec0::/10")]
SECRET = re.compile(r"token|key|sig|auth|pass|secret|credential|policy|jwt|session", re.IGNORECASE)


class Origin(NamedTuple):
    """Where an address leads: what is sent to one origin in confidence is not another's to know."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Return the origin of an address, or say what is wrong with the address."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise UsageError(f"{shown(url)} is no address") from None
        if parts.scheme not in PORTS or not parts.hostname or re.search(r"[\s\x00-\x1f\x7f]", url):
            raise UsageError(f"{shown(url)} is no address", "addresses begin with https://")
        if parts.username is not None or parts.password is not None:
            raise UsageError(f"{shown(url)} has a password in it", "pylm takes addresses without one")
        return cls(parts.scheme, parts.hostname.lower(), PORTS[parts.scheme] if port is None else port)


@dataclass(frozen=True)
class Access:
    """The rules for every connection, kept after each redirect too.

    Args:
        allow_private: addresses of this machine and its own network may be reached, and by plain http on this machine.
        offline: nothing may be reached.
        endpoint: the origin that HF_ENDPOINT names: its user may have it by plain http and in a private network.
        say: told once what a user should know.
    """

    allow_private: bool = False
    offline: bool = False
    endpoint: Origin | None = None
    say: Callable[[str], None] = lambda text: None

    def check(self, url: str) -> Origin:
        """Return the origin of an address that may be reached, as far as its text tells."""
        origin = Origin.of(url)
        if self.offline:
            raise DataError(
                f"{shown(url)} is not here, and the network is not to be used",
                "unset PYLM_OFFLINE and HF_HUB_OFFLINE, or fetch it where there is a network",
            )
        if (
            origin.scheme == "http"
            and origin != self.endpoint
            and not (self.allow_private and is_loopback(origin.host))
        ):
            raise DataError(
                f"{shown(url)} is plain http, which anybody between here and there can read and change",
                "use its https:// address",
            )
        return origin

    def check_address(self, origin: Origin, address: str) -> None:
        """Refuse an address that a name was looked up to, where it is not a public one."""
        if self.allow_private or origin == self.endpoint or is_public(address):
            return
        where = address if origin.host == address else f"{origin.host} is {address}, which"
        raise DataError(
            f"{where} is a private address: nothing was asked of it",
            f"if it is yours and you mean it, {param('allow_private', True)}",
        )


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine by its name alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_public(text: str) -> bool:
    """Say whether an address is one of the internet, also where one of IPv4 is wrapped in one of IPv6."""
    address: IPv4Address | IPv6Address = ip_address(text)
    if isinstance(address, IPv6Address):
        if any(address in network for network in OWN):
            return False
        wrapped = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in NAT64:
            wrapped.append(IPv4Address(int(address) & 0xFFFFFFFF))
        if any(inner is not None and not is_public(str(inner)) for inner in wrapped):
            return False
        if address.ipv4_mapped is not None or address in NAT64:
            return True
    return address.is_global and not address.is_multicast


def shown(url: str) -> str:
    """Return an address as it may be printed: without passwords and signatures."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        query = [(name, "…" if SECRET.search(name) else value) for name, value in parse_qsl(parts.query)]
    except ValueError:
        return "this"
    asked = "?" + "&".join(f"{name}={value}" for name, value in query) if query else ""
    return f"{parts.scheme}://{host}{parts.path}{asked}" if parts.scheme else f"{host}{parts.path}{asked}"


def is_offline(offline: bool | None = None) -> bool:
    """Say whether the network is not to be used: as asked, else as PYLM_OFFLINE or HF_HUB_OFFLINE says."""
    if offline is not None:
        return offline
    said = (os.environ.get(name, "").lower() for name in ("PYLM_OFFLINE", "HF_HUB_OFFLINE"))
    return any(value not in ("", "0", "false", "no", "off") for value in said)
