"""A tokenizer's folder: tokenizer.json and tokenizer_config.json, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pylm.durable import flush_folder
from pylm.errors import TokenizerError, UsageError
from pylm.tokenizer.unfinished import WAS, clear, left_behind, unfinished

__all__ = ["made_whole", "moved_aside", "read_config", "read_file", "refuse_to_replace", "write", "written_config"]

Config = dict[str, Any]

TOKENIZER, CONFIG, RANKS = "tokenizer.json", "tokenizer_config.json", "ranks.tiktoken"
# every file that a tokenizer's folder may hold; a folder with others is not replaced
OURS = {TOKENIZER, CONFIG, "tokenizer.model", "tokenizer.vocab", RANKS}
MAX_FILE = 1 << 30
OLD = "old"  # what the tokenizer that is being replaced is called meanwhile


def read_file(path: Path) -> bytes:
    """Return a file's bytes, or an error in one sentence."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise TokenizerError(f"{path} has {path.stat().st_size:,} bytes: it is no tokenizer", "name another file")
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TokenizerError(f"cannot read {path}: {reason}", "name a tokenizer's file or folder") from None


def read_config(folder: Path) -> Config:
    """Return the tokenizer_config.json of a folder, with the chat template that lies beside it; {} where none is."""
    config: Config = {}
    path = folder / CONFIG
    if path.is_file():
        try:
            config = json.loads(read_file(path))
        except (ValueError, RecursionError) as error:
            raise TokenizerError(f"{path} is no JSON: {error}", "mend it or take it away") from None
        if not isinstance(config, dict):
            raise TokenizerError(f"{path} holds no JSON object", "mend it or take it away")
    template = folder / "chat_template.jinja"
    if template.is_file():
        config["chat_template"] = read_file(template).decode("utf-8", "replace")
    templates: Any = config.get("chat_template")
    if isinstance(templates, list):  # several by name, in older files
        named = [
            entry.get("template") for entry in templates if isinstance(entry, dict) and entry.get("name") == "default"
        ]
        config["chat_template"] = named[0] if named else None
    if not isinstance(config.get("chat_template"), str | None):
        raise TokenizerError(f"the chat_template of {path} is no text", "mend it or take it away")
    return config


def token_text(value: object) -> str | None:
    """Return the text of a token of the configuration, which is written as a string or as an object."""
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None


def named_tokens(config: Mapping[str, Any], eot: str | None, unknown: str | None) -> dict[str, str]:
    """Return special tokens by their offices; what ends a text begins and fills it too, as in GPT-2."""
    offices = {"eos_token": eot, "bos_token": eot, "pad_token": eot, "unk_token": unknown}
    named = {office: token_text(config.get(office)) or token for office, token in offices.items()}
    return {office: token for office, token in named.items() if token is not None}


def written_config(config: Mapping[str, Any], eot: str | None, unknown: str | None) -> bytes:
    """Return tokenizer_config.json so that transformers loads the same tokenizer; what was loaded is kept."""
    out: Config = {key: value for key, value in config.items() if key != "auto_map" and value is not None}
    # whatever class it had, tokenizer.json is now the truth
    out["tokenizer_class"] = "PreTrainedTokenizerFast"
    out.setdefault("clean_up_tokenization_spaces", False)
    out.setdefault("model_max_length", 10**30)  # transformers' way to say "no limit"
    for key, name in named_tokens(config, eot, unknown).items():
        out.setdefault(key, name)
    return (json.dumps(out, ensure_ascii=False, indent=2) + "\n").encode()


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`, which takes its place when the block ends well.

    Killed anywhere, `folder` is what it was or what it is to be; a tokenizer that was there is replaced. Killed between
    the two renames of that, `folder` is missing: `moved_aside` says where it lies, and the next writer puts it back.
    """
    clear(folder, OLD)
    refuse_to_replace(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with unfinished(folder, "tmp") as made:
        yield made
        os.chmod(made, 0o777 & ~_umask())
        for path in sorted(made.iterdir()):
            flush_folder(path)
        flush_folder(made)
        _swap(made, folder)
        flush_folder(folder.parent)


def moved_aside(folder: Path) -> Path | None:
    """Return where the tokenizer of a missing folder lies since a process was killed that was replacing it."""
    return left_behind(folder, OLD)


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a tokenizer's folder."""
    try:
        with made_whole(folder) as made:
            for name, data in files.items():
                (made / name).write_bytes(data)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise TokenizerError(f"cannot write {folder}: {reason}", "nothing was written; name another folder") from None


def refuse_to_replace(folder: Path) -> None:
    """Raise unless `folder` is absent, empty or a tokenizer's."""
    if folder.is_dir():
        others = sorted(path.name for path in folder.iterdir() if path.name not in OURS)
        if others:
            raise UsageError(f"{folder} holds {others[0]}, which is no part of a tokenizer", "name another folder")
    elif folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} is no folder", "name a folder")


def _swap(made: Path, folder: Path) -> None:
    if not folder.exists():
        made.rename(folder)
        return
    # interrupted between the two, it gets its place back: see `unfinished`
    with unfinished(folder, OLD) as old:
        folder.rename(old / WAS)
        made.rename(folder)


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
