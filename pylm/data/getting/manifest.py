"""dataset.json, the last file of a folder that was got: what is in it, where it is from, and on whose terms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import get_native_id
from typing import TYPE_CHECKING, Any

from pylm.data.catalogue import Entry, all_terms
from pylm.data.catalogue.here import MANIFEST
from pylm.durable import replace_text
from pylm.errors import DataError
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.data.catalogue.files import Found

__all__ = ["of_file", "of_sources", "read", "sha256_of", "stands", "write"]

FORMAT = 1


def of_sources(one: Entry, parts: Sequence[Found]) -> dict[str, Any]:
    """Return what a manifest says of a dataset, whatever was taken of it."""
    sources = [
        {
            "name": part.entry.full_name,
            "where": part.where,
            "sha": part.sha,
            "licence": part.entry.licence.value,
            "attribution": part.entry.attribution,
            "reading": dict(part.entry.reading),
        }
        for part in parts
    ]
    return {
        "format": FORMAT,
        "name": one.full_name,
        "dataset": one.name,
        "kind": one.kind,
        "licence": one.licence.value,
        "terms": list(all_terms(one)),
        "sources": sources,
    }


def of_file(path: str, size: int, hashes: Mapping[str, str], name: str) -> dict[str, Any]:
    """Return what a manifest says of a file: its hashes by their kind, and what it is called where it is from."""
    return {"path": path, "size": size, **hashes, "from": name}


def write(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a folder, after everything else."""
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    # under a name of its own: another process may end at the same moment with the same files
    replace_text(folder / MANIFEST, text, folder / f".{MANIFEST}.{get_native_id()}.part")


def read(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder that was got, None where there is none."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        for key, kind in (("name", str), ("files", list), ("request", dict), ("revisions", list)):
            if not isinstance(manifest[key], kind):
                raise ValueError(key)
        if not all(isinstance(file["path"], str) and isinstance(file["size"], int) for file in manifest["files"]):
            raise ValueError("files")
        return manifest
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{folder / MANIFEST} is damaged", "remove it: what else is there is checked again") from None


def stands(folder: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the manifest of a folder that holds all of what is asked for; refuse one that holds something else."""
    manifest = read(folder)
    if manifest is None:
        return None
    if {**request, "listed": False} == manifest["request"] != request:  # what huggingface_hub had may not be all
        return None
    if manifest["request"] != request:
        name = manifest["name"]
        was = " with another limit, revision or column" if name == request["name"] else ""
        raise DataError(f"{folder} holds {name} already{was}", f"name another folder with {param('out')}")
    for file in manifest["files"]:
        path = folder / file["path"]
        if not path.is_file() or path.stat().st_size != file["size"]:
            return None
    return manifest


def sha256_of(path: Path) -> str:
    """Return the hash of a file."""
    from pylm.data.fetching.remote_file import blocks_of

    checksum = hashlib.sha256()
    for block in blocks_of(path):
        checksum.update(block)
    return checksum.hexdigest()
