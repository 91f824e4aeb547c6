"""Samples that are drawn side by side, told in order: the first as it is made, the others when it is their turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pylm.generation.session import Piece

__all__ = ["Listener", "SampledText", "tell_in_order"]


class SampledText:
    """One sample as it grows."""

    def __init__(self, prompt: str, number: int) -> None:
        """Begin with nothing: `number` counts the samples of one prompt from 0."""
        self.prompt, self.number = prompt, number
        self.pieces: list[Piece] = []

    @property
    def text(self) -> str:
        """Return what was written, without the prompt."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def finish_reason(self) -> str | None:
        """Why it ended, None while it goes on."""
        return self.pieces[-1].finish if self.pieces else None

    def as_json(self, decode: Callable[[list[int]], str] | None) -> dict[str, Any]:
        """Return it for programs.

        One that was interrupted says so; log-probabilities are there where `decode` is given.
        """
        fields: dict[str, Any] = {
            "prompt": self.prompt,
            "sample": self.number,
            "text": self.text,
            "tokens": len(self.pieces),
            "finish": self.finish_reason or "interrupted",
        }
        if decode is not None:
            fields["ids"] = [piece.id for piece in self.pieces]
            fields["logprobs"] = [piece.logprob for piece in self.pieces]
            fields["likeliest"] = [
                [{"id": token, "text": decode([token]), "logprob": value} for token, value in piece.likeliest]
                for piece in self.pieces
            ]
        return fields


class Listener(Protocol):
    """A listener that hears of one text after another."""

    def start(self, text: SampledText) -> None:
        """Hear that a text begins."""

    def more(self, text: str) -> None:
        """Hear how the text that began goes on."""

    def end(self, text: SampledText) -> None:
        """Hear that it is whole, or that no more of it comes."""


def tell_in_order(
    pieces: Iterable[Piece], prompts: Sequence[str], count: int, listener: Listener
) -> tuple[list[SampledText], bool]:
    """Tell `listener` every text of `pieces`, `count` for each prompt.

    Returns the texts that hold something, and whether a KeyboardInterrupt ended them: what was made is told all the
    same.
    """
    texts = [SampledText(prompt, number) for prompt in prompts for number in range(count)]
    turn, interrupted = 0, False
    try:
        for piece in pieces:
            owner = piece.prompt * count + piece.sample
            texts[owner].pieces.append(piece)
            if owner != turn:
                continue
            if len(texts[turn].pieces) == 1:
                listener.start(texts[turn])
            listener.more(piece.text)
            while turn < len(texts) and texts[turn].finish_reason is not None:
                listener.end(texts[turn])
                turn += 1
                if turn < len(texts) and texts[turn].pieces:
                    listener.start(texts[turn])
                    listener.more(texts[turn].text)
    except KeyboardInterrupt:
        interrupted = True
    for number, text in enumerate(texts[turn:], turn):
        if not text.pieces:
            continue
        if number > turn:
            listener.start(text)
            listener.more(text.text)
        listener.end(text)
    return [text for text in texts if text.pieces], interrupted
