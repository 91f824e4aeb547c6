"""A text from any function that gives logits: no cache, no engine. Training samples its own model by it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from pylm import _native
from pylm.generation.settings import draw_settings
from pylm.generation.text import TextStream

if TYPE_CHECKING:
    from pylm.config.schema import Sample
    from pylm.tokenizer import Tokenizer

__all__ = ["write_uncached"]


def write_uncached(
    logits_after: Callable[[Sequence[int]], Any],
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    settings: Sample,
    stream: int,
    stopping: Callable[[], bool],
    ends: Collection[int] = (),
) -> tuple[str, list[int]] | None:
    """Return the text that goes on from a prompt to the end of text, a stop or `max_tokens`, and its ids.

    It is None where somebody asked to stop.

    Args:
        logits_after: the next token's logits after some ids, in fp32.
        tokenizer: of the model.
        prompt: ids.
        settings: how tokens are drawn; no seed is seed 0.
        stream: of the random numbers; one stream draws the same at each call.
        stopping: polled before each token.
        ends: ids that end a text beside the end of text.
    """
    import numpy as np

    drawn_as = draw_settings(settings)
    ids, stream_of_text, text = list(prompt), TextStream(tokenizer, list(prompt), settings.stop), ""
    for position in range(settings.max_tokens):
        if stopping():
            return None
        logits = np.ascontiguousarray(logits_after(ids)[None, :], np.float32)
        history = [np.asarray(ids, np.int64)]
        drawn = _native.sample(
            logits, "float32", drawn_as, history, settings.seed or 0, [stream], [position], logprobs=False
        )
        token = int(drawn[0][0])
        if token == tokenizer.eot or token in ends:
            break
        ids.append(token)
        text += stream_of_text.push(token)
        if stream_of_text.stopped:
            return text, ids[len(prompt) :]
    return text + stream_of_text.finish(), ids[len(prompt) :]
