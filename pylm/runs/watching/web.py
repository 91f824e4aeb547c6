"""Runs as a page that this machine alone can open, or whoever has its token, and that goes on by server-sent events.

An event's id says how far the folders were read, so that a browser that comes back, to this server or to the next one,
is sent nothing that it has. Every answer is made of bytes in memory: no path of a request is one of the disk.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from pylm.errors import PylmError, UsageError
from pylm.runs.drawing.page import document, packaged, plain, uplot
from pylm.runs.finding import find_runs
from pylm.runs.history import AXES
from pylm.runs.plot import panels_of
from pylm.runs.watching.watched import SHARE, Watched
from pylm.wording import param

__all__ = ["Server", "watch_web"]

HOME = "127.0.0.1"
LOOPBACK = {HOME, "localhost", "::1"}
HOSTS = {
    "127.0.0.1",
    "localhost",
    "[::1]",
}  # what a browser on this machine calls it: no page elsewhere can name another
TEXT = "text/plain; charset=utf-8"
METRICS = ("loss", "val_loss", "grad_norm", "tokens_per_second")
COLUMNS = 1000
INTERVAL, ALIVE = 1.0, 15.0  # seconds between looks, and between signs of life
POLICY = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def watch_web(
    runs: Sequence[str | Path] = (),
    port: int = 0,
    on_address: Callable[[str], None] = print,
    *,
    host: str = HOME,
    token: str | None = None,
) -> None:
    """Serve a page of runs until Ctrl-C.

    Args:
        runs: Folders or names; the newest run if none is named.
        port: Of the address; any free one if 0.
        on_address: Is told the address.
        host: The address to listen at; any but the loopback one asks for a token.
        token: What a browser has to know, in the address; PYLM_TOKEN, or a new one where it is needed, if not given.
    """
    with Server(find_runs(runs), port, host=host, token=token or os.environ.get("PYLM_TOKEN")) as server:
        on_address(server.address)
        server.serve_forever()


class Server(ThreadingHTTPServer):
    """The page of some runs, on the loopback address or, for those who know its token, on another."""

    daemon_threads = True

    def __init__(
        self, runs: Sequence[Path], port: int = 0, interval: float = INTERVAL, *, host: str = HOME,
        token: str | None = None,
    ) -> None:  # fmt: skip
        """Take a port; it is an error where somebody else has it."""
        self.host, self.token = host, token or (None if host in LOOPBACK else _new_token())
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.runs, self.interval = [Watched(run) for run in runs], interval
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.page = _page([run.run.name for run in self.runs]).encode()
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError, UnicodeError) as error:
            if not port:  # any free one would do: it is the address
                hint = f"name an address of this machine, or leave {param('host')} out"
                raise UsageError(f"a port of {host} cannot be had: {error}", hint) from None
            where = f"port {port}" if host == HOME else f"port {port} of {host}"
            raise UsageError(f"{where} cannot be had: {error}", f"leave {param('port')} out, or name another") from None

    @property
    def address(self) -> str:
        """Return what a browser opens."""
        name = socket.gethostname() if self.host in ("", "0.0.0.0", "::") else self.host
        place = f"[{name}]" if ":" in name else name
        return f"http://{place}:{self.server_address[1]}/" + (f"?token={quote(self.token)}" if self.token else "")

    def look(self) -> str:
        """Read what was added to the folders, and return how far they are read."""
        with self.lock:
            for run in self.runs:
                run.look()
            return ",".join(_read_so_far(run) for run in self.runs)

    def content(self, x: str) -> bytes:
        """Return what the page shows, as JSON."""
        with self.lock:
            histories = [run.history for run in self.runs if run.history is not None]
            known = [metric for metric in METRICS if any(metric in one.keys for one in histories)]
            panels = panels_of(histories, known, x, columns=COLUMNS) if known else []
            shown = {"panels": [plain(panel) for panel in panels], "runs": [_told(run) for run in self.runs]}
        return json.dumps(shown, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    def server_close(self) -> None:
        """Let go of the port and of whoever listens."""
        self.stopped.set()
        super().server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = 30
    server_version, sys_version = "pylm", ""

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        where = urlsplit(self.path)
        asked = parse_qs(where.query)
        if self.server.token is not None and not self._knows(asked.get("token", [""])[0]):
            self._answer(401, b"this page asks for its token: open the address as it was printed\n", TEXT)
        elif self.server.token is None and self._host() not in HOSTS:
            self._answer(403, b"this page is for this machine alone\n", TEXT)
        elif where.path == "/":
            self._answer(200, self.server.page, "text/html; charset=utf-8")
        elif where.path == "/events":
            self._events(asked.get("x", ["steps"])[0])
        else:
            self._answer(404, b"there is / and /events\n", TEXT)

    def _knows(self, token: str) -> bool:
        """Say whether a token is the server's, in a time that tells nothing of it."""
        import hmac  # with hashlib 5 ms of the start, for those alone who have a token

        return hmac.compare_digest(token.encode(), (self.server.token or "").encode())

    def _host(self) -> str:
        """Return what the browser calls this machine, without the port."""
        named = self.headers.get("Host") or ""
        return named if named == "[::1]" else named.rsplit(":", 1)[0]

    def _answer(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        for name, value in {**POLICY, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _events(self, x: str) -> None:
        """Send what the page shows whenever it is another, until the browser leaves or the server stops."""
        if x not in AXES:
            self._answer(400, f"x is one of {', '.join(AXES)}\n".encode(), TEXT)
            return
        self.close_connection = True
        self.send_response(200)
        for name, value in {**POLICY, "Content-Type": "text/event-stream", "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        seen, alive = self.headers.get("Last-Event-ID"), time.monotonic()
        try:
            self.wfile.write(b"retry: 2000\n\n")
            while not self.server.stopped.is_set():
                if (now := f"{x}:{self.server.look()}") != seen:
                    seen, alive, begun = now, time.monotonic(), time.thread_time()
                    self.wfile.write(b"id: %b\ndata: %b\n\n" % (now.encode(), self.server.content(x)))
                    self.server.stopped.wait((time.thread_time() - begun) / SHARE)
                elif time.monotonic() - alive > ALIVE:
                    alive = time.monotonic()
                    self.wfile.write(b": still here\n\n")
                self.server.stopped.wait(self.server.interval)
        except (OSError, PylmError):
            pass  # the browser left, or the run was removed

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of requests."""


def _new_token() -> str:
    import secrets

    return secrets.token_urlsafe(16)


def _read_so_far(run: Watched) -> str:
    read = run.history.metrics.bytes if run.history else 0
    return f"{read}.{len(run.samples)}.{len(run.incidents)}.{run.stands.state}"


def _told(run: Watched) -> dict[str, Any]:
    """Return what is said of a run; its page puts all of it in as text."""
    sample = run.samples[-1] if run.samples else None
    incident = run.incidents[-1] if run.incidents else None
    return {
        "name": run.run.name,
        "figures": run.figures(),
        "phases": run.phases(),
        "sample": sample and {key: sample.get(key) for key in ("step", "prompt", "text")},
        "incident": incident and {key: incident.get(key) for key in ("step", "kind")},
        "incidents": len(run.incidents),
    }


def _page(names: Sequence[str]) -> str:
    styles, script = uplot()
    axes = "".join(f"<option>{axis}</option>" for axis in AXES)
    body = (
        f"<main><h1>{escape(', '.join(names))}</h1>\n"
        f'<p><label for="axis">over</label> <select id="axis">{axes}</select> '
        '<span id="state" role="status">connecting</span></p>\n<div id="charts"></div><div id="runs"></div></main>'
    )
    return document(", ".join(names), body, styles, [script, packaged("page.js"), packaged("live.js")], "'self'")
