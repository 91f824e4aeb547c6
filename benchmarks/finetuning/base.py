"""The model that instructions are given to: trained here, on text that has the skills and no instruction."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.finetuning.material import documents, examples

DOCUMENTS = 60_000
VOCABULARY = 384
CONTEXT = 64
SHAPE: dict[str, Any] = {"n_layers": 3, "n_heads": 4, "d_model": 128, "context_length": CONTEXT}
LENGTH: dict[str, Any] = {"max_steps": 2000, "batch_tokens": 2048}
LEARNING: dict[str, Any] = {"optimizer": "muon", "learning_rate": 1e-2, "schedule": "linear"}


def train_base(folder: str, cores: int, seed: int) -> dict[str, Any]:
    """Train the model in `folder`/base, beside `folder`/text in shards."""
    import torch

    import pylm

    torch.set_num_threads(cores)
    begun = time.perf_counter()
    place = Path(folder)
    text = place / "text.jsonl"
    text.write_text("".join(json.dumps({"text": one}) + "\n" for one in documents(DOCUMENTS, seed)))
    pylm.prepare([text], place / "text", vocab_size=VOCABULARY)
    run = pylm.train(
        data=place / "text", out=place / "base", sample_every=None, save_every=None, seed=seed,
        **SHAPE, **LENGTH, **LEARNING,
    )  # fmt: skip
    return {"seconds": time.perf_counter() - begun, "loss": run.val_loss, "result": None}


def write_examples(path: Path, count: int, seed: int, *, unseen: bool = False) -> None:
    """Write instructions as lines of prompts and completions."""
    rows = ({"prompt": one.prompt, "completion": one.completion} for one in examples(count, seed, unseen=unseen))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
