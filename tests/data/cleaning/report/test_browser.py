"""A browser opens a report of hostile documents: nothing of them runs, and nothing is asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pylm.data.cleaning import report
from tests.data.cleaning.report.made_up import made_up, written

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed")


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """A server, and the paths that it was asked for; the first is its own address."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    paths.append(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield paths
    server.shutdown()
    server.server_close()


def hostile(address: str) -> str:
    return (
        f'</style></title></div><script>document.title="owned";fetch("{address}/fetch")</script>'
        f'<img src="{address}/img" onerror="document.title=\'owned\'"><link rel=stylesheet href="{address}/css">'
        f'<style>body{{background:url("{address}/style")}}</style><iframe src="{address}/frame"></iframe>'
        f'<svg onload="document.title=\'owned\'"></svg><b id=injected style="background:url({address}/inline)">b</b>'
    )


def opened(page: Path, profile: Path) -> str:
    """Return the document as the browser has it once it has settled."""
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--virtual-time-budget=1500", f"--user-data-dir={profile}",
         "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=100, env={**os.environ, "HOME": str(profile)},
    )  # fmt: skip
    assert done.returncode == 0 and "<html" in done.stdout, done.stderr[-2000:]
    return done.stdout


def test_hostile_documents_are_text_to_a_browser(tmp_path: Path, asked: list[str]) -> None:
    attack = hostile(asked[0])
    page = report.write(written(tmp_path / "d", made_up(attack, attack)))
    document = opened(page, tmp_path / "profile")
    assert asked[1:] == []
    assert "<title>Cleaning report</title>" in document
    for tag in ("<script", "<img", "<link", "<iframe", "<b id"):
        assert tag not in document, tag
    assert document.count("<style") == 1 and "&lt;script&gt;" in document


def test_were_an_escape_forgotten_the_policy_would_hold(tmp_path: Path, asked: list[str]) -> None:
    text = report.write(written(tmp_path / "d", made_up())).read_text()
    page = tmp_path / "page.html"
    page.write_text(text.replace("</header>", hostile(asked[0]) + "</header>"))
    document = opened(page, tmp_path / "profile")
    assert asked[1:] == [] and "<title>Cleaning report</title>" in document and "<iframe" in document
    # and the attack is one: without the policy it gets through
    start = text.index('<meta http-equiv="Content-Security-Policy"')
    open_to_all = text[:start] + text[text.index(">", start) + 1 :]
    page.write_text(open_to_all.replace("</header>", hostile(asked[0]) + "</header>"))
    document = opened(page, tmp_path / "profile")
    assert "<title>owned</title>" in document and {"/img", "/css", "/fetch"} <= set(asked[1:])
