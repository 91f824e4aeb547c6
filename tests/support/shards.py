"""Folders of tokens as `pylm tokenize` writes them, of ids that are drawn here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def write_shards(folder: Path, vocabulary: int, random: Any, count: int = 600_000) -> Path:
    """Write a folder of shards of random ids, more likely the smaller they are."""
    folder.mkdir()
    splits = {}
    for split, size in (("train", count), ("val", 20_000)):
        ids = np.minimum((vocabulary * random.random(size) ** 3).astype(np.uint16), vocabulary - 1)
        ids.tofile(folder / f"{split}_00000.bin")
        np.array([0, size], np.uint64).tofile(folder / f"{split}_00000.idx")
        shard = {"file": f"{split}_00000.bin", "tokens": size, "documents": 1, "hash": str(int(ids.sum()))}
        splits[split] = {"tokens": size, "documents": 1, "text_bytes": 3 * size, "shards": [shard]}
    manifest = {"dtype": "uint16", "vocab_size": vocabulary, "tokenizer": "random", "splits": splits}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
