"""nanoGPT's model and optimizer, imported from its checkout, with the settings of its CPU recipe, under the clock.

By characters as data/shakespeare_char/prepare.py makes them (of the whole text: no character is unknown), or by
tokens. GPT-2's 50,257 would be nine tenths of a model of this size, so tokens are learned from the text, which its
scripts do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
DECAY, BETAS, CLIP = 0.1, (0.9, 0.99), 1.0  # train.py with config/train_shakespeare_char.py
FLOOR, WARMUP = 0.1, 100


def side(folder: str, train: str, held: str, seconds: float, shape: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train in `seconds` and score; the clock runs from the text to the last step."""
    import torch

    from benchmarks.track.clock import Clock
    from benchmarks.track.material import answer, bits_per_byte, checkout, documents, windows

    checkout(folder)
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    torch.manual_seed(seed)
    clock = Clock(seconds)
    texts, held_out = documents(train), documents(held)
    by = characters if shape["vocabulary"] == "characters" else tokens
    pool, encode, before, separates, size = by(texts, held_out, shape, seed)
    sizes = {"n_layer": shape["layers"], "n_head": shape["heads"], "n_embd": shape["width"]}
    model = GPT(GPTConfig(block_size=shape["context"], vocab_size=size, dropout=0.0, bias=False, **sizes))
    if shape["dtype"] == "bfloat16":
        model = model.to(torch.bfloat16)
    # it asks for the fused AdamW on "cuda" alone, which torch has had for CPUs since
    optimizer = model.configure_optimizers(DECAY, shape["rate"], BETAS, "cuda")
    step = torch.compile(model) if shape["compile"] else model
    train_to_the_end(lambda x, y: step(x, y)[1], model, optimizer, pool, shape, clock)
    spent = clock.spent()

    model.eval()

    def nats(x: Any, y: Any) -> Any:
        logits = model(x, y)[0]
        return torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), y, reduction="none")

    def batches() -> Any:
        return windows(encode(held_out), before, separates, shape["context"])

    x, y, _ = next(batches())
    with torch.no_grad():
        ours, theirs = float(nats(x, y).mean()), float(model(x, y)[1])
    assert abs(ours - theirs) < 5e-3 * theirs, f"nanoGPT's own loss of a batch is {theirs}, ours {ours}"
    size_of_step = (shape["rows"], shape["context"])
    return answer(spent, clock.steps, size_of_step, model, bits_per_byte(batches(), nats, held_out))


def train_to_the_end(
    loss_of: Callable[[Any, Any], Any], model: Any, optimizer: Any, pool: Any, shape: dict[str, Any], clock: Any
) -> None:
    """Take steps until the clock is over: `loss_of` inputs and targets, under autocast where the shape says so."""
    import contextlib

    import torch

    context = torch.autocast("cpu", torch.bfloat16) if shape["dtype"] == "autocast" else contextlib.nullcontext()
    while not clock.over():
        for group in optimizer.param_groups:
            group["lr"] = shape["rate"] * schedule(clock.steps, clock.iterations())
        with context:
            loss = loss_of(*pool.rows(shape["rows"], shape["context"]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        clock.step()


def schedule(step: int, steps: int) -> float:
    """Warmup, then a cosine down to a tenth, as a share of the highest rate."""
    if step < WARMUP:
        return (step + 1) / (WARMUP + 1)
    through = min(1.0, (step - WARMUP) / max(1, steps - WARMUP))
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * through))


def characters(texts: list[str], held_out: list[str], shape: dict[str, Any], seed: int) -> tuple[Any, ...]:
    """Characters: what draws rows, what encodes documents, what stands before the first, and how many there are."""
    import numpy as np

    from benchmarks.track.material import Pool

    def codes(text: str) -> Any:
        return np.frombuffer(text.encode("utf-32-le"), np.uint32)

    there = np.zeros(0x110000, bool)
    for text in (*texts, *held_out, "\n"):
        there[codes(text)] = True
    numbers = np.cumsum(there) - 1

    def encode(some: list[str]) -> list[Any]:
        return [numbers[codes(text)] for text in some]

    (newline,) = encode(["\n"])[0]
    return Pool(texts, encode, seed), encode, int(newline), False, int(there.sum())


def tokens(texts: list[str], held_out: list[str], shape: dict[str, Any], seed: int) -> tuple[Any, ...]:
    """The same of tokens, an end of text after each document as data/openwebtext/prepare.py has it."""
    import torch

    from benchmarks.track.material import SEPARATOR, Pool, trained_bpe

    encoding = trained_bpe(texts, shape["vocabulary"], PATTERN, SEPARATOR)
    end = encoding.encode_single_token(SEPARATOR)
    threads = torch.get_num_threads()

    def encode(some: list[str]) -> list[list[int]]:
        found: list[list[int]] = encoding.encode_ordinary_batch(some, num_threads=threads)
        return found

    pool = Pool(texts, lambda some: [[*ids, end] for ids in encode(some)], seed)
    return pool, encode, end, True, shape["vocabulary"]
