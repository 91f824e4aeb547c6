"""The recipe of a run of which nothing is known but its time, its machine and its text: fitted on short runs.

The work is the seconds of a run times the FLOPs a second of a product on the machine. By it, the size:

    work      1e13    1e14    1e15    1e16    1e17    1e18    1e19
    depth        2       3       4       5       7      10      15

Width grows with depth (64 a block, nanochat's dial), and what a model of a size is trained with is Muon's recipe: norms
on queries and keys, projections that begin at zero, a head of its own, rates for matrices, embeddings and head, and a
trapezoid. How each figure was found, and what was tried beside it, is in docs/recipes.md.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["DEEPEST", "LEAST", "batch_tokens", "blocks", "depth_for", "expected_tokens", "ways", "vocab_size", "width"]

WIDTH_PER_BLOCK = 64
LEAST, DEEPEST = 2, 32  # layers that are chosen
MFU = 0.4  # share of a product's rate that a step reaches, before it is measured
# blocks of so many parameters are the best at so much work, and grow with this power of it
PARAMETERS, WORK, POWER = 0.85e6, 1e14, 0.45
LEAST_STEPS = 1500  # fewer cost more than larger steps save: 712 of 8,192 tokens lose to 1,433 of 4,096 by 1.5 %
LEAST_BATCH = 4096  # tokens: what Muon does once a step takes longer than smaller steps gain
RATE, OF_WIDTH = 1e-2, 128  # Muon's for matrices, falling with the root of the width
OF_TABLE, OF_HEAD = 10.0, 2.0  # times that rate: 3 and 1 lose 1.7 % in a minute, 20 and 5 lose 0.7 %


def width(depth: int) -> int:
    """Return the width of the model."""
    return WIDTH_PER_BLOCK * depth


def blocks(depth: int) -> int:
    """Return about how many parameters the blocks have: 12 squares of the width each."""
    return 12 * depth * width(depth) ** 2


def depth_for(work: float) -> int:
    """Return the layers of the model that comes furthest with so much work."""
    best = PARAMETERS * (work / WORK) ** POWER
    depths = range(LEAST, DEEPEST + 1)
    return min(depths, key=lambda depth: abs(math.log(blocks(depth) / best)))


def vocab_size(depth: int) -> int:
    """Return the tokens of the vocabulary: more of them shorten the text, and their products take a larger share."""
    return 4096 if depth <= 3 else 8192 if depth <= 5 else 16384 if depth <= 9 else 32768


def expected_tokens(work: float, depth: int, vocabulary: int) -> int:
    """Return about how many tokens a model is trained on with so much work."""
    return max(int(work * MFU / (6 * (blocks(depth) + vocabulary * width(depth)))), 1)


def context_length(depth: int) -> int:
    """Return the tokens that attention sees."""
    return 256 if depth <= 4 else 512 if depth <= 8 else 1024 if depth <= 16 else 2048


def batch_tokens(tokens: int, depth: int, *, short_of_text: bool) -> int:
    """Return the tokens of a step of a run of so many: a power of two, so that runs are not short of steps.

    2^19 is what nanochat takes at 1.7 billion tokens, growing with the power of 0.383 of them. Where the text ends a
    run and not its time, steps may be as small as eight sequences.
    """
    batch = min(2**19 * (tokens / 1.7e9) ** 0.383, tokens / LEAST_STEPS)
    least = 1 if short_of_text else LEAST_BATCH
    return max(1 << round(math.log2(max(batch, least))), 8 * context_length(depth))


def ways(depth: int, optimizer: str) -> dict[str, Any]:
    """Return how a model of a depth is made and trained, by dotted key."""
    wide = max(width(depth), OF_WIDTH)
    if optimizer == "adamw":  # 6e-4 at GPT-2's width, 1e-3 at half of it, 3e-4 at 2048
        return {"train.learning_rate": float(f"{6e-4 * (768 / wide) ** 0.75:.2g}")}
    rate = float(f"{RATE * (OF_WIDTH / wide) ** 0.5:.2g}")
    return {
        "model.qk_norm": True,
        "model.tied": False,
        "model.zero_init": True,
        "train.optimizer": optimizer,
        "train.learning_rate": rate,
        "train.embed_lr": float(f"{OF_TABLE * rate:.2g}"),
        "train.head_lr": float(f"{OF_HEAD * rate:.2g}"),
        "train.schedule": "trapezoid",
        "train.min_lr_ratio": 0.05,
    }
