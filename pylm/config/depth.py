"""One dial: from the number of blocks, everything else that a run needs; and the depth that a machine has time for.

The shape is Llama's, which other programs load. Width grows with depth, so parameters grow with its cube:

    depth      2      4      6      8     12     16     24
    width    128    256    384    512    768   1024   1536
    blocks  0.4M   3.1M  10.6M  25.2M  84.9M   201M   679M     (without embeddings)
"""

from __future__ import annotations

import math
from typing import NamedTuple

from pylm.config.cascade import DEFAULT, Resolved
from pylm.config.units import format_count, format_duration
from pylm.wording import param

__all__ = ["LEAST", "Choice", "derive", "described", "for_machine", "still_open"]

WIDTH_PER_BLOCK = 64  # nanochat's dial
TOKENS_PER_PARAMETER = 20  # counted over the parameters of the blocks: Hoffmann et al. 2022
EPOCHS = 4  # text read so often is nearly as good as new (Muennighoff et al. 2023)
LEAST_STEPS = 1500  # fewer updates than this cost more than larger batches save
MFU = 0.35  # share of the matmul peak that a step reaches, before it is measured
LEAST, DEEPEST = 2, 32  # layers that are chosen
LENGTHS = ("train.max_steps", "train.max_epochs", "train.max_tokens", "train.max_time")


class Choice(NamedTuple):
    """A depth, what it derives, and why it was chosen."""

    depth: int
    values: dict[str, int | float]
    why: str


def derive(depth: int, text: int | None = None) -> dict[str, int | float]:
    """Return everything that follows from a depth, by dotted key; each may be overridden.

    Args:
        depth: blocks.
        text: how many tokens there are to train on, where that is known: the run is no longer than four epochs.
    """
    width = WIDTH_PER_BLOCK * depth
    wanted = TOKENS_PER_PARAMETER * _blocks(depth)
    tokens = wanted if text is None else min(wanted, EPOCHS * text)
    context = next(length for most, length in ((4, 256), (8, 512), (16, 1024), (math.inf, 2048)) if depth <= most)
    # the batch that wastes no token grows with the run; 2^19 is good at 1.7 billion tokens
    batch = min(2**19 * (tokens / 1.7e9) ** 0.383, tokens / LEAST_STEPS)
    return {
        "model.n_layers": depth,
        "model.n_heads": width // 128 if width > 1024 and width % 128 == 0 else depth,
        "model.d_model": width,
        "model.context_length": context,
        # 6e-4 at GPT-2's width, 1e-3 at half of it, 3e-4 at 2048
        "train.learning_rate": float(f"{6e-4 * (768 / max(width, 128)) ** 0.75:.2g}"),
        "train.batch_tokens": max(2 ** round(math.log2(max(batch, 1))), 8 * context),
        "train.max_tokens": max(tokens, 1),
    }


def for_machine(seconds: float, flops: float, text: int, vocab_size: int) -> Choice:
    """Return the depth whose whole run, as `derive` gives it, takes no longer than this here.

    Args:
        seconds: that the run may take.
        flops: of a large product here, in what is computed in.
        text: how many tokens there are to train on.
        vocab_size: of the tokenizer; a small model spends most of its time on it.
    """
    affordable = seconds * flops * MFU
    depth = LEAST
    while depth < DEEPEST and _run_flops(depth + 1, vocab_size) <= affordable and _wants(depth + 1) <= EPOCHS * text:
        depth += 1
    values = derive(depth, text)
    size, words = f"{depth} layers of {WIDTH_PER_BLOCK * depth}", f"{format_count(text)} tokens of text"
    if _wants(depth + 1) > EPOCHS * text:
        most = "more than" if depth == LEAST and _wants(depth) > EPOCHS * text else "what"
        why = f"{size}, {most} {words} train well: more text, or {param('depth', depth + 2)}, gives a larger model"
    else:
        time = format_duration(seconds)
        why = (
            f"{size}, what this machine trains in {time}: {param('max_time')} with more than that gives a larger model"
        )
    return Choice(depth, values, why)


def described(values: dict[str, int | float]) -> str:
    """Return derived values by their names, large numbers in three figures."""
    shown = {key.partition(".")[2]: value for key, value in values.items()}
    return ", ".join(f"{key} {format_count(value) if value >= 1e5 else value}" for key, value in shown.items())


def still_open(values: dict[str, int | float], resolved: Resolved) -> dict[str, int | float]:
    """Return those of derived values that nobody gave, and that agree with what was given."""

    def given(key: str) -> bool:
        return resolved.origin(key) != DEFAULT

    open_values = {key: value for key, value in values.items() if not given(key)}
    if any(given(key) for key in LENGTHS):
        open_values.pop("train.max_tokens", None)
    if given("train.grad_accum_steps") and resolved.config.train.micro_batch != "auto":
        open_values.pop("train.batch_tokens", None)
    elif "train.batch_tokens" in open_values:
        context = resolved.config.model.context_length if given("model.context_length") else 1
        each = context * (resolved.config.train.grad_accum_steps or 1)
        each *= 1 if resolved.config.train.micro_batch == "auto" else resolved.config.train.micro_batch
        if "model.context_length" in open_values:
            each *= int(open_values["model.context_length"])
        open_values["train.batch_tokens"] = max(round(open_values["train.batch_tokens"] / each), 1) * each
    return open_values


def _blocks(depth: int) -> int:
    """Return about how many parameters the blocks have: 12 squares of the width each."""
    return 12 * depth * (WIDTH_PER_BLOCK * depth) ** 2


def _wants(depth: int) -> int:
    return TOKENS_PER_PARAMETER * _blocks(depth)


def _run_flops(depth: int, vocab_size: int) -> float:
    return 6.0 * (_blocks(depth) + vocab_size * WIDTH_PER_BLOCK * depth) * _wants(depth)
