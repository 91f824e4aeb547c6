"""batch_tokens, micro_batch and grad_accum_steps: two of them fix the third, and three that disagree are an error."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Batch", "plan_batch"]


@dataclass(frozen=True)
class Batch:
    """The batch of one optimizer step; what is None is still to be derived by probing or from the size of the model."""

    tokens: int | None
    micro_batch: int | None
    grad_accum_steps: int | None


def plan_batch(
    tokens: int | None, micro_batch: int | None, grad_accum_steps: int | None, context_length: int, world: int | None
) -> Batch:
    """Complete a batch, or raise ValueError with the figures that disagree.

    `tokens` counts those of all devices: tokens = micro_batch x context_length x grad_accum_steps x world. While world
    is unknown only what no world could mend is refused.
    """
    if tokens is not None and tokens % context_length:
        low = tokens // context_length * context_length
        near = f"{low} or {low + context_length}" if low else f"{context_length}"
        raise ValueError(
            f"batch_tokens {tokens} is no multiple of context_length {context_length}: the nearest that are: {near}"
        )
    devices = world or 1
    known = f"context_length {context_length}" + (f", {world} devices" if world and world > 1 else "")
    if micro_batch is not None and grad_accum_steps is not None:
        product = micro_batch * grad_accum_steps * context_length * devices
        if tokens is not None and (tokens % product if world is None else tokens != product):
            raise ValueError(
                f"micro_batch {micro_batch} and grad_accum_steps {grad_accum_steps} make {product} tokens ({known}), "
                f"not batch_tokens {tokens}: leave one of the three out"
            )
        return Batch(product if tokens is None and world is not None else tokens, micro_batch, grad_accum_steps)
    if tokens is None:
        return Batch(None, micro_batch, grad_accum_steps)
    sequences = tokens // context_length
    for name, given in (("micro_batch", micro_batch), ("grad_accum_steps", grad_accum_steps)):
        if given is not None and sequences % (given * devices):
            each = given * devices * context_length
            nearest = [number * each for number in (tokens // each, tokens // each + 1) if number]
            raise ValueError(
                f"{name} {given} does not divide batch_tokens {tokens}, which is {sequences} sequences ({known}): the "
                f"nearest that it does: {' or '.join(map(str, nearest))}"
            )
    if sequences % devices:
        each = devices * context_length
        nearest = [number * each for number in (tokens // each, tokens // each + 1) if number]
        raise ValueError(
            f"batch_tokens {tokens} is {sequences} sequences, which {devices} devices cannot share evenly: the nearest "
            f"that they can: {' or '.join(map(str, nearest))}"
        )
    if world is not None and micro_batch is not None:
        grad_accum_steps = sequences // (micro_batch * devices)
    elif world is not None and grad_accum_steps is not None:
        micro_batch = sequences // (grad_accum_steps * devices)
    return Batch(tokens, micro_batch, grad_accum_steps)
