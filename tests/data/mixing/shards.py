"""Token shards of documents that a test makes, by pylm and as others write them."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import pylm

EOT = 50256
WORDS = "harbour boat storm quiet morning banks nobody spoke came yet not in a the of and".split()
Document = tuple[int, ...]


def texts(count: int, seed: int, most: int = 60) -> list[str]:
    """Return documents that are all different."""
    random = np.random.default_rng(seed)
    return [f"{seed} {n} " + " ".join(random.choice(WORDS, random.integers(1, most))) for n in range(count)]


def tokenized(folder: Path, documents: Sequence[str], **options: Any) -> Path:
    """Write documents as pylm tokenize does, without validation unless told."""
    text = folder.with_suffix(".txt")
    text.write_text("<|endoftext|>".join(documents))
    pylm.prepare(text, folder, **{"val": 0.0, **options})
    return folder


def documents_of(folder: Path, split: str) -> list[Document]:
    """Return the documents of a split as tuples of ids, read by numpy alone, in order."""
    path = folder / "manifest.json"
    if path.is_file():
        manifest = json.loads(path.read_text())
        files = [folder / shard["file"] for shard in manifest["splits"][split]["shards"]]
        dtype, base = f"<u{ {'uint16': 2, 'uint32': 4}[manifest['dtype']] }", 1024 * (manifest["header"] == "llmc")
    else:
        files = sorted(folder.glob(f"{split}_*.bin"))
        magic = int.from_bytes(files[0].read_bytes()[:4], "little") if files else 0
        dtype, base = {20240520: ("<u2", 1024), 20240801: ("<u4", 1024)}.get(magic, ("<u2", 0))
    found: list[Document] = []
    for file in files:
        ids = np.fromfile(file, dtype, offset=base)
        starts = np.fromfile(file.with_suffix(".idx"), "<u8").astype(int)
        assert starts[0] == 0 and starts[-1] == len(ids)
        found += [tuple(map(int, ids[a:b])) for a, b in zip(starts, starts[1:], strict=False)]
    return found


def drawn(count: int, seed: int, vocabulary: int = 50000, most: int = 40) -> list[Document]:
    """Return documents of ids, each with its end of text at the end."""
    random = np.random.default_rng(seed)
    return [(*map(int, random.integers(0, vocabulary, random.integers(1, most))), EOT) for _ in range(count)]


def flat(documents: Sequence[Document]) -> list[int]:
    return [token for document in documents for token in document]


def nanogpt(path: Path, documents: Sequence[Document]) -> Path:
    np.array(flat(documents), "<u2").tofile(path)
    return path


def llmc(path: Path, ids: Sequence[int], wide: bool = False) -> Path:
    header = np.zeros(256, "<i4")
    header[:3] = (20240801, 7, len(ids)) if wide else (20240520, 1, len(ids))
    path.write_bytes(header.tobytes() + np.array(ids, "<u4" if wide else "<u2").tobytes())
    return path


def megatron(path: Path, documents: Sequence[Document], code: int = 4) -> Path:
    """Write Megatron's .bin and .idx, as its IndexedDatasetBuilder lays them out."""
    dtype = {4: "<i4", 8: "<u2"}[code]
    lengths = np.array([len(document) for document in documents], "<i4")
    size = np.dtype(dtype).itemsize
    np.array(flat(documents), dtype).tofile(path)
    places = (np.cumsum(lengths, dtype="<i8") - lengths) * size
    head = b"MMIDIDX\0\0" + struct.pack("<Q", 1) + struct.pack("<B", code)
    head += struct.pack("<QQ", len(documents), len(documents) + 1)
    numbers = np.arange(len(documents) + 1, dtype="<i8")
    path.with_suffix(".idx").write_bytes(head + lengths.tobytes() + places.astype("<i8").tobytes() + numbers.tobytes())
    return path


def counted(*several: Sequence[Document]) -> Counter[Document]:
    return Counter(document for one in several for document in one)
