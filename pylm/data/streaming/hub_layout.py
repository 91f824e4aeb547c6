"""Which files of a repository a data set's name means: its configuration's, and of these its split's.

The card of a repository may say it, in the lines of YAML at its top. Else the names of folders and files do, as the
`datasets` package reads them. Else the Hub's own conversion to parquet is taken, if it is whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pylm.data.streaming.grammar import HubName
from pylm.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from pylm.data.fetching import RemoteFile, Repository

__all__ = ["data_files"]

Splits = dict[str, list["RemoteFile"]]

READ = re.compile(r"\.(parquet|jsonl|ndjson|json|csv|tsv|txt|wet|tar|tgz)(\.(gz|zst|zstd))?$", re.IGNORECASE)
CARD = re.compile(r"---\s*\n(.*?)\n---\s*(?:\n|$)", re.DOTALL)
LARGEST_CARD = 1 << 20
# the words by which the names of files and folders tell a split
WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def data_files(repository: Repository, hub: HubName) -> list[RemoteFile]:
    """Return the files of a configuration's split, in the order of the repository."""
    files = [file for file in repository.files() if not file.path.rpartition("/")[2].startswith((".", "_"))]
    configs = _by_card(repository, files) or _by_names(files, hub.config)
    where = f"hub:{hub.id}"
    if not configs:
        configs = _by_conversion(repository, where, hub.config, files)
    splits: Splits = _chosen(configs, hub.config, where, "configuration", "default")
    chosen: list[RemoteFile] = _chosen(splits, hub.split, where, "split", "train")
    return chosen


def _chosen(named: Mapping[str, Any], asked: str | None, where: str, kind: str, usual: str) -> Any:
    """Return what was asked for of several, or the usual one."""
    if asked is None and len(named) == 1:
        return next(iter(named.values()))
    chosen = asked or usual
    if chosen not in named:
        hint = did_you_mean(chosen, named) or f"name one as in {where}:CONFIG:SPLIT"
        raise UsageError(f"{where} has no {kind} {chosen}, but {', '.join(named)}", hint)
    return named[chosen]


def _by_card(repository: Repository, files: list[RemoteFile]) -> dict[str, Splits]:
    """Return the configurations that the card names, with their splits."""
    card = next((file for file in files if file.path == "README.md"), None)
    if card is None or card.size is None:
        return {}
    match = CARD.match(card.read(0, min(card.size, LARGEST_CARD)).decode("utf-8", "replace"))
    if match is None:
        return {}
    import yaml

    try:
        written = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise DataError(f"the card of {repository.name} is no YAML: {error}".split("\n")[0]) from None
    found = {}
    for config in (written or {}).get("configs") or []:
        splits = {name: _matching(files, patterns) for name, patterns in _patterns(config).items()}
        if any(splits.values()):
            found[str(config.get("config_name", "default"))] = {name: some for name, some in splits.items() if some}
            if config.get("default"):
                found = {"default": found[str(config.get("config_name", "default"))], **found}
    return found


def _patterns(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the patterns of files by split, however a card writes them."""
    written, folder = config.get("data_files"), config.get("data_dir")
    if written is None:
        written = "**" if folder else []
    if isinstance(written, Mapping):
        written = [{"split": split, "path": path} for split, path in written.items()]
    patterns: dict[str, list[str]] = {}
    for one in [written] if isinstance(written, str) else written:
        split, paths = (one.get("split", "train"), one.get("path", [])) if isinstance(one, Mapping) else ("train", one)
        for path in [paths] if isinstance(paths, str) else paths:
            patterns.setdefault(str(split), []).append(f"{folder}/{path}" if folder else str(path))
    return patterns


def _matching(files: Iterable[RemoteFile], patterns: list[str]) -> list[RemoteFile]:
    """Return the files that patterns match, in which `*` stays within a folder and `**` does not."""
    parts = {r"\*\*/": "(?:.*/)?", r"\*\*": ".*", r"\*": "[^/]*", r"\?": "[^/]"}
    rules = []
    for pattern in patterns:
        text = re.escape(pattern.removeprefix("./"))
        rules.append(re.compile(re.sub(r"\\\*\\\*/|\\\*\\\*|\\\*|\\\?", lambda m: parts[m[0]], text)))
    return [file for file in files if READ.search(file.path) and any(rule.fullmatch(file.path) for rule in rules)]


def _by_names(files: list[RemoteFile], config: str | None) -> dict[str, Splits]:
    """Return the one configuration that folders and files tell by their names."""
    readable = [file for file in files if READ.search(file.path)]
    if config is not None and config != "default":
        parts = [file for file in readable if config in file.path.split("/")[:-1]]
        name = config
    else:
        parts, name = readable, "default"
    if not parts:
        return {}
    suffixes = Counter(_suffix(file.path) for file in parts)
    parts = [file for file in parts if _suffix(file.path) == suffixes.most_common(1)[0][0]]
    splits: Splits = {}
    for file in parts:
        if (split := _split_of(file.path)) is not None:
            splits.setdefault(split, []).append(file)
    return {name: splits or {"train": parts}}


def _split_of(path: str) -> str | None:
    for part in reversed(path.split("/")):
        for split, words in WORDS.items():
            if any(re.search(rf"(?:^|[^a-z]){word}(?:[^a-z]|$)", part.lower()) for word in words):
                return split
    return None


def _suffix(path: str) -> str:
    match = READ.search(path)
    return match[1].lower() if match else ""


def _by_conversion(
    repository: Repository, where: str, config: str | None, files: list[RemoteFile]
) -> dict[str, Splits]:
    """Return what the Hub's conversion to parquet has: CONFIG/SPLIT/0000.parquet."""
    configs: dict[str, Splits] = {}
    try:
        converted = repository.converted().files()
    except DataError:
        if config is None:
            raise
        folders = sorted({part for file in files for part in file.path.split("/")[:-1]})
        hint = did_you_mean(config, folders) or f"its folders are {', '.join(folders[:10]) or 'none'}"
        raise UsageError(f"{where} has no configuration {config}", hint) from None
    for file in converted:
        match file.path.split("/"):
            case [named, split, name] if name.endswith(".parquet"):
                configs.setdefault(named, {}).setdefault(split, []).append(file)
    if not configs:
        raise DataError(f"{repository.name} holds no file that could be read as text")
    return configs
