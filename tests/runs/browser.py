"""Debian's Chromium without a window, steered through the pipe of its debugging protocol."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Page", "page_of", "screenshot"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-headless-shell")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--hide-scrollbars", "--remote-debugging-pipe", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
)
PATIENCE = 60.0


class Page:
    """A page of the browser, what it asked for and what it complained about."""

    def __init__(self, commands: int, answers: int) -> None:
        """Take the ends of the pipe, and open an empty page."""
        self._commands, self._answers = commands, answers
        self._rest, self._sent, self._session = b"", 0, None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the browser for something, and return its answer."""
        self._sent += 1
        session = {} if self._session is None else {"sessionId": self._session}
        os.write(
            self._commands,
            json.dumps({"id": self._sent, "method": method, "params": params, **session}).encode() + b"\0",
        )
        while True:
            said = self._read()
            if said.get("id") == self._sent:
                assert "error" not in said, said
                return said["result"]  # type: ignore[no-any-return]

    def _read(self) -> dict[str, Any]:
        """Return what the browser says next; its events are kept."""
        while b"\0" not in self._rest:
            assert select.select([self._answers], [], [], PATIENCE)[0], "the browser says nothing"
            part = os.read(self._answers, 1 << 20)
            assert part, "the browser is gone"
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, Any] = json.loads(text)
        if "method" in said:
            self.events.append(said)
        return said

    def value(self, script: str) -> Any:
        """Return what an expression of the page comes to."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str) -> Any:
        """Return the value of an expression once it is true."""
        end = time.monotonic() + PATIENCE
        while not (value := self.value(script)):
            assert time.monotonic() < end, f"never true: {script}: {self.value('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def open(self, address: str, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Open an address in a window of a size, in light colours or dark ones."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    @property
    def asked_for(self) -> list[str]:
        """Every address that was asked for."""
        asked = [one["params"]["request"]["url"] for one in self.events if one["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("data:", "about:"))]

    @property
    def complaints(self) -> list[str]:
        """Every error of a script, breach of the page's policy and dialogue."""
        bad = ("Runtime.exceptionThrown", "Page.javascriptDialogOpening")
        told = [json.dumps(one["params"]) for one in self.events if one["method"] in bad]
        entries = [one["params"]["entry"] for one in self.events if one["method"] == "Log.entryAdded"]
        return told + [entry["text"] for entry in entries if entry["level"] == "error" and entry["source"] != "network"]


@contextmanager
def page_of(profile: Path) -> Iterator[Page]:
    """A page of a new browser, which ends with it."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt install chromium")
    commands, answers = os.pipe(), os.pipe()
    script = 'exec "$@" 3<&"$IN" 4>&"$OUT"'
    ends = {"IN": str(commands[0]), "OUT": str(answers[1])}
    child = subprocess.Popen(
        ["bash", "-c", script, "bash", CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(commands[0], answers[1]), env={**os.environ, **ends}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(commands[0])
    os.close(answers[1])
    try:
        yield Page(commands[1], answers[0])
    finally:
        os.close(commands[1])  # it ends with its pipe
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        os.close(answers[0])


def screenshot(page: Page, path: Path) -> Path:
    """Write what the page looks like."""
    path.write_bytes(base64.b64decode(page.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))
    return path
