"""The configuration of a new run, complete: its text tokenized, and what nobody gave derived."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from pylm.errors import UsageError
from pylm.runs.trackers import check as check_trackers
from pylm.training import hooks, inherited, init_from, inputs
from pylm.training.size import Size, is_open
from pylm.wording import call

if TYPE_CHECKING:
    from pylm.config.cascade import Resolved
    from pylm.config.given import Given
    from pylm.data.identity import Identity
    from pylm.training.events import Event, Sized
    from pylm.training.request import Request

__all__ = ["configuration"]


def configuration(request: Request, on_event: Callable[[Event], None]) -> tuple[Resolved, Identity, Sized | None]:
    """Return the configuration, what its data is, and what is to be said of a size that was derived."""
    from pylm.data.identity import identify

    resolved = _given(request).resolve()  # what is wrong with it is said before any text is read
    hooks.check_questions(resolved.config.eval)
    check_trackers(resolved.config.metrics.trackers)
    resolved = inherited.with_training(resolved, request)
    resolved = resolved.completed(request.open_keys, request.open_keys_from)
    size = Size(resolved, request, on_event)
    if request.text:
        most = size.vocab_size if is_open(resolved, request) else None
        inputs.tokenize(request, resolved.config, most, on_event)
    source = resolved.config.data.mix or resolved.config.data.path
    if source is None:
        raise UsageError(
            "nothing to train on was named",
            f"{call('train', 'my.txt')}, or {call('train', data='DIR')} with a folder that pylm tokenize wrote",
        )
    identity = identify(source, resolved.config.data.val)
    resolved = init_from.with_shape(resolved, request)
    resolved = resolved.completed({"sample.max_tokens": hooks.SAMPLE_TOKENS}, "samples while training")
    if not is_open(resolved, request):
        return resolved, identity, None
    resolved, why = size.completed(resolved, identity)
    return resolved, identity, why


def _given(request: Request) -> Given:
    """Return what a request says of the configuration, with the folder that its text will be tokenized into."""
    from pylm.data.sources import default_folder

    given = request.configuration()
    begun = None if request.out is None else request.out / "config.yaml"
    if request.resume == "auto" and begun and begun.is_file() and given.preset is None and not given.files:
        given = dataclasses.replace(given, files=(str(begun),))  # it was killed before its first checkpoint
    if request.named is None:
        return given
    return given.with_default("data.path", str(default_folder(request.text)), request.named)
