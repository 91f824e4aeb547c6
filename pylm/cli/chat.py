"""`pylm chat`: a conversation with a trained model."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.configured import configured
from pylm.cli.frame.console import Console, with_preset
from pylm.cli.frame.opening import engine_options, open_model
from pylm.cli.frame.writing import shown
from pylm.cli.sample import PRESETS
from pylm.errors import DataError, UsageError

if TYPE_CHECKING:
    from pylm.config.cascade import Resolved
    from pylm.config.given import Given
    from pylm.config.schema import Sample
    from pylm.generation import Session

EXAMPLE = """pylm chat --checkpoint runs/tuned --preset balanced
pylm chat --system "You answer in one sentence." --session talk.json"""
VERSION = 1


@configured("sample", "chat", example=EXAMPLE, presets=PRESETS)
@engine_options
@click.option("--system", metavar="TEXT", help="What the model is told before the conversation.")
@click.option("--session", "file", metavar="FILE", help="Go on with a saved conversation; kept there at the end.")
@click.option("--template", metavar="FILE", help="A Jinja chat template, for a tokenizer that has none.")
def chat(given: Given, system: str | None, file: str | None, template: str | None, **options: Any) -> None:
    """Talk with a model that was trained on conversations.

    /set KEY VALUE and /set creative change how it answers (creative, balanced, precise, greedy), /show shows it, /save
    and /load keep conversations, /reset forgets this one, /quit leaves. Ctrl-C ends an answer, which stays as it is.
    """
    resolved = with_preset(given).resolve()
    settings = resolved.config.sample
    if settings.n != 1:
        raise UsageError(f"sample.n is {settings.n}: a conversation has one answer at a time", "pylm sample takes --n")
    template_text = None if template is None else _read(Path(template))
    session = open_model(options)
    if template_text is not None:
        session.tokenizer.chat_template = template_text
    if session.tokenizer.chat_template is None:
        raise UsageError(
            f"{os.path.relpath(session.name)} was trained on plain text and cannot chat: it has no chat template",
            "pylm sample --interactive lets it go on from what you type; --template FILE gives it a template",
        )
    talk = Talk(session, settings, system)
    if file is not None and Path(file).exists():
        talk.go_on(file, {key: getattr(settings, key) for key in _typed(given, resolved)}, system)
    try:
        talk.console.run()
    finally:
        if file is not None and len(talk.messages) > len(talk.opening):
            talk.save(file)


def _typed(given: Given, resolved: Resolved) -> list[str]:
    """The keys of sampling that somebody gave for this conversation: not the defaults, nor this folder's pylm.yaml."""
    from pylm.config.given import PROJECT_FILE

    untyped = ("default", *(f"{PROJECT_FILE}:" for _ in range(PROJECT_FILE not in given.files)))
    keys = type(resolved.config.sample).model_fields
    return [key for key in keys if not resolved.origin(f"sample.{key}").startswith(untyped)]


class Talk:
    """A conversation: its messages, its settings, and the console that it is held on."""

    def __init__(self, session: Session, settings: Sample, system: str | None) -> None:
        """Start with nothing said but what the system is told."""
        self.session = session
        self.opening = [{"role": "system", "content": system}] if system else []
        self.messages = list(self.opening)
        self._forgot = False
        self.console = Console(settings, self.answer)
        self.console.commands |= {
            "save": (self.save, "FILE: keep the conversation"),
            "load": (self.load, "FILE: go on with one that was kept"),
            "reset": (self._reset, "forget what was said"),
        }

    def answer(self, line: str) -> None:
        """Say something to the model and print what it says, as it says it."""
        self.messages.append({"role": "user", "content": line})
        said: list[str] = []
        try:
            pieces = self.session.stream(
                [self._ids()],
                self.console.settings,
                ends=list(self.session.tokenizer.specials.values()),  # whatever ends a turn is one of them
                say=lambda text: click.echo(text, err=True),
            )
            for piece in pieces:
                said.append(piece.text)
                click.echo(shown(piece.text), nl=False, color=True)
                sys.stdout.flush()
            click.echo()
        finally:
            if said:
                self.messages.append({"role": "assistant", "content": "".join(said).strip()})
            else:
                self.messages.pop()

    def _ids(self) -> list[int]:
        """The conversation as ids; its oldest turns are left out where the context has no room for them."""
        room = self.session.engine.context_length
        room -= min(self.console.settings.max_tokens, room // 4)
        turns = self.messages[len(self.opening) :]
        while True:
            ids = self.session.tokenizer.apply_chat_template([*self.opening, *turns], add_generation_prompt=True)
            if len(ids) <= room:
                return ids
            if len(turns) <= 1:
                raise UsageError(
                    f"that makes {len(ids):,} tokens, and the model has room for {room:,} before it answers", "say less"
                )
            if not self._forgot:
                self._forgot = True
                click.echo("the context is full: the oldest turns are no longer seen (/reset starts anew)", err=True)
            turns = turns[2:] if len(turns) > 2 else turns[1:]

    def save(self, path: str) -> None:
        """Write the conversation, whole or not at all."""
        if not path:
            raise UsageError("/save where?", "such as: /save talk.json")
        content = {
            "version": VERSION,
            "checkpoint": self.session.name,
            "settings": self.console.settings.model_dump(mode="json"),
            "messages": self.messages,
        }
        partial = Path(f"{path}.partial")
        try:
            partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise DataError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None
        click.echo(f"{len(self.messages)} messages saved to {path}", err=True)

    def load(self, path: str) -> None:
        """Take up a conversation that was saved, with its settings."""
        from pylm.config.schema import Sample

        if not path:
            raise UsageError("/load what?", "such as: /load talk.json")
        text = _read(Path(path))
        try:
            messages, said = _conversation(text)
            settings = Sample.model_validate(said)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is no conversation of pylm chat: {_reason(error)}", "/save writes one") from None
        count = sum(1 for part in messages[:1] if part["role"] == "system")
        self.opening, self.messages = messages[:count], messages
        self.console.settings = settings
        click.echo(f"{len(messages)} messages loaded from {path}", err=True)

    def go_on(self, path: str, typed: dict[str, Any], system: str | None) -> None:
        """Take up a saved conversation, but for what was typed with the command: that wins, and it is said."""
        self.load(path)
        self.console.settings = self.console.settings.model_copy(update=typed)
        if system is not None:
            turns = self.messages[len(self.opening) :]
            self.opening = [{"role": "system", "content": system}] if system else []
            self.messages = [*self.opening, *turns]
        said = [f"{key} {value}" for key, value in typed.items()] + ["the system text"] * (system is not None)
        kept = "system text and settings are the file's"
        click.echo(f"{kept}, but as typed: {', '.join(said)}" if said else kept, err=True)

    def _reset(self, _rest: str) -> None:
        self.messages = list(self.opening)
        self._forgot = False
        click.echo("forgotten", err=True)


def _conversation(text: str) -> tuple[list[dict[str, str]], Any]:
    """Messages and settings of a file; a ValueError says what it must hold."""
    content = json.loads(text)
    if not isinstance(content, dict) or any(key not in content for key in ("version", "settings", "messages")):
        raise ValueError("it must be an object with version, settings and messages")
    if content["version"] != VERSION:
        raise ValueError(f"it is of version {content['version']}")
    messages = content["messages"]
    texts = isinstance(messages, list) and all(
        isinstance(part, dict) and all(isinstance(part.get(key), str) for key in ("role", "content"))
        for part in messages
    )
    if not texts:
        raise ValueError("its messages must be a list of objects, each with a role and a content, which are texts")
    return [{key: part[key] for key in ("role", "content")} for part in messages], content["settings"]


def _reason(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON: {error}"
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return ": ".join(["its settings", *map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
    return str(error)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{path} is no UTF-8 text") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
