"""Samples drawn side by side are told one after another, whatever order their pieces come in."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from pylm.generation import Piece
from pylm.generation.in_order import SampledText, tell_in_order

PROMPTS, COUNT = ("a", "b", "c"), 2


class Heard:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, text: SampledText) -> None:
        self.lines.append(f"{text.prompt}{text.number}:")

    def more(self, text: str) -> None:
        self.lines[-1] += text

    def end(self, text: SampledText) -> None:
        self.lines[-1] += f"/{text.finish_reason}"


def drawn(seed: int) -> list[Piece]:
    """Three pieces of each text, those of different texts in any order."""
    rng = random.Random(seed)
    turns = [owner for owner in range(len(PROMPTS) * COUNT) for _ in range(3)]
    rng.shuffle(turns)
    seen = [0] * len(turns)
    pieces = []
    for owner in turns:
        seen[owner] += 1
        prompt, sample = divmod(owner, COUNT)
        finish = "length" if seen[owner] == 3 else None
        pieces.append(Piece(0, f"{owner}{seen[owner]} ", 0.0, prompt=prompt, sample=sample, finish=finish))
    return pieces


def whole(pieces: list[Piece]) -> list[str]:
    """The texts, put together after the fact."""
    lines = []
    for prompt, name in enumerate(PROMPTS):
        for sample in range(COUNT):
            own = [piece for piece in pieces if (piece.prompt, piece.sample) == (prompt, sample)]
            if own:
                lines.append(f"{name}{sample}:{''.join(piece.text for piece in own)}/{own[-1].finish}")
    return lines


@pytest.mark.parametrize("seed", range(20))
def test_every_text_is_told_whole_and_in_turn(seed: int) -> None:
    pieces, heard = drawn(seed), Heard()
    texts, interrupted = tell_in_order(iter(pieces), PROMPTS, COUNT, heard)
    assert heard.lines == whole(pieces) and not interrupted and len(texts) == 6


@pytest.mark.parametrize("count", range(18))
def test_an_interruption_loses_nothing_that_was_made(count: int) -> None:
    pieces, heard = drawn(count)[:count], Heard()

    def stopped() -> Iterator[Piece]:
        yield from pieces
        raise KeyboardInterrupt

    texts, interrupted = tell_in_order(stopped(), PROMPTS, COUNT, heard)
    assert interrupted and heard.lines == whole(pieces) and len(texts) == len(heard.lines)
