"""An item of a test, whatever file it stood in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Item", "Kind"]

Kind = Literal["choice", "schema", "continuation"]


@dataclass(frozen=True)
class Item:
    """A question, what may follow it, and which of that is right.

    Attributes:
        id: What its file calls it, else its number from 0 on.
        kind: `choice`: one context, several continuations; `schema`: several contexts, one continuation;
            `continuation`: one of each.
        contexts: What is read before: one text, or one for each choice.
        choices: What may follow: one text, or one for each context.
        gold: The number of the right choice, or of the right context of a schema.
        question: The question alone, where the contexts hold examples before it.
        answers: Texts that are right as well.
        category: The part of its task that it belongs to, where its file says so.
        is_prompt: Whether context and choice are a prompt as they stand: examples, blanks and all.
        is_unconditioned: Whether the context was left out on purpose, to measure the choices alone.
    """

    id: str
    kind: Kind
    contexts: tuple[str, ...]
    choices: tuple[str, ...]
    gold: int = 0
    question: str = ""
    answers: tuple[str, ...] = ()
    category: str = ""
    is_prompt: bool = False
    is_unconditioned: bool = False

    @property
    def context(self) -> str:
        """The context in which the right choice stands."""
        return self.contexts[self.gold if len(self.contexts) > 1 else 0]

    @property
    def answer(self) -> str:
        """The right choice."""
        return self.choices[self.gold if len(self.choices) > 1 else 0]
