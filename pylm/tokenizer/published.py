"""Vocabularies known by name: where their publisher keeps them, and what their bytes must hash to."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pylm.cache import cache_folder
from pylm.errors import TokenizerError

__all__ = ["PUBLISHED", "Published", "by_checksum", "fetched"]

END = "<|endoftext|>"
_HOME = "https://openaipublic.blob.core.windows.net/"
_FIM = {"<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260}


@dataclass(frozen=True)
class Published:
    """A published vocabulary: its files (address and SHA-256 by file name), its pattern and its special tokens."""

    files: Mapping[str, tuple[str, str]]
    pattern: str
    specials: Mapping[str, int]


def _ranks(name: str, checksum: str) -> dict[str, tuple[str, str]]:
    return {f"{name}.tiktoken": (f"{_HOME}encodings/{name}.tiktoken", checksum)}


PUBLISHED = {
    "gpt2": Published(
        {
            "vocab.bpe": (
                f"{_HOME}gpt-2/encodings/main/vocab.bpe",
                "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
            ),
            "encoder.json": (
                f"{_HOME}gpt-2/encodings/main/encoder.json",
                "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
            ),
        },
        "gpt2",
        {END: 50256},
    ),
    "r50k_base": Published(
        _ranks("r50k_base", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"), "gpt2", {END: 50256}
    ),
    "p50k_base": Published(
        _ranks("p50k_base", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"), "gpt2", {END: 50256}
    ),
    "cl100k_base": Published(
        _ranks("cl100k_base", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
        "cl100k",
        {END: 100257, **_FIM, "<|endofprompt|>": 100276},
    ),
    "o200k_base": Published(
        _ranks("o200k_base", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
        "o200k",
        {END: 199999, "<|endofprompt|>": 200018},
    ),
}


def by_checksum(data: bytes) -> Published | None:
    """Return the published vocabulary that these ranks are, whatever the file is called."""
    checksum = hashlib.sha256(data).hexdigest()
    for published in PUBLISHED.values():
        if any(known == checksum for _, known in published.files.values()):
            return published
    return None


def is_offline(offline: bool | None = None) -> bool:
    """Say whether the network is not to be used: as asked, else as PYLM_OFFLINE says."""
    if offline is not None:
        return offline
    return os.environ.get("PYLM_OFFLINE", "").lower() not in ("", "0", "false", "no")


def fetched(name: str, offline: bool | None = None) -> dict[str, bytes]:
    """Return the files of a published vocabulary by name, from the cache or fetched into it; checksums always hold."""
    cache = cache_folder()
    return {
        file: _file(cache and cache / "tokenizers" / name / file, address, checksum, name, is_offline(offline))
        for file, (address, checksum) in PUBLISHED[name].files.items()
    }


def _file(path: Path | None, address: str, checksum: str, name: str, offline: bool) -> bytes:
    put = f"put {address} at {path}" if path else "there is no home for a cache folder: set PYLM_CACHE"
    if path and path.is_file():
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == checksum:
            return data
        if offline:
            raise TokenizerError(f"{path} is not the published file (its SHA-256 is not {checksum[:12]}…)", put)
    if offline:
        raise TokenizerError(f"{name} is not in the cache, and the network is not to be used", put)
    data = _get(address, name, put)
    found = hashlib.sha256(data).hexdigest()
    if found != checksum:
        raise TokenizerError(
            f"{address} sent a file whose SHA-256 is {found[:12]}…, not {checksum[:12]}…; nothing was kept",
            f"something between here and there changes files; {put}",
        )
    if path is None:
        return data
    try:
        _keep(path, data)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TokenizerError(
            f"cannot keep {name} in {path.parent}: {reason}", "set PYLM_CACHE to a folder of yours"
        ) from None
    return data


def _get(address: str, name: str, put: str) -> bytes:
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        with urlopen(address, timeout=30) as answer:
            return bytes(answer.read(1 << 26))
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise TokenizerError(f"cannot fetch {name}: {reason}", put) from None


def _keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
