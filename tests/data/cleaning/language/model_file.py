"""fastText's model files with random numbers, as its documentation and its source have them written."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

MAGIC = 793712314
LOSSES = {"hs": 1, "ns": 2, "softmax": 3, "ova": 4}


@dataclass
class Model:
    words: list[str]
    labels: list[str]
    dim: int = 10
    minn: int = 2
    maxn: int = 4
    bucket: int = 500
    phrase: int = 1
    loss: str = "softmax"
    version: int = 12
    kind: int = 3
    kept: int | None = None  # grams that pruning left
    quantised: bool = False
    lengths: bool = False
    output_quantised: bool = False
    dsub: int = 2
    seed: int = 0
    counts: list[int] = field(default_factory=list)

    def write(self, path: Path) -> Path:
        path.write_bytes(self.bytes())
        return path

    def bytes(self) -> bytes:
        rng = np.random.default_rng(self.seed)
        counts = self.counts or sorted(rng.integers(1, 1000, len(self.labels)).tolist(), reverse=True)
        out = struct.pack("<2i", MAGIC, self.version)
        settings = (self.dim, 5, 5, 1, 5, self.phrase, LOSSES[self.loss], self.kind)
        out += struct.pack("<12id", *settings, self.bucket, self.minn, self.maxn, 100, 1e-4)
        sizes = (len(self.words) + len(self.labels), len(self.words), len(self.labels))
        out += struct.pack("<3i2q", *sizes, 10_000, -1 if self.kept is None else self.kept)
        for word in self.words:
            out += word.encode() + b"\0" + struct.pack("<qb", int(rng.integers(1, 100)), 0)
        for label, count in zip(self.labels, counts, strict=True):
            out += label.encode() + b"\0" + struct.pack("<qb", count, 1)
        if self.kept is not None:
            grams = rng.choice(self.bucket, self.kept, replace=False)
            for row, gram in enumerate(grams.tolist()):
                out += struct.pack("<2i", gram, row)
        rows = len(self.words) + (self.bucket if self.kept is None else self.kept)
        out += struct.pack("<?", self.quantised) + self.matrix(rng, rows, self.quantised, 1.0)
        out += struct.pack("<?", self.output_quantised)
        return out + self.matrix(rng, len(self.labels), self.quantised and self.output_quantised, 3.0)

    def matrix(self, rng: np.random.Generator, rows: int, quantised: bool, scale: float) -> bytes:
        if not quantised:
            return struct.pack("<2q", rows, self.dim) + rng.normal(0, scale, (rows, self.dim)).astype("<f4").tobytes()
        pieces = -(-self.dim // self.dsub)
        out = struct.pack("<?2qi", self.lengths, rows, self.dim, rows * pieces)
        out += rng.integers(0, 256, rows * pieces).astype("u1").tobytes() + quantiser(rng, self.dim, self.dsub, scale)
        if self.lengths:
            out += rng.integers(0, 256, rows).astype("u1").tobytes() + quantiser(rng, 1, 1, 1.0)
        return out


def quantiser(rng: np.random.Generator, dim: int, dsub: int, scale: float) -> bytes:
    pieces = -(-dim // dsub)
    head = struct.pack("<4i", dim, pieces, dsub, dim - (pieces - 1) * dsub)
    return head + rng.normal(0, scale, dim * 256).astype("<f4").tobytes()
