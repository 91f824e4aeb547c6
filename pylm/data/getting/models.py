"""Files of models' repositories, by the same fetcher: a tokenizer of the Hub, or a whole model."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from pylm.cache import cache_folder
from pylm.errors import CheckpointError, PylmError, TokenizerError, UsageError

__all__ = ["model_folder", "tokenizer_folder"]

# what a tokenizer can be made of
WANTED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.json", "merges.txt", "*.tiktoken",
          "*.model")  # fmt: skip
WEIGHTS = ("model*.safetensors",)
BESIDE = ("config.json", "generation_config.json", "model.safetensors.index.json", *WANTED)
NAME = re.compile(r"hub:(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


def tokenizer_folder(name: str, offline: bool | None = None) -> Path:
    """Return the folder of pylm's cache with a tokenizer's files, `hub:ORG/NAME[@REV]`, fetched and verified."""
    return _folder(name, offline, "tokenizer", WANTED, (), TokenizerError)


def model_folder(name: str, offline: bool | None = None) -> Path:
    """Return the folder of pylm's cache with a model's weights, configuration and tokenizer, fetched and verified."""
    return _folder(name, offline, "model", WEIGHTS, BESIDE, CheckpointError)


def _folder(
    name: str, offline: bool | None, what: str, needed: tuple[str, ...], beside: tuple[str, ...], error: type[PylmError]
) -> Path:
    """Return the folder with a repository's files by these names, of which one at least must be a needed one."""
    from pylm.data.fetching import Hub, fetch_all

    match = NAME.fullmatch(name)
    if match is None:
        raise UsageError(f"{name} is no {what} of the Hub", "write hub:ORG/NAME[@REV]")
    cache = cache_folder()
    if cache is None:
        raise UsageError("there is no home for a cache folder", "set PYLM_CACHE to a folder of yours")
    hub = Hub.from_environment(offline=offline)
    try:
        repository = hub.repository("model", match["id"], match["revision"])
        files = [file for file in repository.files() if _is_one(file.path, (*needed, *beside))]
        if not any(_is_one(file.path, needed) for file in files):
            raise error(f"there is no {what} in {repository.name}", f"one of these is: {', '.join(needed)}")
        folder = cache / "models" / match["id"].replace("/", "--") / repository.sha[:12]
        fetch_all(files, folder)
        return folder
    finally:
        hub.client.close()


def _is_one(path: str, names: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, name) for name in names)
