"""Chat templates: rendered under bounds, and never letting a message pose as a control token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pylm.errors import TokenizerError

__all__ = ["CHATML", "CHAT_SPECIALS", "Message", "Rendered", "check_template", "render"]

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
# the control tokens that a template may name; whatever else it is handed comes with the conversation
OFFICES = frozenset(("bos_token", "eos_token", "pad_token", "unk_token"))


@dataclass(frozen=True)
class Rendered:
    """A conversation as text.

    Attributes:
        text: The text.
        brought: From where to where it is what messages, tools and variables brought.
        generated: From where to where a model is to write it, as the template says by `{% generation %}`; None where it
            has no such block.
    """

    text: str
    brought: list[tuple[int, int]]
    generated: list[tuple[int, int]] | None = None

    def part(self, start: int, end: int) -> Rendered:
        """Return what is between two places."""
        inside = [(max(first, start) - start, min(last, end) - start) for first, last in self.brought]
        return Rendered(self.text[start:end], [(first, last) for first, last in inside if first < last])


def render(
    template: str, messages: Sequence[Message], named: Mapping[str, str], variables: Mapping[str, Any]
) -> Rendered:
    """Return a conversation as a template renders it.

    Args:
        template: a Jinja template.
        messages: `{"role": "user", "content": "…"}` and so on.
        named: special tokens by their offices.
        variables: whatever else the template asks for.
    """
    from pylm.tokenizer import renderer

    _check_length(template)
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise TokenizerError(f"message {index} has no role", 'a message is {"role": "user", "content": "…"}')
    try:
        plain = [_plain(message, f"message {index}") for index, message in enumerate(messages)]
        given = {name: _plain(value, name) for name, value in variables.items()}
    except RecursionError:
        raise TokenizerError("the conversation is nested too deeply", "give it fewer levels") from None
    offices = {name: given.pop(name) for name in OFFICES & given.keys() if isinstance(given[name], str)}
    return Rendered(*renderer.rendered(template, {**named, **offices}, {**given, "messages": plain}))


def check_template(template: str) -> None:
    """Raise where a template is too long or does not parse."""
    from pylm.tokenizer import renderer

    _check_length(template)
    renderer.check(template)


def _check_length(template: str) -> None:
    if len(template) > MAX_TEMPLATE:
        hint = f"at most {MAX_TEMPLATE:,} are taken"
        raise TokenizerError(f"the chat template has {len(template):,} characters", hint)


def _plain(value: Any, where: str) -> Any:
    """Return the same in plain types, which cross to another process; a template can do nothing with others."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {_plain_key(key, where): _plain(item, where) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, where) for item in value]
    raise TokenizerError(
        f"{where} holds a {type(value).__name__}, and a chat template takes texts, numbers, lists and dictionaries",
        "write it as one of these",
    )


def _plain_key(key: Any, where: str) -> Any:
    if key is None or isinstance(key, (str, int, float)):
        return _plain(key, where)
    raise TokenizerError(
        f"{where} has a key that is a {type(key).__name__}, and a chat template takes texts and numbers as keys",
        "write it as one of these",
    )
