"""The windows in which a document is read whole: those of lm-evaluation-harness's rolling log-likelihood."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["rolling_windows"]


def rolling_windows(
    ids: Sequence[int], context_length: int, prefix: int | None, stride: int | None = None
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield inputs and the targets that follow the last of them, so that each token of a document is a target once.

    The first window begins with the prefix; each later one is as long as the model sees, and ends with its targets.

    Args:
        ids: of the document.
        context_length: how many tokens the model sees.
        prefix: what the first token follows; None where it follows nothing, and is no target.
        stride: targets of each later window: the fewer, the more context each has; context_length if not given.
    """
    whole = list(ids) if prefix is None else [prefix, *ids]
    done, step = 0, context_length  # targets that were yielded: `whole[done + 1]` is the next
    while done < len(whole) - 1:
        end = min(done + step, len(whole) - 1)
        yield whole[max(end - context_length, 0) : end], whole[done + 1 : end + 1]
        done, step = end, min(stride or context_length, context_length)
