"""A Hub on loopback, an environment without anybody's own settings, and sleeps that only note how long they were."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pylm.data.fetching import Hub
from tests.support.hub_server import HubServer


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("HF_") or name.lower().endswith("_proxy") or name in ("PYLM_OFFLINE", "SSL_CERT_FILE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "pylm-cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf-cache"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def waits() -> list[float]:
    """What was slept, in seconds."""
    return []


@pytest.fixture
def hub(server: HubServer, waits: list[float]) -> Hub:
    return Hub.from_environment(allow_private=True, sleep=waits.append)


@pytest.fixture
def content() -> bytes:
    return random.Random(1).randbytes(1_000_003)
