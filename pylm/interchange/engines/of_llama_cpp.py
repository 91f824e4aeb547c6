"""llama.cpp in a process of its own: keys and values in fp32, no flash attention, logits of every place."""

from __future__ import annotations

import sys
from pathlib import Path

import llama_cpp
import numpy as np

from pylm.interchange.engines.job import Numbers, answer

MOST = 512  # tokens of a sequence


def main(where: str, folder: str) -> None:
    """Load the GGUF file of a folder, or the first of its files, and answer a job."""
    file = sorted(Path(where).glob("*.gguf"))[0]
    longest = int(np.load(Path(folder) / "sequences.npz")["lengths"].max())
    model = llama_cpp.Llama(
        model_path=str(file), n_ctx=min(longest, MOST), n_batch=min(longest, MOST), logits_all=True, type_k=0, type_v=0,
        flash_attn=False, n_threads=2, verbose=False,
    )  # fmt: skip

    def encode(texts: list[str]) -> list[list[int]]:
        return [model.tokenize(text.encode(), add_bos=False, special=True) for text in texts]

    def logits(ids: list[int]) -> Numbers:
        model.reset()
        model.eval(ids)
        return np.array(model.scores[: len(ids)], np.float32)

    answer(Path(folder), encode, logits, llama_cpp.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
