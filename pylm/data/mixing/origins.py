"""What is mixed: folders of shards, and texts, which become shards first."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm import _rust
from pylm.data.folder import TOKEN_FILES, files_of_split
from pylm.data.mixing.documents import is_ours
from pylm.errors import DataError, UsageError
from pylm.wording import call, param

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer
    from pylm.tokenizer.report import Report

__all__ = ["Origin", "is_shards", "manifests", "named_origins", "prepared_texts"]


@dataclass(frozen=True)
class Origin:
    """One of what is mixed: what it was called, its weight if it has one, and its shards."""

    name: str
    weight: float | None
    folder: Path | None = None  # None for a text that is not tokenized yet


def named_origins(sources: Any) -> list[Origin]:
    """Return what is mixed, of a mapping of weights or of a list of names, pairs, or words such as `wiki:0.7`."""
    several = list(sources.items()) if isinstance(sources, Mapping) else sources
    several = [several] if isinstance(several, str | os.PathLike) else list(several)
    origins = [_origin(one) for one in several]
    if not origins:
        raise UsageError("nothing to mix was named", "name folders of shards with their weights: wiki:0.7 web:0.3")
    for number, origin in enumerate(origins):
        if any(origin.name == other.name for other in origins[:number]):
            raise UsageError(f"{origin.name} is named twice", "give it once, with its weight")
    without = [origin.name for origin in origins if origin.weight is None]
    if 0 < len(without) < len(origins):
        raise UsageError(f"{without[0]} has no weight, and another source has one", "give each a weight, or none")
    return origins


def _origin(one: Any) -> Origin:
    name, weight = one if isinstance(one, tuple) and len(one) == 2 else (one, None)
    if not isinstance(name, str | os.PathLike):
        raise UsageError(f"a source is {name!r}", "name a folder of shards or a text")
    text = os.fsdecode(os.fspath(name))
    if weight is None and not os.path.exists(text) and (match := re.fullmatch(r"(.+):(\d*\.?\d+)", text, re.DOTALL)):
        text, weight = match[1], float(match[2])
    if weight is not None:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise UsageError(f"the weight {weight!r} of {text} is no share", "give a number above 0, such as 0.7")
        weight = float(weight)
    return Origin(text, weight, Path(text) if is_shards(Path(text)) else None)


def is_shards(path: Path) -> bool:
    """Say whether a name is of token shards with a manifest; refuse tokens of others, whose tokenizer nobody knows."""
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):  # no name of a file at all, such as a long text
        return False
    if is_file and path.suffix in TOKEN_FILES or is_folder and not is_ours(path) and files_of_split(path, "train"):
        raise DataError(
            f"{path} holds tokens without a manifest, and nothing says of which tokenizer",
            f"at training, data.mix takes it: {call('train', **{'data.mix': '{DIR: 0.7, DIR2: 0.3}'})}",
        )
    return is_folder and _has_shards(path)


def _has_shards(folder: Path) -> bool:
    """Say whether it is of token shards: text that was cleaned has a manifest too."""
    try:
        content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return is_ours(folder)
    return isinstance(content, dict) and "splits" in content


def prepared_texts(
    origins: Sequence[Origin],
    scratch: Path,
    tokenizer: Tokenizer | str | Path | None,
    val: float,
    most: Callable[[Origin], int | None],
    progress: Report | None,
    say: Callable[[str], None],
) -> list[Origin]:
    """Return all of them as shards: texts are tokenized into `scratch`, each as far as is of use.

    Args:
        origins: What is mixed.
        scratch: Where shards of texts lie; a call that is interrupted goes on there.
        tokenizer: Of the texts; that of the shards they are mixed with if not given.
        val: The share kept for validation.
        most: How many tokens of a source are of use; None for all.
        progress: Called about five times a second.
        say: Called with sentences that a user wants to read.
    """
    from pylm.data.prepare import prepare

    texts = [origin for origin in origins if origin.folder is None]
    beside = next((origin.folder for origin in origins if origin.folder is not None), None)
    used = tokenizer if tokenizer is not None else beside
    if texts and used is None:
        raise UsageError(
            f"{texts[0].name} is text, and weights are shares of tokens",
            f"name the tokenizer that makes them: {param('tokenizer', 'gpt2')}",
        )
    if tokenizer is not None and not texts:
        raise UsageError(f"{param('tokenizer')} is for texts, and all that is mixed are shards", "leave it out")
    made = []
    for number, origin in enumerate(origins):
        if origin.folder is None:
            folder, limit = scratch / f"{number:03}", most(origin)
            say(f"{origin.name}: tokenizing")
            prepare(
                [origin.name], folder, tokenizer=used, val=val, limit=None if limit is None else f"{limit}tok",
                progress=progress, say=say,
            )  # fmt: skip
            origin = Origin(origin.name, origin.weight, folder)
        made.append(origin)
    return made


def manifests(origins: Sequence[Origin]) -> list[dict[str, Any]]:
    """Return what their shards say of themselves; refuse those of another tokenizer."""
    found: list[dict[str, Any]] = []
    for origin in origins:
        assert origin.folder is not None
        manifest = _rust.shards_manifest(origin.folder)
        first = found[0] if found else manifest
        if manifest["tokenizer"] != first["tokenizer"]:
            raise DataError(
                f"{origin.name} was made by another tokenizer than {origins[0].name}",
                "tokenize both with the same one: ids of two tokenizers do not mix",
            )
        found.append(manifest)
    return found
