"""The loss of pairs of answers in MLX, summed in float32: Metal has nothing wider."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from pylm.training.backend import MicroBatch, answers_of

__all__ = ["loss_of_pairs", "pairs_of"]

Pairs = tuple[Any, Any, Any]


def pairs_of(part: MicroBatch) -> Pairs:
    """Return where the answers of a micro-batch lie, as many as a power of two: each number is compiled for anew.

    That is of each place the number of its answer, one too large where it is of none; of each answer what the
    reference gives it; of each pair its share of the mean, 0 where it only fills up.
    """
    answers, flat = answers_of(part), part.reference.reshape(-1)
    room = 1 << (max(len(answers) // 2, 1) - 1).bit_length()
    numbers = np.full(part.targets.size, 2 * room, np.int32)
    reference, shares = np.zeros(2 * room, np.float32), np.zeros(room, np.float32)
    for number, (start, stop) in enumerate(answers):
        numbers[start:stop], reference[number] = number, flat[start]
    shares[: len(answers) // 2] = 2 / max(len(answers), 1)
    return mx.array(numbers), mx.array(reference), mx.array(shares)


def loss_of_pairs(losses: Any, pairs: Pairs, beta: float) -> tuple[Any, Any]:
    """Return the mean loss of pairs, and of each pair how much more it is preferred than by the reference, times beta.

    Args:
        losses: of each target, flat, 0 where it does not count.
        pairs: whose they are.
        beta: how far from the reference a model may go, the less the larger.
    """
    numbers, reference, shares = pairs
    sums = mx.zeros(len(reference) + 1).at[numbers].add(-losses)
    away = (sums[:-1] - reference).reshape(-1, 2)
    margins = beta * (away[:, 0] - away[:, 1])
    return (mx.logaddexp(0.0, -margins) * shares).sum(), margins
