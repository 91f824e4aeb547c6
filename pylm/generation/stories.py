"""How good the stories of a model are that was trained on pylm's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylm.data.stories import Judgement

__all__ = ["judge_stories"]


def judge_stories(checkpoint: Path, openings: Sequence[str], count: int, corpus: str, seed: int) -> Judgement:
    """Return what the generator's checker says of the stories, `count` with each opening, that a model writes.

    Args:
        checkpoint: A run or one of its checkpoints.
        openings: How stories begin.
        count: Stories of each opening.
        corpus: What the model was trained on.
        seed: Of the draws.
    """
    from pylm.data.stories import judge
    from pylm.generation.generate import generate

    texts = [opening for opening in openings for _ in range(count)]
    for piece in generate(checkpoint, openings, n=count, max_tokens=240, temperature=0.7, seed=seed):
        texts[piece.prompt * count + piece.sample] += piece.text
    return judge(texts, corpus)
