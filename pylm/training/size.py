"""The size of a run that nobody gave: from a depth, or from what this machine trains in minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pylm.config import depth as dial
from pylm.config.cascade import DEFAULT, Resolved
from pylm.training.backends import measured_flops
from pylm.training.events import Sized
from pylm.training.inputs import refuse_too_small, tokens_of
from pylm.wording import param

if TYPE_CHECKING:
    from collections.abc import Callable

    from pylm.data.identity import Identity
    from pylm.training.events import Event
    from pylm.training.request import Request

__all__ = ["is_open", "sized"]

DEFAULT_MINUTES = 5.0
LARGE_VOCABULARY = 50304  # taken where nothing says how large it is


def is_open(resolved: Resolved, request: Request) -> bool:
    """Say whether a size is to be derived: a depth was given, or nothing of the shape was."""
    model = resolved.config.model
    return request.depth is not None or (model.n_layers is None and model.n_heads is None and model.d_model is None)


def sized(
    resolved: Resolved, identity: Identity, request: Request, on_event: Callable[[Event], None]
) -> tuple[Resolved, Sized]:
    """Return the configuration with what nobody gave derived, and why it is that."""
    config = resolved.config
    # text that holds no window of the shortest context is refused before anything is measured
    context = int(dial.derive(request.depth or dial.LEAST)["model.context_length"])
    if resolved.origin("model.context_length") != DEFAULT:
        context = config.model.context_length
    refuse_too_small(config, context, request.named)
    text = tokens_of(config)
    if request.depth is not None:
        derived = dial.still_open(dial.derive(request.depth, text), resolved)
        origin = param("depth", request.depth)
        why = f"{origin} gives {dial.described(derived)}"
    else:
        seconds = config.train.max_time or 60 * DEFAULT_MINUTES
        flops = measured_flops(config, on_event)
        choice = dial.for_machine(seconds, flops, text, identity.vocab_size or LARGE_VOCABULARY)
        derived, origin, why = dial.still_open(choice.values, resolved), "the size of this machine", choice.why
    return resolved.completed(derived, origin), Sized(why)
