"""`pylm chat`: a conversation with a trained model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.configured import configured
from pylm.cli.frame.console import with_preset
from pylm.cli.frame.opening import engine_options, open_model
from pylm.cli.sample import PRESETS
from pylm.errors import UsageError

if TYPE_CHECKING:
    from pylm.config.cascade import Resolved
    from pylm.config.given import Given

EXAMPLE = """pylm chat --checkpoint runs/tuned --preset balanced
pylm chat --system "You answer in one sentence." --session talk.json"""


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
    from pylm.cli.frame.talk import Talk
    from pylm.generation.conversation import read_text

    resolved = with_preset(given).resolve()
    settings = resolved.config.sample
    if settings.n != 1:
        raise UsageError(f"sample.n is {settings.n}: a conversation has one answer at a time", "pylm sample takes --n")
    template_text = None if template is None else read_text(Path(template))
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
        if file is not None and talk.conversation.turns:
            talk.save(file)


def _typed(given: Given, resolved: Resolved) -> list[str]:
    """Return the keys that somebody gave for this conversation: not the defaults, nor this folder's pylm.yaml."""
    from pylm.config.given import PROJECT_FILE

    untyped = ("default", *(f"{PROJECT_FILE}:" for _ in range(PROJECT_FILE not in given.files)))
    keys = type(resolved.config.sample).model_fields
    return [key for key in keys if not resolved.origin(f"sample.{key}").startswith(untyped)]
