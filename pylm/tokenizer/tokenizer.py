"""The Tokenizer: text to ids and back, whatever vocabulary stands behind it."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, overload

from pylm.errors import PylmWarning, TokenizerError, UsageError
from pylm.tokenizer import chat, folder
from pylm.tokenizer.chat_ids import ChatEncoder
from pylm.tokenizer.specials import AllowedSpecial, allowed_names, one_of, refuse
from pylm.tokenizer.stream import DecodeStream
from pylm.wording import param

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pylm.tokenizer.backend import Backend, Ids, Lengths
    from pylm.tokenizer.train import TrainKeywords

__all__ = ["Tokenizer"]

# how the end of a text is called where no configuration says it
ENDS = (
    "<|endoftext|>",
    "</s>",
    "<|end_of_text|>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
    "<|END_OF_TURN_TOKEN|>",
    "<|eot_id|>",
    "<|im_end|>",
    "[SEP]",
)


class Tokenizer:
    """A vocabulary and its rules.

    Special tokens in a text are plain text unless `allowed_special` lets them be tokens: "all", "none", "none_raise"
    (fail if there are any) or a set of names. So a document that quotes `<|endoftext|>` cannot end itself.
    """

    def __init__(
        self, backend: Backend, config: Mapping[str, Any] | None = None, files: Mapping[str, bytes] | None = None
    ) -> None:
        """Wrap a backend; use `load` or `train`. `files` are kept beside tokenizer.json when the tokenizer is saved."""
        self._backend = backend
        self._config = dict(config or {})
        self._kept = dict(files or {})
        self._any_special = one_of(backend.specials)
        self._turns: ChatEncoder | None = None
        said = folder.token_text(self._config.get("eos_token"))
        if said is not None and said not in backend.added:
            warnings.warn(
                f"the tokenizer's configuration names {said!r} as its eos_token, which is no special token of its "
                "vocabulary: it has no end of text",
                PylmWarning,
                stacklevel=3,
            )

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        pattern: str | None = None,
        specials: Sequence[str] | Mapping[str, int] | None = None,
        offline: bool | None = None,
    ) -> Tokenizer:
        """Return the tokenizer of a name, a file or folder, or the Hub.

        Args:
            source: `gpt2`, `r50k_base`, `p50k_base`, `cl100k_base`, `o200k_base`; a tokenizer.json, ranks, `.model`,
                `vocab.bpe` or `merges.txt`; a folder that holds such files; or a Hub id.
            pattern: The pre-tokenizer of ranks that are none of the published ones.
            specials: Special tokens of such ranks; without ids they follow the last rank.
            offline: Whether to stay off the network; PYLM_OFFLINE decides if it is not given.
        """
        from pylm.tokenizer.load import load

        return cls(*load(source, pattern=pattern, specials=specials, offline=offline))

    @classmethod
    def from_tokenizer_json(cls, data: bytes | str, config: Mapping[str, Any] | None = None) -> Tokenizer:
        """Return the tokenizer of a tokenizer.json's contents, and of a tokenizer_config.json's."""
        from pylm.tokenizer.load import backend_of_json

        return cls(backend_of_json(data.encode() if isinstance(data, str) else data, "the tokenizer.json"), config)

    @classmethod
    def train(cls, sources: Any, vocab_size: int = 32000, **options: Unpack[TrainKeywords]) -> Tokenizer:
        """Return a tokenizer that is trained on files, folders, globs, or texts of Python's own.

        Args:
            sources: One or several of what `pylm.data.source` takes; `-` is stdin.
            vocab_size: Ids in all: bytes, merges and special tokens.
            options: The fields of `pylm.tokenizer.train.TrainOptions`, which says what each means.
        """
        from pylm.tokenizer.train import TrainOptions, train

        parts = train(TrainOptions.checked(sources, vocab_size, options))
        return cls(parts.backend, parts.config, parts.files)

    @property
    def vocab_size(self) -> int:
        """Return one more than the highest id."""
        return self._backend.vocab_size

    @property
    def specials(self) -> dict[str, int]:
        """Special tokens and their ids."""
        return dict(self._backend.specials)

    @property
    def added(self) -> dict[str, int]:
        """Return all added tokens and their ids: the special ones, and those that are tokens in every text."""
        return dict(self._backend.added)

    @property
    def eot(self) -> int | None:
        """Return the id that ends a document, None where the vocabulary has none."""
        name = self.eot_token
        return None if name is None else self._backend.added[name]

    @property
    def eot_token(self) -> str | None:
        """The added token that ends a document: the configuration's; where it says nothing, a well-known one, or None.

        None as well where the configuration names what is no token: another one in its place would be a guess.
        """
        said = folder.token_text(self._config.get("eos_token"))
        return next((name for name in (ENDS if said is None else (said,)) if name in self._backend.added), None)

    @property
    def identity(self) -> str:
        """The hex SHA-256 of vocabulary, merges, pattern and specials: shards and checkpoints carry it."""
        return self._backend.identity

    @property
    def native(self) -> bool:
        """Say whether the Rust encoder runs it, rather than the `tokenizers` package."""
        return self._backend.native

    @property
    def backend(self) -> Backend:
        """Return what runs it."""
        return self._backend

    @property
    def pattern(self) -> str | None:
        """Return the pre-tokenizer's name or regex; None for what has no such thing."""
        return self._backend.pattern

    @property
    def chat_template(self) -> str | None:
        """Return the Jinja template of `apply_chat_template`, None where there is none."""
        return self._config.get("chat_template")

    @chat_template.setter
    def chat_template(self, template: str | None) -> None:
        if template is not None:
            chat.check_template(template)
        self._config["chat_template"] = template

    def encode(self, text: str | bytes, allowed_special: AllowedSpecial = "none") -> list[int]:
        """Return the ids of a text."""
        ids: list[int] = self.encode_array(text, allowed_special).tolist()
        return ids

    def encode_array(self, text: str | bytes, allowed_special: AllowedSpecial = "none") -> Ids:
        """Return the ids of a text as uint16, or uint32 where the vocabulary needs it."""
        text = _plain(text)
        return self._backend.encode(text, self._allowed((text,), allowed_special))

    def encode_batch(
        self, texts: Sequence[str | bytes], threads: int = 0, allowed_special: AllowedSpecial = "none"
    ) -> list[Ids]:
        """Return the ids of each text, on as many threads as there are cores unless told otherwise."""
        if isinstance(texts, (str, bytes)):
            raise TypeError("encode_batch takes a sequence of texts; encode takes one")
        if threads < 0:
            raise UsageError(f"threads is {threads}", "say how many, or 0 for as many as there are cores")
        texts = [_plain(text) for text in texts]
        return self._backend.encode_batch(texts, self._allowed(texts, allowed_special), threads)

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """Return the text of ids; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids, skip_special).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int], skip_special: bool = False) -> bytes:
        """Return the bytes of ids, special tokens among them unless they are to be skipped."""
        if isinstance(ids, (str, bytes, bytearray)):
            raise UsageError(f"decoding takes ids, not {type(ids).__name__}", "ids are whole numbers from 0 up")
        skipped = set(self._backend.specials.values()) if skip_special else set()
        wanted = [token_id for token_id in map(self._checked, ids) if token_id not in skipped]
        return self._backend.decode_bytes(wanted)

    def _checked(self, token_id: SupportsIndex) -> int:
        try:
            number = operator.index(token_id)
        except TypeError:
            raise UsageError(f"{token_id!r} is no id", "ids are whole numbers from 0 up") from None
        if not 0 <= number < self.vocab_size:
            raise TokenizerError(
                f"the id {number} is none of this tokenizer", f"its ids run from 0 to {self.vocab_size - 1}"
            )
        return number

    def decode_stream(self) -> DecodeStream:
        """Return a stream that turns ids into text as they come, cut only between whole characters."""
        backend = self._backend
        first_bytes = getattr(backend, "first_bytes", backend.token_bytes)
        strips_space = getattr(backend, "strips_space", False)
        return DecodeStream(self.token_bytes, self.decode, strips_space, lambda one: first_bytes(self._checked(one)))

    def token_bytes(self, token_id: int) -> bytes | None:
        """Return the bytes of one id, None for vocabularies that decode whole sequences only."""
        return self._backend.token_bytes(self._checked(token_id))

    def byte_lengths(self) -> Lengths | None:
        """Return how many bytes of text each id stands for, None for vocabularies that decode whole sequences only.

        0 for special tokens, for those that the configuration names as the end of a text, its padding and so on, for
        the unknown token and for ids that are no token. Other added tokens are text, and count.
        """
        lengths = self._backend.byte_lengths()
        if lengths is not None:
            added = self._backend.added
            named = folder.named_tokens(self._config, self.eot_token, self._unknown).values()
            lengths[[*self._backend.specials.values(), *(added[name] for name in named if name in added)]] = 0
        return lengths

    @overload
    def apply_chat_template(
        self,
        messages: Sequence[chat.Message],
        *,
        add_generation_prompt: bool = ...,
        tokenize: Literal[True] = ...,
        chat_template: str | None = ...,
        **variables: Any,
    ) -> list[int]: ...

    @overload
    def apply_chat_template(
        self,
        messages: Sequence[chat.Message],
        *,
        add_generation_prompt: bool = ...,
        tokenize: Literal[False],
        chat_template: str | None = ...,
        **variables: Any,
    ) -> str: ...

    def apply_chat_template(
        self,
        messages: Sequence[chat.Message],
        *,
        add_generation_prompt: bool = False,
        tokenize: bool = True,
        chat_template: str | None = None,
        **variables: Any,
    ) -> list[int] | str:
        """Return a conversation as ids, or as text.

        Control tokens, which are all that were added to the vocabulary, are tokens where the template writes them;
        what messages, their keys, tools and variables hold stays plain text.

        Args:
            messages: `{"role": "user", "content": "…"}` and so on.
            add_generation_prompt: Whether to end with the start of the assistant's answer.
            tokenize: Whether ids are wanted, rather than the text.
            chat_template: Another template than the tokenizer's own.
            variables: Whatever else the template asks for, tools for instance.
        """
        given = {**variables, "add_generation_prompt": add_generation_prompt}
        conversation = self.render_chat(messages, chat_template, given)
        return self.encode_chat(conversation) if tokenize else conversation.text

    def render_chat(
        self, messages: Sequence[chat.Message], template: str | None, variables: Mapping[str, Any]
    ) -> chat.Rendered:
        """Return a conversation as `apply_chat_template` makes text of it, with the origin of each part of it."""
        template = template if template is not None else self.chat_template
        if template is None:
            raise TokenizerError(
                "this tokenizer has no chat template",
                f"train it with {param('chat', True)}, or set chat_template (chat.CHATML is one)",
            )
        named = folder.named_tokens(self._config, self.eot_token, self._unknown)
        return chat.render(template, messages, named, variables)

    def encode_chat(self, conversation: chat.Rendered) -> list[int]:
        """Return the ids of a conversation or a part of one; its template's control tokens are tokens."""
        if self._turns is None:
            self._turns = ChatEncoder(self._backend)
        return self._turns.encode(conversation)

    def files(self) -> dict[str, bytes]:
        """Return the files of the tokenizer by name: what travels with shards and checkpoints."""
        return {
            folder.TOKENIZER: self._backend.to_tokenizer_json(),
            folder.CONFIG: folder.written_config(self._config, self.eot_token, self._unknown),
            **self._kept,
        }

    def save(self, to: str | Path) -> Path:
        """Write the tokenizer's folder, whole or not at all, and return it."""
        place = Path(to)
        folder.write(place, self.files())
        return place

    def to_ranks(self) -> bytes:
        """Return the vocabulary as tiktoken ranks."""
        return self._backend.to_ranks()

    @property
    def _unknown(self) -> str | None:
        name = getattr(self._backend, "unknown", None)
        return name if isinstance(name, str) else None

    def _allowed(self, texts: Sequence[str | bytes], allowed_special: AllowedSpecial) -> frozenset[str]:
        allowed = allowed_names(allowed_special, self._backend.specials)
        if isinstance(allowed_special, str) and allowed_special == "none_raise":
            for text in texts:
                refuse(text, self._any_special)
        return allowed

    def __reduce__(self) -> tuple[Any, ...]:
        """Cross a process border as the contents of the files."""
        return _rebuilt, (type(self), self._backend.to_tokenizer_json(), self._config, self._kept)

    def __repr__(self) -> str:
        """Say what it is: kind, size, identity."""
        return f"<Tokenizer {self._backend.kind}, {self.vocab_size:,} ids, {self.identity[:12]}>"


def _plain(text: str | bytes) -> str | bytes:
    """Return the bytes of an object that holds bytes, and any other object as it is."""
    return bytes(text) if isinstance(text, (bytearray, memoryview)) else text


def _rebuilt(cls: type[Tokenizer], data: bytes, config: Mapping[str, Any], files: Mapping[str, bytes]) -> Tokenizer:
    tokenizer = cls.from_tokenizer_json(data, config)
    tokenizer._kept = dict(files)
    return tokenizer
