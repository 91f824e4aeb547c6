"""Any tokenizer.json that is no byte-level BPE, run by the `tokenizers` package: Unigram, WordPiece, character BPE."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pylm.errors import TokenizerError
from pylm.tokenizer.byte_alphabet import unspell

if TYPE_CHECKING:
    from pylm.tokenizer.backend import Ids

Json = dict[str, Any]
# texts given to `tokenizers` at a time: its Encoding objects cost some 100 bytes a token
BATCH = 512


class ForeignBackend:
    """A tokenizer.json behind the interface of ours."""

    native = False

    def __init__(self, data: bytes, where: str, why: str = "") -> None:
        """Load a tokenizer.json; `where` names it in errors, `why` says what keeps the native encoder from it."""
        self.why = why
        try:
            self._read(data)
        except TokenizerError:
            raise
        except Exception as error:  # `tokenizers` raises bare Exceptions, and a field may be of any kind
            raise TokenizerError(f"{where} is no sound tokenizer.json: {error}", "fetch or train it again") from None

    def _read(self, data: bytes) -> None:
        import numpy as np

        self.json: Json = json.loads(data)
        self.json["truncation"] = self.json["padding"] = None
        model = self.json["model"]
        added = self.json.get("added_tokens") or []
        self._tokenizer = _load(self.json)
        id_of = self._tokenizer.token_to_id
        specials = [(token["content"], id_of(token["content"])) for token in added if token["special"]]
        self.specials: dict[str, int] = dict(sorted(specials, key=lambda item: item[1]))
        self.unknown = _unknown(model)
        self.kind: str = model.get("type") or "BPE"
        ids = self._tokenizer.get_vocab(with_added_tokens=True).values()
        self.vocab_size = max(ids, default=-1) + 1
        self.pattern: str | None = None
        self.dtype = np.uint16 if self.vocab_size <= 1 << 16 else np.uint32
        self._added: dict[int, bytes] = {id_of(token["content"]): token["content"].encode() for token in added}
        self._bytes_of = _bytes_of_pieces(self.json.get("decoder"))
        self._strips_space = _strips_space(self.json.get("decoder"))
        self._variants: dict[frozenset[str], Any] = {}
        self._variant(frozenset())  # what encode asks for unless told otherwise

    @property
    def identity(self) -> str:
        """Hex SHA-256 of everything that decides ids, in canonical order."""
        parts = {key: self.json.get(key) for key in ("added_tokens", "normalizer", "pre_tokenizer", "model")}
        canonical = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def encode(self, text: str | bytes, allowed: frozenset[str]) -> Ids:
        """Ids of one text; bytes that are no UTF-8 count as U+FFFD."""
        import numpy as np

        tokenizer = self._variant(allowed)
        try:
            encoding = tokenizer.encode(_as_text(text), add_special_tokens=False)
        except TypeError:  # how it refuses surrogates
            encoding = tokenizer.encode(mended(_as_text(text)), add_special_tokens=False)
        ids: Ids = np.array(encoding.ids, dtype=self.dtype)  # pyright: ignore[reportAssignmentType]
        return ids

    def encode_batch(self, texts: Sequence[str | bytes], allowed: frozenset[str], threads: int) -> list[Ids]:
        """Ids of each text. `tokenizers` takes its threads from RAYON_NUM_THREADS; 1 is honoured by not asking it."""
        import numpy as np

        if threads == 1:
            return [self.encode(text, allowed) for text in texts]
        tokenizer = self._variant(allowed)
        out: list[Ids] = []
        for start in range(0, len(texts), BATCH):
            batch = [_as_text(text) for text in texts[start : start + BATCH]]
            try:
                encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            except TypeError:
                encodings = tokenizer.encode_batch_fast(list(map(mended, batch)), add_special_tokens=False)
            out.extend(np.array(encoding.ids, dtype=self.dtype) for encoding in encodings)  # pyright: ignore
        return out

    def token_bytes(self, token_id: int) -> bytes | None:
        """The bytes of one id, where the decoder works piece by piece."""
        if token_id in self._added:
            return None if self._bytes_of is None else self._added[token_id]
        piece = self._tokenizer.id_to_token(token_id)
        if piece is None:
            raise TokenizerError(
                f"the id {token_id} is none of this tokenizer", f"its ids end at {self.vocab_size - 1}"
            )
        return None if self._bytes_of is None else self._bytes_of(piece)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes of a sequence."""
        pieces = [self.token_bytes(int(token_id)) for token_id in ids]
        if None in pieces:
            text: str = self._tokenizer.decode([int(token_id) for token_id in ids], skip_special_tokens=False)
            return text.encode()
        joined = b"".join(piece for piece in pieces if piece is not None)
        return joined[1:] if self._strips_space and joined[:1] == b" " else joined

    @property
    def strips_space(self) -> bool:
        """Whether decoding takes the first space away, which encoding added."""
        return self._strips_space

    def to_tokenizer_json(self) -> bytes:
        """The tokenizer.json that was loaded."""
        return json.dumps(self.json, ensure_ascii=False, indent=2).encode()

    def to_ranks(self) -> bytes:
        """Fail: ranks can say byte-level BPE only."""
        raise TokenizerError(f"tiktoken ranks cannot hold a {self.kind} vocabulary", "only byte-level BPE has ranks")

    def _variant(self, allowed: frozenset[str]) -> Any:
        """`tokenizers` always finds special tokens in text; this copy of the tokenizer knows the allowed ones only."""
        plain = [name for name in self.specials if name not in allowed]
        if not plain:
            return self._tokenizer
        if allowed not in self._variants:
            self._variants[allowed] = _load(_without(self.json, {name: self.specials[name] for name in plain}))
        return self._variants[allowed]


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


def _without(value: Json, plain: dict[str, int]) -> Json:
    """Return the tokenizer.json with special tokens made unfindable, and every id where it was."""
    model = dict(value["model"])
    unknown = model.get("unk_token")
    # A vocabulary may hold the special tokens too, where a model would find them; no text holds this name.
    hidden = {name: f"\0{hashlib.sha256(name.encode()).hexdigest()}" for name in plain if name != unknown}
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        model["vocab"] = {hidden.get(token, token): token_id for token, token_id in vocab.items()}
    else:
        model["vocab"] = [[hidden.get(token, token), score] for token, score in vocab]
    added = [token for token in value.get("added_tokens") or [] if token["content"] not in plain]
    # The post-processor may name special tokens that are gone, and nothing here asks for it.
    return {**value, "model": model, "added_tokens": added, "post_processor": None}


def mended(text: str) -> str:
    """Return text that UTF-8 can hold: paired surrogates joined, lone ones U+FFFD, as tiktoken does."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _as_text(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


def _steps(decoder: Json | None) -> list[Json]:
    if decoder is None:
        return []
    return list(decoder["decoders"]) if decoder["type"] == "Sequence" else [decoder]


def _bytes_of_pieces(decoder: Json | None) -> Callable[[str], bytes] | None:
    """Return what turns a piece into its bytes, where the decoder is one that works piece by piece."""
    steps = _steps(decoder)
    kinds = {step["type"] for step in steps}
    if kinds == {"ByteLevel"}:
        return lambda piece: unspell(piece) if unspell(piece) is not None else piece.encode()  # type: ignore[return-value]
    if not kinds or not kinds <= {"Replace", "Metaspace", "ByteFallback", "Fuse", "Strip"}:
        return None
    replacements = [(step["pattern"].get("String"), step["content"]) for step in steps if step["type"] == "Replace"]
    replacements += [(step["replacement"], " ") for step in steps if step["type"] == "Metaspace"]
    if any(old is None for old, _ in replacements):
        return None
    falls_back = "ByteFallback" in kinds

    def bytes_of(piece: str) -> bytes:
        if falls_back and len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            try:
                return bytes([int(piece[3:5], 16)])
            except ValueError:
                pass
        for old, new in replacements:
            piece = piece.replace(old, new)
        return piece.encode()

    return bytes_of


def _strips_space(decoder: Json | None) -> bool:
    for step in _steps(decoder):
        if step["type"] == "Strip" and step.get("content") == " " and step.get("start"):
            return True
        if step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never":
            return True
    return False
