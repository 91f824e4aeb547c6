"""Tiny datasets of every layout on a Hub on loopback, under the names and paths that the catalogue knows them by."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from pylm.data.catalogue.entries import Fact, all_entries
from tests.data.fetching.conftest import environment, server
from tests.support.hub_server import HubServer

__all__ = ["environment", "server"]

WORDS = "once upon a time there was small fox that found one red ball and gave it to the old bear".split()


def texts(count: int, seed: int = 0) -> list[str]:
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(WORDS, k=drawn.randrange(1, 60))) + f".\nEnd {number}." for number in range(count)]


def japanese(count: int) -> list[str]:
    drawn = random.Random(3)
    return [
        "".join(drawn.choices("日本語の文章です。猫と犬が走る", k=drawn.randrange(5, 80))) + "\n終"
        for _ in range(count)
    ]


def parquet(rows: int = 0, group: int = 10, **columns: list[Any]) -> bytes:
    pyarrow, written = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    out = io.BytesIO()
    written.write_table(pyarrow.table(columns), out, row_group_size=group)
    return out.getvalue()


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


@cache  # gzip writes the second down in which it is made
def livedoor_tar() -> bytes:
    """As the corpus lies: a folder for each category, with its licence among the articles."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in {
            "text/README.txt": "a note\non the\ncorpus\n",
            "text/it-life-hack/LICENSE.txt": "CC BY-ND\n...\n...\n...\n",
            "text/it-life-hack/it-life-hack-1.txt": "http://news.livedoor.com/1/\n2011-10-30T10:15:00+0900\n題名一\n本文です。\n二行目。\n",
            "text/smax/smax-2.txt": "http://news.livedoor.com/2/\n2012-01-01T00:00:00+0900\n題名二\n\n  別の本文。\n",
        }.items():  # fmt: skip
            content = text.encode()
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


LIVEDOOR = ["題名一\n本文です。\n二行目。", "題名二\n別の本文。"]


def wet(pages: list[str]) -> bytes:
    """Each record a gzip member, the first one of another type, as Common Crawl writes them."""
    records = [("warcinfo", "", "Software-Info: x\r\n")] + [
        ("conversion", f"http://a.b/{n}", p) for n, p in enumerate(pages)
    ]
    packed = b""
    for kind, url, text in records:
        body = text.encode()
        head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nContent-Type: text/plain\r\n"
        packed += gzip.compress(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body + b"\r\n\r\n")
    return packed


@pytest.fixture
def knows(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change an entry of the catalogue for a test."""

    def change(name: str, **changes: Any) -> None:
        monkeypatch.setitem(all_entries(), name, replace(all_entries()[name], **changes))

    return change


@pytest.fixture
def hub(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The server; what the catalogue pins is what its branch `main` is at."""
    for name, entry in list(all_entries().items()):
        parts = [replace(part, revision=Fact("main")) if part.repository else part for part in entry.parts]
        monkeypatch.setitem(all_entries(), name, replace(entry, parts=tuple(parts)))
    return server


@pytest.fixture
def at(hub: HubServer, knows: Callable[..., None]) -> Callable[..., None]:
    """Let the addresses of an entry be the server's."""

    def lie(name: str, *contents: tuple[str, bytes], **more: Fact) -> None:
        urls = Fact([hub.add_plain(path, content) for path, content in contents])
        (part,) = all_entries()[name].parts
        knows(name, parts=(replace(part, urls=urls, **more),))

    return lie


@pytest.fixture
def tinystories(hub: HubServer) -> dict[str, bytes]:
    """The dataset on the server: files by path, those of text and one that is none."""
    stories = texts(100)
    files = {f"data/train-0000{n}-of-00004-x.parquet": parquet(text=stories[25 * n : 25 * n + 25]) for n in range(4)}
    files["data/validation-00000-of-00001-x.parquet"] = parquet(text=texts(7, seed=9))
    hub.add("roneneldan/TinyStories", {**files, "README.md": b"a card", "TinyStoriesV2-GPT4-valid.txt": b"x"})
    return files
