"""Templates of conversations by name, and which tokens one needs that a tokenizer lacks."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import DataError, TokenizerError
from pylm.tokenizer import chat
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer

__all__ = ["NAMES", "PLAIN", "Template", "template_of", "tokens_needed"]

# no names of roles: a line a message, and the end of text after an answer
PLAIN = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n' }}{% endif %}{% endfor %}"
)
NAMES = {"chatml": chat.CHATML, "plain": PLAIN}
OWN = "own"
# how nearly all templates spell their control tokens, DeepSeek's with wide bars; and as Gemma's do
CONTROL = re.compile(r"<[|｜][^|｜<>\s]+[|｜]>|<(?:start|end)_of_turn>")
PROBE = (
    {"role": "system", "content": "a"},
    {"role": "user", "content": "b"},
    {"role": "assistant", "content": "c"},
)


@dataclass(frozen=True)
class Template:
    """A template.

    Attributes:
        name: `chatml`, `plain`, `own` (the tokenizer's) or a file.
        text: The template, as it is stored with a model.
        is_given: Whether somebody asked for it, rather than it being the default.
    """

    name: str
    text: str
    is_given: bool = False

    def rendered(
        self, messages: Sequence[chat.Message], variables: Mapping[str, Any], tokenizer: Tokenizer
    ) -> chat.Rendered:
        """Return a conversation as it writes it; ChatML is written here, and no other process is asked."""
        if self.text == chat.CHATML and all(isinstance(one.get("content"), str) for one in messages):
            return chatml(messages)
        return tokenizer.render_chat(messages, self.text, variables)


def chatml(messages: Sequence[chat.Message]) -> chat.Rendered:
    """Return a conversation as chat.CHATML writes it, with what the assistant says, and the end of its turn, marked."""
    from pylm.tokenizer.sandbox import ROLES

    begin, end = chat.CHAT_SPECIALS
    text, brought, generated = "", [], []
    for message in messages:
        role, content = message["role"], message["content"]
        text += begin
        brought += [(len(text), len(text) + len(role))] if role and role not in ROLES else []
        text += f"{role}\n"
        start = len(text)
        brought += [(start, start + len(content))] if content else []
        text += content + end
        generated += [(start, len(text))] if role == "assistant" else []
        text += "\n"
    return chat.Rendered(text, brought, generated)


def template_of(template: str | os.PathLike[str] | Template | None, tokenizer: Tokenizer) -> Template:
    """Return the template that a conversation gets.

    Args:
        template: `chatml`, `plain`, `own` (the tokenizer's), or a file that holds one; if not given, the tokenizer's,
            else ChatML.
        tokenizer: The tokenizer.
    """
    if isinstance(template, Template):
        return template
    if template is None:
        own = tokenizer.chat_template
        return Template("chatml", chat.CHATML) if own is None else Template(OWN, own)
    name = os.fspath(template)
    if name == OWN:
        if tokenizer.chat_template is None:
            raise TokenizerError("this tokenizer has no chat template of its own", f"{param('template', 'chatml')} has")
        return Template(OWN, tokenizer.chat_template, is_given=True)
    if name == "plain" and tokenizer.eot_token is None:
        raise TokenizerError(
            "the template plain ends answers with the end of text, and this tokenizer has none",
            f"{param('template', 'chatml')} brings tokens of its own",
        )
    text = NAMES[name] if name in NAMES else _read(Path(name))
    chat.check_template(text)
    return Template(name, text, is_given=True)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise DataError(f"the template {path} is no UTF-8 text") from None
    except OSError as error:
        raise DataError(
            f"cannot read the template {path}: {(error.strerror or str(error)).lower()}",
            f"give {', '.join(NAMES)}, {OWN} (the tokenizer's), or a file that holds a Jinja template",
        ) from None


def tokens_needed(template: str | os.PathLike[str] | Template | None, tokenizer: Tokenizer) -> list[str]:
    """Return the control tokens that a template writes and a tokenizer lacks, in the order in which it writes them.

    A template is asked by rendering a conversation; what it spells itself as control tokens are spelled is one.
    """
    made = template_of(template, tokenizer)
    conversation = _probed(made, tokenizer)
    found: dict[str, None] = {}
    cursor = 0
    for start, end in [*conversation.brought, (len(conversation.text), 0)]:
        found |= dict.fromkeys(CONTROL.findall(conversation.text[cursor:start]))
        cursor = end
    return [name for name in found if name not in tokenizer.added]


def _probed(template: Template, tokenizer: Tokenizer) -> chat.Rendered:
    """Return a conversation as the template renders it, without the system's message where it takes none."""
    try:
        return tokenizer.render_chat(PROBE, template.text, {})
    except TokenizerError:
        return tokenizer.render_chat(PROBE[1:], template.text, {})
