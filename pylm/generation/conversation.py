"""A conversation with a model: its messages, their ids as far as the context has room, and the file that keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.errors import DataError, UsageError

if TYPE_CHECKING:
    from pylm.config.schema import Sample
    from pylm.tokenizer import Tokenizer

__all__ = ["Conversation", "read_text"]

VERSION = 1


class Conversation:
    """A conversation: what was said so far.

    Attributes:
        opening: What the model is told before anything is said: one message at most.
        messages: Those of the opening, then the turns.
        has_forgotten: Whether turns were left out of `ids` since the beginning.
    """

    def __init__(self, tokenizer: Tokenizer, system: str | None) -> None:
        """Start with nothing said but what the system is told."""
        self.tokenizer = tokenizer
        self.opening = _opening(system)
        self.messages = list(self.opening)
        self.has_forgotten = False

    @property
    def turns(self) -> list[dict[str, str]]:
        """Return what was said after the opening."""
        return self.messages[len(self.opening) :]

    def tell(self, system: str) -> None:
        """Tell the model something else before what was said."""
        turns = self.turns
        self.opening = _opening(system)
        self.messages = [*self.opening, *turns]

    def reset(self) -> None:
        """Forget what was said."""
        self.messages = list(self.opening)
        self.has_forgotten = False

    def ids(self, context_length: int, max_tokens: int) -> list[int]:
        """Return the ids that an answer goes on from. The oldest turns are left out where the context has no room."""
        room = context_length - min(max_tokens, context_length // 4)
        turns = self.turns
        while True:
            ids = self.tokenizer.apply_chat_template([*self.opening, *turns], add_generation_prompt=True)
            if len(ids) <= room:
                return ids
            if len(turns) <= 1:
                raise UsageError(
                    f"that makes {len(ids):,} tokens, and the model has room for {room:,} before it answers", "say less"
                )
            self.has_forgotten = True
            turns = turns[2:] if len(turns) > 2 else turns[1:]

    def save(self, path: str, checkpoint: str, settings: Sample) -> None:
        """Write the conversation to a file, whole or not at all."""
        content = {
            "version": VERSION,
            "checkpoint": checkpoint,
            "settings": settings.model_dump(mode="json"),
            "messages": self.messages,
        }
        partial = Path(f"{path}.partial")
        try:
            partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise DataError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None

    def load(self, path: str) -> Sample:
        """Take up a conversation that was saved, and return its settings."""
        from pylm.config.schema import Sample

        text = read_text(Path(path))
        try:
            messages, said = _contents(text)
            settings = Sample.model_validate(said)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is no conversation of pylm chat: {_reason(error)}", "/save writes one") from None
        count = sum(1 for message in messages[:1] if message["role"] == "system")
        self.opening, self.messages = messages[:count], messages
        return settings


def _opening(system: str | None) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}] if system else []


def _contents(text: str) -> tuple[list[dict[str, str]], Any]:
    """Return messages and settings of a file; a ValueError says what it must hold."""
    content = json.loads(text)
    if not isinstance(content, dict) or any(key not in content for key in ("version", "settings", "messages")):
        raise ValueError("it must be an object with version, settings and messages")
    if content["version"] != VERSION:
        raise ValueError(f"it is of version {content['version']}")
    messages = content["messages"]
    texts = isinstance(messages, list) and all(
        isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))
        for message in messages
    )
    if not texts:
        raise ValueError("its messages must be a list of objects, each with a role and a content, which are texts")
    return [{key: message[key] for key in ("role", "content")} for message in messages], content["settings"]


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


def read_text(path: Path) -> str:
    """Return a small file's text, or an error in one sentence."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{path} is no UTF-8 text") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
