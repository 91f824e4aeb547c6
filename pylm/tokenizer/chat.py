"""Chat templates: rendered in a sandbox, and never letting a message pose as a special token."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pylm.errors import TokenizerError

__all__ = ["CHATML", "CHAT_SPECIALS", "Message", "check_template", "render"]

Message = Mapping[str, Any]

CHAT_SPECIALS = ("<|im_start|>", "<|im_end|>")
# ChatML, the template that llama.cpp, vLLM and most chat programs recognise by its tokens
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

MAX_TEMPLATE = 256 * 1024  # characters; those in use are under 20,000


def render(template: str, messages: Sequence[Message], specials: Iterable[str], **variables: Any) -> tuple[str, str]:
    """Return the rendered text, and a mark that stands inside every special token that came from a message.

    Look for special tokens before the mark is removed, and those that a message brought are not found.
    """
    from jinja2 import TemplateError

    from pylm.tokenizer.sandbox import Refused, Sandbox

    mark = f"\ue000{secrets.token_hex(8)}\ue000"
    try:
        pieces = (
            Sandbox().from_string(template).generate(messages=_marked(_checked(messages), specials, mark), **variables)
        )
        return _joined(pieces), mark
    except Refused as error:
        raise TokenizerError(str(error).replace(mark, ""), "another chat_template, or other messages") from None
    except (
        TemplateError,
        TypeError,
        ValueError,
        LookupError,
        ArithmeticError,
        AttributeError,
        RecursionError,
    ) as error:
        said = str(error).replace(mark, "").split("\n")[0]
        hint = "set chat_template, or give the messages that it expects"
        raise TokenizerError(f"the chat template fails: {said}", hint) from None


def check_template(template: str) -> None:
    """Fail on a template that is too long or does not parse."""
    if len(template) > MAX_TEMPLATE:
        hint = f"at most {MAX_TEMPLATE:,} are taken"
        raise TokenizerError(f"the chat template has {len(template):,} characters", hint)
    from jinja2 import TemplateSyntaxError

    from pylm.tokenizer.sandbox import Sandbox

    try:
        Sandbox().parse(template)
    except TemplateSyntaxError as error:
        raise TokenizerError(f"line {error.lineno} of the chat template: {error.message}", "mend it") from None


def _checked(messages: Sequence[Message]) -> list[dict[str, Any]]:
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise TokenizerError(f"message {index} has no role", 'a message is {"role": "user", "content": "…"}')
    return [dict(message) for message in messages]


def _marked(value: Any, specials: Iterable[str], mark: str) -> Any:
    if isinstance(value, str):
        for name in specials:
            value = value.replace(name, name[0] + mark + name[1:])
        return value
    if isinstance(value, Mapping):
        return {key: _marked(item, specials, mark) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_marked(item, specials, mark) for item in value]
    return value


def _joined(pieces: Iterable[str]) -> str:
    from pylm.tokenizer.sandbox import MAX_OUTPUT, Refused

    out, length = [], 0
    for piece in pieces:
        length += len(piece)
        if length > MAX_OUTPUT:
            raise Refused(f"the chat template writes more than {MAX_OUTPUT:,} characters")
        out.append(piece)
    return "".join(out)
