"""The size of a run that nobody gave: from a depth, or from what comes furthest here in minutes."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING

from pylm.config import depth as dial
from pylm.config import recipe
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

__all__ = ["Size", "is_open"]

DEFAULT_SECONDS = 300.0
LEAST_SECONDS = 60.0  # of training, however long the text took
LARGE_VOCABULARY = 50304  # taken where nothing says how large it is


def is_open(resolved: Resolved, request: Request) -> bool:
    """Say whether a size is to be derived: a depth was given, or nothing of the shape was."""
    model = resolved.config.model
    return request.depth is not None or (model.n_layers is None and model.n_heads is None and model.d_model is None)


class Size:
    """What a run takes that says nothing of its size. The machine is measured once, and only where that decides."""

    def __init__(self, resolved: Resolved, request: Request, on_event: Callable[[Event], None]) -> None:
        """Take the time from now: where none is given, the run ends five minutes later."""
        self._config, self._request, self._on_event = resolved.config, request, on_event
        self._begun = time.monotonic()

    @cached_property
    def _flops(self) -> float:
        return measured_flops(self._config, self._on_event)

    def vocab_size(self) -> int:
        """Return the tokens that a vocabulary may have."""
        given = self._config.train.max_time
        return recipe.vocab_size(self._request.depth or recipe.depth_for((given or DEFAULT_SECONDS) * self._flops))

    def completed(self, resolved: Resolved, identity: Identity) -> tuple[Resolved, Sized]:
        """Return the configuration with what nobody gave derived, and why it is that."""
        config, request = resolved.config, self._request
        # text that holds no window of the shortest context is refused before anything is measured
        context = recipe.context_length(request.depth or recipe.LEAST)
        if resolved.origin("model.context_length") != DEFAULT:
            context = config.model.context_length
        refuse_too_small(config, context, request.named)
        return self.of_text(resolved, tokens_of(config), identity.vocab_size or LARGE_VOCABULARY)

    def of_text(self, resolved: Resolved, text: int, vocab_size: int) -> tuple[Resolved, Sized]:
        """Return the same for a text of so many tokens by a vocabulary of this size."""
        config, request = resolved.config, self._request
        optimizer = config.train.optimizer if resolved.origin("train.optimizer") != DEFAULT else "muon"
        if request.depth is not None:
            derived = dial.still_open(dial.derive(request.depth, text, optimizer), resolved)
            origin = param("depth", request.depth)
            return resolved.completed(derived, origin), Sized(f"{origin} gives {dial.described(derived)}")
        flops = self._flops
        left = max(DEFAULT_SECONDS - (time.monotonic() - self._begun), LEAST_SECONDS)
        seconds = config.train.max_time or round(left, 1)
        choice = dial.for_machine(seconds, flops, text, vocab_size, optimizer)
        derived = dial.still_open(choice.values, resolved)
        return resolved.completed(derived, "the size of this machine"), Sized(choice.why)
