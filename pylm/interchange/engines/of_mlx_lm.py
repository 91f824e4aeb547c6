"""mlx-lm in a process of its own: fp32 on the CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import mlx.core as mx
import mlx_lm
import numpy as np
from mlx_lm.utils import load

from pylm.interchange.engines.job import Numbers, answer


def main(where: str, folder: str) -> None:
    """Load a folder and answer a job."""
    mx.set_default_device(mx.cpu)
    model, tokenizer = load(str(Path(where).absolute()))[:2]
    model.set_dtype(mx.float32)

    def encode(texts: list[str]) -> list[list[int]]:
        return [list(tokenizer.encode(text, add_special_tokens=False)) for text in texts]

    def logits(ids: list[int]) -> Numbers:
        return np.array(model(mx.array([ids]))[0].astype(mx.float32))

    answer(Path(folder), encode, logits, mlx_lm.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
