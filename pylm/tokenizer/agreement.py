"""Whether a tokenizer.json gives the ids here that the `tokenizers` package gives, asked once for each file."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.cache import cache_folder
from pylm.errors import TokenizerError
from pylm.tokenizer.foreign import ForeignBackend
from pylm.tokenizer.foreign_limits import refuse_bombs

if TYPE_CHECKING:
    from pylm.tokenizer.backend import Backend

__all__ = ["refuse_other_ids"]

# changes with anything that decides ids
VERSION = "pylm agreement 1"
MOST_PIECES = 10_000  # pieces that are tried; all of the vocabulary where it has fewer
PIECES_PER_TEXT = 25  # they stand one after another, so that their borders are tried as well
TEXTS_PER_CALL = 10_000
MOST_VERDICTS = 2_000  # verdicts that the cache folder keeps
_seen: set[str] = set()


def refuse_other_ids(backend: Backend, data: bytes, where: str) -> None:
    """Raise where ids differ here and in `tokenizers`, on every added token and 10,000 pieces of the vocabulary.

    A verdict is remembered by the contents of the file. Without `tokenizers` nothing is compared.
    """
    if importlib.util.find_spec("tokenizers") is None:
        return
    key = _key(data)
    cache = cache_folder()
    place = None if cache is None else cache / "agreement" / key
    if key in _seen or (place and os.path.isfile(place)):
        return
    theirs = _theirs(backend, data, where)
    if theirs is not None:
        try:
            _compare(backend, theirs, where)
        finally:
            theirs.encode_special_tokens = False
    _seen.add(key)
    if place is not None:
        _remember(place)


def _key(data: bytes) -> str:
    """Return the name of the verdict on these contents: it depends on all that decides ids."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        theirs = version("tokenizers")  # importing it takes longer than all else where the verdict is known
    except PackageNotFoundError:  # a package without a name
        import tokenizers

        theirs = tokenizers.__version__
    return hashlib.sha256(f"{VERSION} {theirs} {_build()} ".encode() + data).hexdigest()[:40]


def _build() -> str:
    """Return what tells one build of our encoder from another."""
    from pylm import _rust

    about = os.stat(_rust.__file__) if _rust.__file__ else None
    return "" if about is None else f"{about.st_size} {about.st_mtime_ns}"


def _remember(place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        kept = sorted(place.parent.iterdir(), key=lambda path: path.stat().st_mtime)
        for old in kept[: max(0, len(kept) - MOST_VERDICTS)]:
            old.unlink(missing_ok=True)
    except OSError:  # a folder that cannot be written costs the next process the comparison
        pass


def _theirs(backend: Backend, data: bytes, where: str) -> Any:
    """Return what `tokenizers` makes of the file; None where it can be compared with nothing."""
    import tokenizers

    if not backend.native:  # a second one of 260,000 tokens takes as long as all else
        assert isinstance(backend, ForeignBackend)
        return None if backend.json["model"].get("dropout") else backend.tokenizer
    value = json.loads(data)
    refuse_bombs(value, where)
    if value["model"].get("dropout"):  # ids drawn at random
        return None
    value["truncation"] = value["padding"] = None
    try:
        return tokenizers.Tokenizer.from_str(json.dumps(value))
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            return None
        raise


def _compare(backend: Backend, theirs: Any, where: str) -> None:
    texts = [*_added_texts(backend), *_piece_texts(backend, theirs)]
    if backend.native:
        _same(backend, frozenset(backend.specials), theirs, texts, where)
    theirs.encode_special_tokens = True
    holds = _holder(backend.specials)
    # what a special token's text is without being one is ours to say: never that token
    plain = [text for text in texts if not holds(text)]
    _same(backend, frozenset(), theirs, plain, where, frozenset(backend.specials.values()))
    names = [name for name in backend.specials if name != getattr(backend, "unknown", None)]
    for name, ids in _batches(backend, names, frozenset()):
        if backend.specials[name] in ids:
            raise _refused(where, name, "is a special token even where it is plain text")


def _same(
    backend: Backend,
    allowed: frozenset[str],
    theirs: Any,
    texts: Sequence[str],
    where: str,
    never: frozenset[int] = frozenset(),
) -> None:
    wanted: dict[str, list[int]] = {}
    for text in texts:
        try:
            ids: list[int] = theirs.encode(text, add_special_tokens=False).ids
        except BaseException as error:
            if isinstance(error, Exception) or type(error).__name__ == "PanicException":
                continue
            raise
        if never.isdisjoint(ids):  # else a normalizer has made a special token of other text
            wanted[text] = ids
    for text, ids in _batches(backend, list(wanted), allowed):
        if ids != wanted[text]:
            raise _refused(where, text, "has other ids here than in `tokenizers`")


def _batches(backend: Backend, texts: Sequence[str], allowed: frozenset[str]) -> Iterator[tuple[str, list[int]]]:
    """Yield each text with its ids. What is allowed is made ready once for many texts."""
    for start in range(0, len(texts), TEXTS_PER_CALL):
        part = texts[start : start + TEXTS_PER_CALL]
        # one thread: `tokenizers` warns in a child that is forked after it has had several
        for text, ids in zip(part, backend.encode_batch(part, allowed, 1), strict=True):
            yield text, ids.tolist()


def _holder(names: Iterable[str]) -> Callable[[str], bool]:
    """Return what tells whether a text holds one of many names, which a regex would try one by one at every place."""
    known = frozenset(names)
    lengths = sorted({len(name) for name in known})

    def holds(text: str) -> bool:
        fitting = lengths[: bisect_right(lengths, len(text))]
        return any(text[at : at + size] in known for size in fitting for at in range(len(text) - size + 1))

    return holds


def _refused(where: str, text: str, what: str) -> TokenizerError:
    shown = text if len(text) <= 60 else text[:60] + "…"
    return TokenizerError(
        f"{where} cannot be served exactly: {shown!r} {what}",
        "tell pylm's authors which tokenizer this is; until then encode with `tokenizers` and bring .bin shards",
    )


def _added_texts(backend: Backend) -> Iterator[str]:
    for name in backend.added:
        yield name
        yield f"a{name} {name}"


def _piece_texts(backend: Backend, theirs: Any) -> Iterator[str]:
    step = max(1, backend.vocab_size // MOST_PIECES)
    added = set(backend.added.values())
    pieces = []
    for token_id in range(0, backend.vocab_size, step):
        name = theirs.id_to_token(token_id)
        if name is None or token_id in added:
            continue
        data = backend.token_bytes(token_id)
        try:
            pieces.append(name if data is None else data.decode())
        except UnicodeDecodeError:  # a part of a character
            continue
    for start in range(0, len(pieces), PIECES_PER_TEXT):
        yield "".join(pieces[start : start + PIECES_PER_TEXT])
    # alone as well: at the beginning of a text some rules are others
    yield from pieces[:: max(1, len(pieces) // 1000)]
