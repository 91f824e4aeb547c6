"""A Llama as one writes it with torch, SDPA and fused AdamW, under the clock: the baseline that a recipe must beat.

Its tokenizer is ours, of the size that tune_peers.py found best; rate, rows of a step and decay are tuned as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

WAYS = ("float32", "autocast", "bfloat16")


def side(folder: str, train: str, held: str, seconds: float, shape: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train in `seconds` and score; the clock runs from the text to the last step."""
    import torch
    from torch.nn import functional

    from benchmarks.plain_torch import Plain, Size, optimizer_of
    from benchmarks.track.clock import Clock
    from benchmarks.track.material import SEPARATOR, Pool, answer, bits_per_byte, documents, windows
    from benchmarks.track.nanogpt import train_to_the_end
    from pylm.tokenizer import Tokenizer

    assert shape["dtype"] in WAYS, shape
    clock = Clock(seconds)
    texts, held_out = documents(train), documents(held)
    tokenizer = Tokenizer.train(Path(train), vocab_size=shape["vocabulary"])
    end = tokenizer.eot

    def encode(some: list[str]) -> list[list[int]]:
        return [ids.tolist() for ids in tokenizer.encode_batch(some)]

    pool = Pool(texts, lambda some: [[*ids, end] for ids in encode(some)], seed)
    size = Size(
        shape["layers"], shape["heads"], shape["width"], shape["context"], tokenizer.vocab_size, inner(shape["width"])
    )
    model: Any = Plain(size, seed)
    if shape["dtype"] == "bfloat16":
        model = model.to(torch.bfloat16)
    optimizer = optimizer_of(model, shape["rate"], shape["decay"])
    step = torch.compile(model) if shape["compile"] else model
    train_to_the_end(step, model, optimizer, pool, shape, clock)
    spent = clock.spent()

    def nats(x: Any, y: Any) -> Any:
        return functional.cross_entropy(model.logits(x).float().transpose(1, 2), y, reduction="none")

    batches = windows(encode(held_out), end, True, shape["context"])
    assert tokenizer.decode([end]) == SEPARATOR
    bits = bits_per_byte(batches, nats, held_out)
    return answer(spent, clock.steps, (shape["rows"], shape["context"]), model, bits)


def inner(width: int) -> int:
    """The width inside its SwiGLU."""
    return round(8 * width / 3 / 64) * 64
