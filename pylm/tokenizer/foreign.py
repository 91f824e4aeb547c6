"""Any tokenizer.json that is no byte-level BPE, run by the `tokenizers` package: Unigram, WordPiece, character BPE."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pylm.errors import TokenizerError
from pylm.tokenizer.foreign_limits import refuse_bombs
from pylm.tokenizer.pieces import piecewise

if TYPE_CHECKING:
    from pylm.tokenizer.backend import Ids, Lengths

Json = dict[str, Any]
T = TypeVar("T")
# texts given to `tokenizers` at a time: its Encoding objects cost some 100 bytes a token
BATCH = 512


class ForeignBackend:
    """A tokenizer.json behind the interface of ours."""

    native = False

    def __init__(self, data: bytes, where: str, why: str = "") -> None:
        """Load a tokenizer.json; `where` names it in errors, `why` says what keeps the native encoder from it."""
        self.why = why
        try:
            self._read(data, where)
        except TokenizerError:
            raise
        except BaseException as error:  # `tokenizers` raises bare Exceptions, and a field may be of any kind
            if not _is_theirs(error):
                raise
            said = str(error).split("\n")[0]
            raise TokenizerError(f"{where} is no sound tokenizer.json: {said}", "fetch or train it again") from None

    def _read(self, data: bytes, where: str) -> None:
        import numpy as np

        self.json: Json = json.loads(data)
        self.json["truncation"] = self.json["padding"] = None
        refuse_bombs(self.json, where)
        model = self.json["model"]
        added = list(self.json.get("added_tokens") or [])
        self.tokenizer = _load(self.json)
        id_of = self.tokenizer.token_to_id
        for token in added:
            if id_of(token["content"]) != token["id"]:
                raise TokenizerError(
                    f"{where} says that {token['content']} has id {token['id']}, and `tokenizers` gives it "
                    f"{id_of(token['content'])}: its ids depend on who reads it",
                    "put the token into the vocabulary of its model under the id that is meant",
                )
        added.sort(key=lambda token: token["id"])
        self.added: dict[str, int] = {token["content"]: token["id"] for token in added}
        self.specials: dict[str, int] = {token["content"]: token["id"] for token in added if token["special"]}
        self.unknown = _unknown(model)
        self.kind: str = model.get("type") or "BPE"
        ids = self.tokenizer.get_vocab(with_added_tokens=True).values()
        self.vocab_size = max(ids, default=-1) + 1
        self.pattern: str | None = None
        self.dtype = np.uint16 if self.vocab_size <= 1 << 16 else np.uint32
        decoder = self.tokenizer.decoder
        # as `tokenizers` has read it, whatever the file left out
        self._pieces = piecewise(None if decoder is None else json.loads(decoder.__getstate__()))
        self._variants: dict[frozenset[str], Any] = {}
        self._variant(frozenset())  # what encode asks for unless told otherwise

    @property
    def identity(self) -> str:
        """The hex SHA-256 of everything that decides ids, in canonical order."""
        parts = {key: self.json.get(key) for key in ("added_tokens", "normalizer", "pre_tokenizer", "model")}
        canonical = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def encode(self, text: str | bytes, allowed: frozenset[str]) -> Ids:
        """Return the ids of one text; bytes that are no UTF-8 count as U+FFFD."""
        import numpy as np

        tokenizer = self._variant(allowed)
        encoding = _run(lambda mend: tokenizer.encode(mend(_as_text(text)), add_special_tokens=False))
        ids: Ids = np.array(encoding.ids, dtype=self.dtype)  # pyright: ignore[reportAssignmentType]
        return ids

    def encode_batch(self, texts: Sequence[str | bytes], allowed: frozenset[str], threads: int) -> list[Ids]:
        """Return the ids of each text.

        `tokenizers` takes its threads from RAYON_NUM_THREADS; 1 is honoured by not asking it.
        """
        import numpy as np

        if threads == 1:
            return [self.encode(text, allowed) for text in texts]
        tokenizer = self._variant(allowed)
        out: list[Ids] = []
        for start in range(0, len(texts), BATCH):
            batch = [_as_text(text) for text in texts[start : start + BATCH]]
            encodings = _encode_all(tokenizer, batch)
            out.extend(np.array(encoding.ids, dtype=self.dtype) for encoding in encodings)  # pyright: ignore
        return out

    def token_bytes(self, token_id: int) -> bytes | None:
        """Return the bytes of one id, where the decoder works piece by piece."""
        piece = self._piece(token_id)
        return None if self._pieces is None else self._pieces.bytes_of(piece)

    def byte_lengths(self) -> Lengths | None:
        """Return how many bytes each id stands for, where the decoder works piece by piece; 0 for the unknown token.

        That one stands for text which nobody knows any more.
        """
        import numpy as np

        if self._pieces is None:
            return None
        vocabulary = self.tokenizer.get_vocab(with_added_tokens=True)
        vocabulary.pop(self.unknown, None)
        sizes = np.fromiter(map(len, map(self._pieces.bytes_of, vocabulary)), np.int32, len(vocabulary))
        lengths = np.zeros(self.vocab_size, np.int32)
        lengths[np.fromiter(vocabulary.values(), np.int64, len(vocabulary))] = sizes
        return lengths

    def first_bytes(self, token_id: int) -> bytes | None:
        """Return the bytes of the id that a text begins with."""
        piece = self._piece(token_id)
        return None if self._pieces is None else self._pieces.first_bytes_of(piece)

    def _piece(self, token_id: int) -> str:
        piece: str | None = self.tokenizer.id_to_token(token_id)
        if piece is None:
            raise TokenizerError(
                f"the id {token_id} is none of this tokenizer", f"its ids end at {self.vocab_size - 1}"
            )
        return piece

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the bytes of a sequence."""
        pieces = [self._piece(token_id) for token_id in ids]
        if self._pieces is None:
            text: str = _run(lambda _: self.tokenizer.decode(list(ids), skip_special_tokens=False))
            return text.encode()
        first = self._pieces.first_bytes_of(pieces[0]) if pieces else b""
        joined = b"".join([first, *map(self._pieces.bytes_of, pieces[1:])])
        return joined[1:] if self.strips_space and joined[:1] == b" " else joined

    @property
    def strips_space(self) -> bool:
        """Say whether decoding takes the first space away, which encoding added."""
        return self._pieces is not None and self._pieces.strips_space

    def to_tokenizer_json(self) -> bytes:
        """Return the tokenizer.json that was loaded."""
        return json.dumps(self.json, ensure_ascii=False, indent=2).encode()

    def to_ranks(self) -> bytes:
        """Raise: ranks can say byte-level BPE only."""
        raise TokenizerError(f"tiktoken ranks cannot hold a {self.kind} vocabulary", "only byte-level BPE has ranks")

    def _variant(self, allowed: frozenset[str]) -> Any:
        """Return a copy of the tokenizer that knows the allowed special tokens only.

        The package `tokenizers` always finds special tokens in text.
        """
        if allowed not in self._variants:
            plain = [name for name in self.specials if name not in allowed]
            if not plain:
                return self._variants.setdefault(allowed, self.tokenizer)
            value, names = _hiding(self.json, plain)
            made = _load(value)
            for name, token_id in self.added.items():
                if made.token_to_id(names.get(name, name)) != token_id:
                    raise TokenizerError(
                        f"the id of {name} is no longer {token_id} where other special tokens are plain text",
                        "allowed_special='all' leaves every token its id",
                    )
            self._variants[allowed] = made
        return self._variants[allowed]


def _is_theirs(error: BaseException) -> bool:
    """Say whether `tokenizers` failed: a panic of Rust is no Exception in Python."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _run(work: Callable[[Callable[[str], str]], T]) -> T:
    """Return what `tokenizers` does with text; its refusal is a sentence."""
    try:
        try:
            return work(lambda text: text)
        except TypeError:  # how it refuses surrogates
            return work(mended)
    except BaseException as error:
        if not _is_theirs(error):
            raise
        said = str(error).split("\n")[0]
        hint = "its tokenizer.json lacks something that this text needs, a token for unknown words perhaps"
        raise TokenizerError(f"`tokenizers` cannot do this text: {said}", hint) from None


def _encode_all(tokenizer: Any, texts: list[str]) -> list[Any]:
    encodings: list[Any] = _run(
        lambda mend: tokenizer.encode_batch_fast(list(map(mend, texts)), add_special_tokens=False)
    )
    return encodings


def _unknown(model: Json) -> str | None:
    if isinstance(model.get("unk_id"), int):
        return str(model["vocab"][model["unk_id"]][0])
    name = model.get("unk_token")
    return name if isinstance(name, str) else None


def _load(value: Json) -> Any:
    try:
        import tokenizers
    except ImportError:
        raise TokenizerError(
            f"a tokenizer.json with a {value['model'].get('type') or 'foreign'} model needs the tokenizers package",
            "pip install tokenizers",
        ) from None
    return tokenizers.Tokenizer.from_str(json.dumps(value))


def _hiding(value: Json, plain: Collection[str]) -> tuple[Json, dict[str, str]]:
    """Return the tokenizer.json with special tokens under names that no text holds, and these names.

    Every token stays where it is in its list, so that every id stays what it is.
    """
    secret = secrets.token_hex(16)  # a text that knew the names could hold one
    hidden = {name: f"\0{secret}{index}" for index, name in enumerate(plain)}
    model = dict(value["model"])
    # A vocabulary may hold the special tokens too, where a model would find them.
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        model["vocab"] = {hidden.get(token, token): token_id for token, token_id in vocab.items()}
    else:
        model["vocab"] = [[hidden.get(token, token), score] for token, score in vocab]
    if model.get("unk_token") in hidden:
        model["unk_token"] = hidden[model["unk_token"]]
    if model.get("merges"):
        # a merge that spells a special token, or takes one further, would find it as well
        pairs = ((merge, merge.split(" ", 1) if isinstance(merge, str) else merge) for merge in model["merges"])
        model["merges"] = [
            merge
            for merge, (left, right) in pairs
            if left not in hidden and right not in hidden and left + right not in hidden
        ]
    unfound = {"normalized": False, "single_word": False, "lstrip": False, "rstrip": False}
    added = [
        {**token, **unfound, "content": hidden[token["content"]]} if token["content"] in hidden else token
        for token in value.get("added_tokens") or []
    ]
    # The post-processor may name special tokens that are gone, and nothing here asks for it.
    return {**value, "model": model, "added_tokens": added, "post_processor": None}, hidden


def mended(text: str) -> str:
    """Return text that UTF-8 can hold: paired surrogates joined, lone ones U+FFFD, as tiktoken does."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _as_text(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "replace")
