"""Every variant of the kernels, and shards as the format describes them, written here byte by byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from pylm import _native

WriteData = Callable[..., Path]


@pytest.fixture(params=_native.cpu_info()["variants"])
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    _native.force_variant(request.param)
    yield request.param
    _native.force_variant("")


@pytest.fixture
def write_data(tmp_path: Path) -> WriteData:
    """A folder of shards: `documents` by shard, each a sequence of ids."""

    def write(
        name: str, shards: Sequence[Sequence[Sequence[int]]], *, dtype: str = "uint16", vocab_size: int = 50257
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        entries = []
        for number, documents in enumerate(shards):
            ids = np.concatenate([np.asarray(d, dtype) for d in documents]) if documents else np.zeros(0, dtype)
            starts = np.cumsum([0, *(len(d) for d in documents)]).astype("<u8")
            file = f"train_{number:05}.bin"
            (folder / file).write_bytes(ids.tobytes())
            (folder / file).with_suffix(".idx").write_bytes(starts.tobytes())
            entries.append({"file": file, "tokens": len(ids), "documents": len(documents)})
        manifest = {
            "format": "pylm-shards",
            "version": 1,
            "dtype": dtype,
            "vocab_size": vocab_size,
            "splits": {"train": {"shards": entries}, "val": {"shards": []}},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return write
