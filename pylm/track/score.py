"""Bits per byte of a text that was held back: a model's, and a compressor's as a yardstick."""

from __future__ import annotations

import lzma
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pylm.errors import TokenizerError
from pylm.track.held_out import SEPARATOR, documents

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pylm.tokenizer import Tokenizer

__all__ = ["bits_per_byte", "xz_bits_per_byte"]

CHANGES = "bits per byte need a tokenizer that keeps text as it is, such as one that pylm trains"
READ_BEFORE = 16_000_000  # bytes of the training text that xz has seen: half of what its dictionary holds


def bits_per_byte(checkpoint: str | Path, held: Path) -> float:
    """Return what a model needs for a byte of a text: exact, each token once, in windows of its context's length.

    Args:
        checkpoint: a CHECKPOINT with its tokenizer; it computes in fp32 on torch.
        held: the text. Between documents the model reads an end of text, which is in neither sum.
    """
    import numpy as np

    from pylm.evaluation.bits import ByteSums
    from pylm.generation.load import open_session

    session = open_session(str(checkpoint), backend="torch", dtype="fp32")
    lengths = session.tokenizer.byte_lengths()
    if lengths is None:
        raise TokenizerError("nobody knows how many bytes a token of this tokenizer stands for", CHANGES)
    sums = ByteSums(lengths)
    ids, length = _stream(session.tokenizer, held), session.engine.context_length
    for start in range(0, len(ids) - 1, length):
        window = ids[start : start + length + 1]
        logits = session.engine.verify(window[:-1].tolist(), session.engine.cache(1, length)).astype(np.float64)
        most = logits.max(1)
        targets = window[1:]
        nats = np.log(np.exp(logits - most[:, None]).sum(1)) + most - logits[np.arange(len(targets)), targets]
        sums.add(nats, targets)
    bits, size = sums.bits().bits_per_byte, sum(map(len, documents(held)))
    if bits is None or sums.text_bytes != size:
        raise TokenizerError(f"the tokens stand for {sums.text_bytes:,} bytes of the held-out {size:,}", CHANGES)
    return bits


def _stream(tokenizer: Tokenizer, held: Path) -> npt.NDArray[np.int64]:
    """Return the ids of a text with an end of text before each document.

    A tokenizer without one begins with a line feed instead: the first token needs something before it.
    """
    import numpy as np

    begin = tokenizer.encode("\n")[-1:] if tokenizer.eot is None else [tokenizer.eot]
    between = [] if tokenizer.eot is None else begin
    parts: list[npt.ArrayLike] = [begin]
    for number, document in enumerate(documents(held)):
        parts += [between if number else [], tokenizer.encode_array(document)]
    return np.concatenate([np.asarray(part, np.int64) for part in parts])


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
