"""Requests on http.client: redirects followed by the rules, the token to its own origin only, failures told apart."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from pylm.data.fetching.access import Access, Origin, shown
from pylm.data.fetching.answers import Headers, count_of
from pylm.data.fetching.connections import Connection, Pool
from pylm.data.fetching.patience import PASSING, Passing, Patience, asked_to_wait
from pylm.errors import DataError, UsageError

__all__ = ["Answer", "Client", "Refused", "joined"]

BLOCK = 1 << 18  # bytes that are read at once: from 64 kB to 1 MB the speed is the same
REDIRECTS = {301, 302, 303, 307, 308}
HOPS = 10
SILENCE = 30.0  # seconds without a byte after which a connection is taken for dead
LEAST = 1 << 14  # bytes that must come in that time, or another connection is tried
JSON_LIMIT = 1 << 26
PLAIN = "%/:?#[]@!$&'()*+,;=-._~"  # signs that addresses have as they are


class Refused(Exception):
    """An answer that will not be another one next time: 401, 403, 404 and the like."""

    def __init__(self, status: int, headers: Headers, url: str) -> None:
        """Keep what the Hub says in its own headers."""
        super().__init__(f"{shown(url)} answered {status}")
        self.status, self.url = status, url
        self.code = headers.get("X-Error-Code") or ""
        self.message = headers.get("X-Error-Message") or ""


class Answer:
    """An answer whose body is still to be read."""

    def __init__(self, pool: Pool, connection: Connection | None, response: http.client.HTTPResponse, url: str) -> None:
        """`first` is the first answer's headers, where the Hub says what a redirect leads to."""
        self.pool, self.connection, self.response, self.url = pool, connection, response, url
        self.status, self.headers = response.status, response.headers
        self.first: Headers = response.headers

    @property
    def length(self) -> int | None:
        """The bytes of the body, where the headers say it."""
        return count_of(self.headers, "Content-Length")

    def blocks(self) -> Iterator[bytes]:
        """Yield the body as it comes; it may end too early."""
        left = self.length
        since, came = time.monotonic(), 0
        try:
            if left == 0:
                self._finish()
            while left is None or left > 0:
                block = self.response.read1(BLOCK)
                if not block:
                    return
                came += len(block)
                if (now := time.monotonic()) - since > self.pool.timeout:
                    if came < LEAST:
                        raise Passing("it came too slowly")
                    since, came = now, 0
                left = left if left is None else left - len(block)
                if left == 0:
                    self._finish()
                yield block
        except (OSError, http.client.HTTPException) as error:
            raise Passing(reason_of(error)) from None
        finally:
            self.close()

    def read(self) -> bytes:
        """Return the whole of a short body."""
        parts, size = [], 0
        for block in self.blocks():
            parts.append(block)
            if (size := size + len(block)) > JSON_LIMIT:
                raise Passing("it answered with more than a listing")
        if self.length is not None and size != self.length:
            raise Passing("the connection ended early")
        return b"".join(parts)

    def drain(self) -> None:
        """Read a short body that nobody wants, so that its connection can be used again."""
        if self.length is not None and self.length <= BLOCK:
            with suppress(Passing):
                self.read()
        self.close()

    def _finish(self) -> None:
        """Keep the connection for the next request: the body was read to its end."""
        if self.connection is not None and not self.response.will_close:
            self.response.close()
            self.pool.give(self.connection)
            self.connection = None

    def close(self) -> None:
        """End the connection, unless it was kept."""
        with suppress(OSError):
            self.response.close()
            if self.connection is not None:
                self.connection.close()


class Client:
    """Makes requests by the rules of an Access; for any number of threads."""

    def __init__(
        self,
        access: Access,
        token: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        silence: float = SILENCE,
    ) -> None:
        """`token` goes to the origin of `access.endpoint`, by https, and nowhere else."""
        if token is not None and not re.fullmatch(r"[\x21-\x7e]+", token):
            raise UsageError("HF_TOKEN is no token: it has spaces or signs that no token has")
        self.access, self.sleep = access, sleep
        self._token = token
        self._pool = Pool(access, silence)
        self._has_connected = False

    @property
    def has_token(self) -> bool:
        """Whether there is a token; it is shown to nobody else."""
        return self._token is not None

    def close(self) -> None:
        """Close the connections that wait for another request."""
        self._pool.close()

    def token_for(self, url: str) -> str | None:
        """Return the token where an address may be told it: at the Hub's own origin, by https."""
        origin = Origin.of(url)
        return self._token if origin == self.access.endpoint and origin.scheme == "https" else None

    def once(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Return the answer that redirects lead to.

        Raises:
            Passing: another try may bring it.
            Refused: it will not.
        """
        url = quote(url, safe=PLAIN)
        first: Headers | None = None
        is_trusted = True
        for _ in range(HOPS):
            origin = self.access.check(url)
            is_trusted = is_trusted and origin == self.access.endpoint
            answer = self._send(url, origin, dict(headers or {}), is_trusted)
            first = first or answer.headers
            location = answer.headers.get("Location")
            if answer.status not in REDIRECTS or not location:
                answer.first = first
                return self._sorted_out(answer)
            answer.drain()
            url = joined(url, quote(location, safe=PLAIN, encoding="latin-1"))  # as http.client decodes headers
        raise Passing("it is redirected without end")

    def json(self, url: str, name: str) -> tuple[Any, Headers]:
        """Return what an interface answers, and its headers; `name` is what is said to have failed."""
        patience = Patience(name, self.sleep)
        while True:
            try:
                answer = self.once(url, {"Accept": "application/json"})
                try:
                    return json.loads(answer.read()), answer.headers
                except ValueError:
                    raise Passing(f"{shown(url)} does not answer as the Hub does") from None
            except Passing as failure:
                patience.failed(failure)

    def _send(self, url: str, origin: Origin, headers: dict[str, str], is_trusted: bool) -> Answer:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers |= {"Accept-Encoding": "identity", "User-Agent": "pylm"}
        if is_trusted and (token := self.token_for(url)):
            headers["Authorization"] = f"Bearer {token}"
        while True:
            connection, is_used = self._pool.take(origin)
            try:
                connection.ask(url, path, headers)
                answer = Answer(self._pool, connection, connection.getresponse(), url)
            except (OSError, http.client.HTTPException, UnicodeError) as error:
                connection.close()
                if is_used and not isinstance(error, TimeoutError):  # it had waited for too long: another one
                    continue
                self._refuse_lasting(origin, error)
                raise Passing(f"{origin.host}: {reason_of(error)}") from None
            except BaseException:
                connection.close()
                raise
            self._has_connected = True
            return answer

    def _refuse_lasting(self, origin: Origin, error: Exception) -> None:
        """Raise what another try would not mend."""
        if isinstance(error, ssl.SSLCertVerificationError):
            raise DataError(
                f"{origin.host} does not prove that it is who it says: {error.verify_message.lower().rstrip('.')}",
                "where a proxy of yours answers in its name, set SSL_CERT_FILE to a file with that one's certificate",
            ) from None
        if isinstance(error, socket.gaierror) and not self._has_connected:
            raise DataError(
                f"{origin.host} cannot be looked up: {reason_of(error)}",
                "is there a network? behind a proxy, set HTTPS_PROXY; with PYLM_OFFLINE=1 only what is here is used",
            ) from None

    def _sorted_out(self, answer: Answer) -> Answer:
        if answer.status in (200, 206, 416):
            return answer
        answer.drain()
        if answer.status in PASSING:
            wait = asked_to_wait(answer.headers)
            raise Passing(f"{urlsplit(answer.url).hostname} answered {answer.status} {answer.response.reason}", wait)
        raise Refused(answer.status, answer.headers, answer.url)


def joined(url: str, to: str) -> str:
    """Return where an address leads that was given at another one."""
    try:
        return urljoin(url, to)
    except ValueError:
        raise DataError(f"{shown(url)} leads to {shown(to)}, which is no address", "is it behind a proxy?") from None


def reason_of(error: Exception) -> str:
    """Return what a failed connection says, in a few words and without what was sent."""
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
        return "it does not speak http"
    return str(getattr(error, "strerror", None) or error or "the connection was closed").lower()
