"""What the newest evaluations of a run found of each document, for comparisons of runs by pairs."""

from __future__ import annotations

import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pylm.durable import naming
from pylm.errors import DataError

__all__ = ["DOCUMENTS", "Documents", "keep_documents", "read_documents"]

DOCUMENTS = "documents"


@dataclass(frozen=True)
class Documents:
    """The sums of each document of one evaluation, in the order of the data."""

    data: str  # which is the same where the documents are
    name: str  # of the data, as it was named
    checkpoint: str
    time: str
    keys: npt.NDArray[np.int64]
    nats: npt.NDArray[np.float64]
    tokens: npt.NDArray[np.int64]
    text_nats: npt.NDArray[np.float64]
    bytes: npt.NDArray[np.int64]


def keep_documents(run: Path, settings: str, documents: Documents) -> Path:
    """Write what an evaluation found; what one with the same settings had found goes."""
    path = run / DOCUMENTS / f"{settings}.npz"
    partial = path.with_name(f".{path.name}.partial")
    with naming(path):
        path.parent.mkdir(exist_ok=True)
        with partial.open("wb") as file:
            np.savez_compressed(file, **asdict(documents))
        os.replace(partial, path)
    return path


def read_documents(run: Path) -> list[Documents]:
    """Return what a run keeps, the newest first."""
    found = [_read(path) for path in sorted((run / DOCUMENTS).glob("*.npz"))]
    return sorted(found, key=lambda one: one.time, reverse=True)


def _read(path: Path) -> Documents:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            held: dict[str, Any] = {name: kept[name] for name in Documents.__dataclass_fields__}
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        raise DataError(f"{path} is damaged", "remove it, and evaluate again") from None
    return Documents(**{name: one.item() if one.shape == () else one for name, one in held.items()})
