"""A tokenizer with tokens that it did not have: those that the template of a conversation writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pylm.errors import TokenizerError
from pylm.tokenizer import folder
from pylm.tokenizer.tokenizer import Tokenizer

__all__ = ["grown"]


def grown(tokenizer: Tokenizer, names: Sequence[str], template: str | None = None) -> Tokenizer:
    """Return a tokenizer with these special tokens after its last id, and with this template.

    Those that it has are not added again; all others keep their ids.
    """
    files = tokenizer.files()
    content: dict[str, Any] = json.loads(files.pop(folder.TOKENIZER))
    config: dict[str, Any] = json.loads(files.pop(folder.CONFIG))
    new = [name for name in dict.fromkeys(names) if name not in tokenizer.added]
    if empty := [name for name in new if not name.strip()]:
        raise TokenizerError(f"{empty[0]!r} is no name for a special token", "name it with letters, such as <|user|>")
    if new:
        added = content.setdefault("added_tokens", None) or []
        content["added_tokens"] = [
            *added, *(_special(number, name) for number, name in enumerate(new, tokenizer.vocab_size))
        ]  # fmt: skip
    whole = Tokenizer(Tokenizer.from_tokenizer_json(json.dumps(content)).backend, config, files)
    if template is not None:
        whole.chat_template = template
    return whole


def _special(number: int, name: str) -> dict[str, Any]:
    """Return an added token as tokenizer.json has it."""
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": name, **plain, "special": True}
