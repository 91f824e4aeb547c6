"""A conversation on the console: what `pylm chat` prints and which of its commands there are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.console import Console
from pylm.cli.frame.printing import say
from pylm.cli.frame.writing import shown
from pylm.errors import UsageError

if TYPE_CHECKING:
    from pylm.config.schema import Sample
    from pylm.generation import Session

__all__ = ["Talk"]


class Talk:
    """A conversation, its settings, and the console that it is held on."""

    def __init__(self, session: Session, settings: Sample, system: str | None) -> None:
        """Start with nothing said but what the system is told."""
        from pylm.generation.conversation import Conversation

        self.session = session
        self.conversation = Conversation(session.tokenizer, system)
        self.console = Console(settings, self.answer)
        self.console.commands |= {
            "save": (self.save, "FILE: keep the conversation"),
            "load": (self.load, "FILE: go on with one that was kept"),
            "reset": (self._reset, "forget what was said"),
        }

    def answer(self, line: str) -> None:
        """Say something to the model and print what it says, as it says it."""
        messages = self.conversation.messages
        messages.append({"role": "user", "content": line})
        said: list[str] = []
        try:
            pieces = self.session.stream(
                [self._ids()],
                self.console.settings,
                ends=list(self.session.tokenizer.specials.values()),  # whatever ends a turn is one of them
                say=say,
            )
            for piece in pieces:
                said.append(piece.text)
                click.echo(shown(piece.text), nl=False, color=True)
                sys.stdout.flush()
            click.echo()
        finally:
            if said:
                messages.append({"role": "assistant", "content": "".join(said).strip()})
            else:
                messages.pop()

    def _ids(self) -> list[int]:
        """Return what the answer goes on from, and say once that it is no longer all."""
        remembered_all = not self.conversation.has_forgotten
        try:
            return self.conversation.ids(self.session.engine.context_length, self.console.settings.max_tokens)
        finally:
            if remembered_all and self.conversation.has_forgotten:
                text = "the context is full: the oldest turns are no longer seen (/reset starts anew)"
                click.echo(text, err=True)

    def save(self, path: str) -> None:
        """Write the conversation to a file, whole or not at all."""
        if not path:
            raise UsageError("/save where?", "such as: /save talk.json")
        self.conversation.save(path, self.session.name, self.console.settings)
        click.echo(f"{len(self.conversation.messages)} messages saved to {path}", err=True)

    def load(self, path: str) -> None:
        """Take up a conversation that was saved, with its settings."""
        if not path:
            raise UsageError("/load what?", "such as: /load talk.json")
        self.console.settings = self.conversation.load(path)
        click.echo(f"{len(self.conversation.messages)} messages loaded from {path}", err=True)

    def go_on(self, path: str, typed: dict[str, Any], system: str | None) -> None:
        """Take up a saved conversation. What was typed with the command wins over what was saved, and that is said."""
        self.load(path)
        self.console.settings = self.console.settings.model_copy(update=typed)
        if system is not None:
            self.conversation.tell(system)
        said = [f"{key} {value}" for key, value in typed.items()] + ["the system text"] * (system is not None)
        kept = "system text and settings are the file's"
        click.echo(f"{kept}, but as typed: {', '.join(said)}" if said else kept, err=True)

    def _reset(self, _rest: str) -> None:
        self.conversation.reset()
        click.echo("forgotten", err=True)
