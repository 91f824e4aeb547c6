"""From what a user names (a name, a file, a folder, a Hub id) to a backend and its configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pylm.errors import TokenizerError, UsageError, did_you_mean, warn
from pylm.tokenizer import published
from pylm.tokenizer.folder import CONFIG, TOKENIZER, Config, moved_aside, read_config, read_file
from pylm.tokenizer.gpt2_files import PAIRS, pair_to_tokenizer_json
from pylm.tokenizer.patterns import PATTERNS
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.tokenizer.backend import Backend

__all__ = ["Loaded", "backend_as_read", "backend_of_json", "backend_of_model", "load", "says_its_pattern"]

Specials = Sequence[str] | Mapping[str, int] | None
Loaded = tuple["Backend", Config, dict[str, bytes]]

_RANK = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+\r?\n")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?(@[\w.-]+)?")


def load(
    source: str | Path, *, pattern: str | None = None, specials: Specials = None, offline: bool | None = None
) -> Loaded:
    """Return backend, configuration and the files to keep beside them; see `Tokenizer.load`."""
    name = str(source)
    if not name:
        raise UsageError("no tokenizer is named", f"name one of {', '.join(published.PUBLISHED)}, a file, or a folder")
    if name in published.PUBLISHED:
        _no_pattern(name, pattern, specials)
        return _of_published(name, published.fetched(name, offline)), {}, {}
    path = Path(source)
    if path.is_dir():
        return _of_folder(path, pattern, specials)
    if name.startswith("hub:") and not path.exists():
        import pylm  # what fetches is another room: the package's own face knows it

        return _of_folder(pylm.tokenizer_of_hub(name, offline), pattern, specials)
    if path.is_file():
        return _of_file(path, pattern, specials)
    if was := moved_aside(path):
        warn(
            f"{path} is missing, as a process was killed that was replacing it: the tokenizer that it was is read from "
            f"{was}, and the next one that is saved there cleans up"
        )
        return _of_folder(was, pattern, specials)
    if _HUB_ID.fullmatch(name) and "/" in name:
        return _of_folder(_from_hub(name, offline), pattern, specials)
    near = did_you_mean(name, published.PUBLISHED)
    raise TokenizerError(
        f"there is no tokenizer {name}",
        near or f"name one of {', '.join(published.PUBLISHED)}, a file, a folder, or a Hub id such as org/name",
    )


def backend_of_json(data: bytes, where: str) -> Backend:
    """Return what runs a tokenizer.json: our encoder if it is byte-level BPE, else the `tokenizers` package.

    Either gives the ids that `tokenizers` gives, which is tried where that package is there; but for a file of ours
    whose regex others read in another way: it keeps the ids that it was trained with.
    """
    from pylm.tokenizer.agreement import refuse_other_ids
    from pylm.tokenizer.native import NativeBackend

    backend = backend_as_read(data, where)
    if part := backend.read_elsewhere() if isinstance(backend, NativeBackend) else None:
        warn(f"{where} was trained with {part}: here its ids stay what they are, elsewhere they may be others")
    else:
        refuse_other_ids(backend, data, where)
    return backend


def backend_as_read(data: bytes, where: str) -> Backend:
    """Return what runs a tokenizer.json, without asking whether its ids are those that `tokenizers` gives."""
    from pylm.tokenizer.foreign import ForeignBackend
    from pylm.tokenizer.native import NativeBackend

    try:
        return NativeBackend.from_tokenizer_json(data)
    except TokenizerError as not_native:
        # what is wrong with it, in the words of one who has read it: Python takes a third of the loading time for that
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise TokenizerError(f"{where} is no JSON: {error}", "fetch or train it again") from None
        if not isinstance(value, dict) or not isinstance(value.get("model"), dict) or "vocab" not in value["model"]:
            raise TokenizerError(
                f"{where} is no tokenizer.json: it has no model with a vocabulary", "name another file"
            ) from None
        try:
            return ForeignBackend(data, where, not_native.message)
        except TokenizerError as error:
            raise error from not_native


def backend_of_model(data: bytes, where: str) -> Backend:
    """Return what runs a SentencePiece model: the tokenizer.json that it is turned into."""
    from pylm.tokenizer.spm_convert import to_tokenizer_json
    from pylm.tokenizer.spm_model import parse_model

    value = to_tokenizer_json(parse_model(data, where), where)
    return backend_of_json(json.dumps(value, ensure_ascii=False).encode(), where)


def says_its_pattern(source: str | Path) -> bool:
    """Say whether `source` is anything but ranks, which do not say how text is cut."""
    path = Path(source)
    if str(source) in published.PUBLISHED or not path.is_file():
        return not (path.is_dir() and not (path / TOKENIZER).is_file() and any(path.glob("*.tiktoken")))
    with path.open("rb") as file:
        start = file.read(4096)
    if not _RANK.match(start):
        return True
    return published.by_checksum(read_file(path)) is not None


def _of_published(name: str, files: Mapping[str, bytes]) -> Backend:
    from pylm.tokenizer.native import NativeBackend

    known = published.PUBLISHED[name]
    if "vocab.bpe" in files:
        return backend_of_json(pair_to_tokenizer_json(files["vocab.bpe"], files["encoder.json"], name), name)
    (ranks,) = files.values()
    return NativeBackend.from_ranks(ranks, known.pattern, known.specials)


def _of_folder(folder: Path, pattern: str | None, specials: Specials) -> Loaded:
    config = read_config(folder)
    if (folder / TOKENIZER).is_file():
        return _of_file(folder / TOKENIZER, pattern, specials)
    for merges, vocab in PAIRS:
        if (folder / merges).is_file() and (folder / vocab).is_file():
            _no_pattern(str(folder), pattern, specials)
            return _of_pair(folder / merges, folder / vocab), config, {}
    found = sorted(path for path in folder.iterdir() if path.suffix in (".tiktoken", ".model") and path.is_file())
    if len(found) > 1:
        raise TokenizerError(f"{folder} holds {found[0].name} and {found[1].name}", "name the file")
    if not found:
        wanted = f"{TOKENIZER}, vocab.bpe with encoder.json, merges.txt with vocab.json, ranks (.tiktoken), a .model"
        raise TokenizerError(f"there is no tokenizer in {folder}", f"a folder holds one of these: {wanted}")
    return _of_file(found[0], pattern, specials)


def _of_file(path: Path, pattern: str | None, specials: Specials) -> Loaded:
    config = read_config(path.parent)
    for merges, vocab in PAIRS:
        if path.name in (merges, vocab):
            other = path.with_name(vocab if path.name == merges else merges)
            if not other.is_file():
                raise TokenizerError(f"{path} comes with {other.name}, which is not beside it", f"put {other} there")
            _no_pattern(str(path), pattern, specials)
            return _of_pair(path.with_name(merges), path.with_name(vocab)), config, {}
    data = read_file(path)
    if data.lstrip()[:1] == b"{":
        _no_pattern(str(path), pattern, specials)
        return backend_of_json(data, str(path)), config, _beside(path)
    if _RANK.match(data):
        return _of_ranks(data, path, pattern, specials), config, {}
    if path.suffix == ".model":
        _no_pattern(str(path), pattern, specials)
        return backend_of_model(data, str(path)), config, {"tokenizer.model": data, **_beside(path)}
    raise TokenizerError(
        f"{path} is no tokenizer that is known here", "name a tokenizer.json, tiktoken ranks, a .model, or a folder"
    )


def _beside(path: Path) -> dict[str, bytes]:
    """Return the SentencePiece files that lie beside a tokenizer.json made from them."""
    names = ("tokenizer.model", "tokenizer.vocab")
    return {name: read_file(path.with_name(name)) for name in names if path.with_name(name).is_file()}


def _of_pair(merges: Path, vocab: Path) -> Backend:
    where = f"{merges} and {vocab.name}"
    return backend_of_json(pair_to_tokenizer_json(read_file(merges), read_file(vocab), where), where)


def _of_ranks(data: bytes, path: Path, pattern: str | None, specials: Specials) -> Backend:
    from pylm.tokenizer.native import NativeBackend

    known = published.by_checksum(data)
    if known is not None and pattern is None and specials is None:
        return NativeBackend.from_ranks(data, known.pattern, known.specials)
    if pattern is None:
        raise UsageError(
            f"{path} holds ranks that are none of the published ones, and ranks do not say how text is cut",
            f"name the pattern: {param('pattern')} {', '.join(PATTERNS)} or a regex",
        )
    return NativeBackend.from_ranks(data, pattern, _numbered(specials, data))


def _numbered(specials: Specials, ranks: bytes) -> dict[str, int]:
    """Return special tokens with ids: those without follow the highest rank."""
    if specials is None:
        return {}
    if isinstance(specials, Mapping):
        for name, token_id in specials.items():
            if isinstance(token_id, bool) or not isinstance(token_id, int) or not 0 <= token_id < 1 << 32:
                raise UsageError(f"the special token {name} has id {token_id!r}", "ids are whole numbers from 0 up")
        return dict(specials)
    specials = list(specials)
    if len(set(specials)) < len(specials):
        twice = next(name for name in specials if specials.count(name) > 1)
        raise UsageError(f"the special token {twice} is named twice", "name it once")
    last = max(int(line.rsplit(b" ", 1)[1]) for line in ranks.splitlines() if b" " in line)
    return {name: last + 1 + index for index, name in enumerate(specials)}


def _no_pattern(where: str, pattern: str | None, specials: Specials) -> None:
    if pattern is not None or specials is not None:
        raise UsageError(
            f"{where} says its own pattern and special tokens",
            f"leave out {param('pattern')} and {param('specials')}: they are for ranks",
        )


def _from_hub(name: str, offline: bool | None) -> Path:
    repository, _, revision = name.partition("@")
    hint = f"put the repository's {TOKENIZER} into a folder and name the folder"
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError:
        raise TokenizerError(
            f"there is no file or folder {name}, and fetching it from the Hub needs huggingface-hub",
            f"pip install huggingface-hub, or {hint}",
        ) from None
    wanted = [TOKENIZER, CONFIG, "chat_template.jinja", "vocab.json", "merges.txt", "*.tiktoken", "*.model"]
    try:
        stay = published.is_offline(offline)
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=wanted, local_files_only=stay)
        )
    except LocalEntryNotFoundError as error:
        stay = published.is_offline(offline)
        reason = "the network is not to be used" if stay else str(error).split("\n")[0]
        raise TokenizerError(f"{name} is not in the Hub's cache, and it cannot be fetched: {reason}", hint) from None
    except Exception as error:  # the Hub's client raises a zoo of network and permission errors
        raise TokenizerError(f"cannot fetch {name} from the Hub: {str(error).splitlines()[0]}", hint) from None
