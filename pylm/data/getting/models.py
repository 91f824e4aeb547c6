"""Files of models' repositories, by the same fetcher: a tokenizer of the Hub."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

from pylm.cache import cache_folder
from pylm.errors import TokenizerError, UsageError

__all__ = ["tokenizer_folder"]

# what a tokenizer can be made of
WANTED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "vocab.json", "merges.txt", "*.tiktoken",
          "*.model")  # fmt: skip
NAME = re.compile(r"hub:(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


def tokenizer_folder(name: str, offline: bool | None = None) -> Path:
    """Return the folder of pylm's cache with a tokenizer's files, `hub:ORG/NAME[@REV]`, fetched and verified."""
    from pylm.data.fetching import Hub, fetch_all

    match = NAME.fullmatch(name)
    if match is None:
        raise UsageError(f"{name} is no tokenizer of the Hub", "write hub:ORG/NAME[@REV]")
    cache = cache_folder()
    if cache is None:
        raise UsageError("there is no home for a cache folder", "set PYLM_CACHE to a folder of yours")
    hub = Hub.from_environment(offline=offline)
    try:
        repository = hub.repository("model", match["id"], match["revision"])
        files = [file for file in repository.files() if any(fnmatchcase(file.path, wanted) for wanted in WANTED)]
        if not files:
            raise TokenizerError(f"there is no tokenizer in {repository.name}", f"one of these is: {', '.join(WANTED)}")
        folder = cache / "models" / match["id"].replace("/", "--") / repository.sha[:12]
        fetch_all(files, folder)
        return folder
    finally:
        hub.client.close()
