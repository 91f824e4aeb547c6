"""What pairs of answers take in memory where all else is as in training: the logits of all their tokens exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylm.training.estimate.heap import Place
    from pylm.training.estimate.memory import Memory

__all__ = ["head_of_pairs"]


def head_of_pairs(memory: Memory, n: int, normed: Place) -> tuple[Place, Place]:
    """Return the gradients of what the head reads, which is freed, and of its weight, in the heap of `memory`.

    Args:
        memory: of the run.
        n: tokens of a pass.
        normed: what the head reads.
    """
    numbers, free = n * memory.vocabulary, memory.heap.give
    logits = memory.take("logits", numbers)
    memory.product("logits", n)
    reads = memory.run.trained.rows(memory.of_head) is not None  # again, for its gradient
    free(*(() if reads else (normed,)))
    bent: list[Place] = []
    if memory.shape.logit_softcap:
        divided = memory.take("logits", numbers)
        bent = [memory.take("logits", numbers)]
        free(divided)
        capped = memory.take("logits", numbers)
        free(logits)
        logits = capped
    losses = [memory.take("activations", n, 4) for _ in range(3)]  # their logarithms, and their gradients
    gradient = memory.take("logits", numbers)
    free(logits, *losses)
    if bent:
        for done in ([], bent, []):  # of the product, of the tangent, of the quotient
            before = memory.take("logits", numbers)
            free(gradient, *done)
            gradient = before
    dx, head = memory.take("activations", n * memory.d), memory.gradient_of_head()
    memory.product("head", n)
    free(gradient, *((normed,) if reads else ()))
    return dx, head
