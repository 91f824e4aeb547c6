"""Bits per byte of a text that was held back: a model's, and a compressor's as a yardstick."""

from __future__ import annotations

import lzma
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pylm.track.held_out import SEPARATOR, documents

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pylm.tokenizer import Tokenizer

__all__ = ["bits_per_byte", "stream", "xz_bits_per_byte"]

READ_BEFORE = 16_000_000  # bytes of the training text that xz has seen: half of what its dictionary holds


def bits_per_byte(checkpoint: str | Path, held: Path) -> float:
    """Return what a model needs for a byte of a text: exact, each token once, in windows of its context's length.

    Args:
        checkpoint: a CHECKPOINT with its tokenizer; it computes in fp32 on torch.
        held: the text. Between documents the model reads an end of text, which is in neither sum.
    """
    import numpy as np

    from pylm.generation.load import open_session

    session = open_session(str(checkpoint), backend="torch", dtype="fp32")
    ids, counted = stream(session.tokenizer, held)
    length, nats = session.engine.context_length, 0.0
    for start in range(0, len(ids) - 1, length):
        window = ids[start : start + length + 1]
        cache = session.engine.cache(1, length)
        logits = session.engine.verify(window[:-1].tolist(), cache).astype(np.float64)
        targets = window[1:]
        most = logits.max(1)
        losses = np.log(np.exp(logits - most[:, None]).sum(1)) + most - logits[np.arange(len(targets)), targets]
        nats += float(losses[counted[start + 1 : start + length + 1]].sum())
    return nats / math.log(2) / sum(map(len, documents(held)))


def stream(tokenizer: Tokenizer, held: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the ids of a text with an end of text before each document, and which of them are text.

    A tokenizer without an end of text begins with a line feed instead: the first token needs something before it.
    """
    import numpy as np

    between = tokenizer.encode("\n")[-1:] if tokenizer.eot is None else [tokenizer.eot]
    parts: list[npt.NDArray[np.int64]] = [np.array(between, np.int64)]
    for document in documents(held):
        if len(parts) > 1 and tokenizer.eot is not None:
            parts.append(parts[0])
        parts.append(np.asarray(tokenizer.encode_array(document), np.int64))
    counted = [np.full(len(part), part is not parts[0]) for part in parts]
    return np.concatenate(parts), np.concatenate(counted)


def xz_bits_per_byte(train: Path, held: Path) -> float:
    """Return what `xz -9` needs for a byte of a text, once it has read the last 16 MB of the training text."""
    with train.open("rb") as file:
        file.seek(max(train.stat().st_size - READ_BEFORE, 0))
        before = file.read()
    text = held.read_bytes().replace(SEPARATOR, b"\n")
    with ThreadPoolExecutor() as pool:  # liblzma lets go of the interpreter
        both, alone = pool.map(_compressed, (before + text, before))
    return 8 * (both - alone) / sum(map(len, documents(held)))


def _compressed(data: bytes) -> int:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))
