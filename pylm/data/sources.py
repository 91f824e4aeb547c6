"""Where text comes from and how it is read: files, folders, globs, stdin."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pylm import _rust
from pylm.errors import UsageError
from pylm.tokenizer.standard_input import FIRST_LINE_BYTES, is_json_object
from pylm.tokenizer.unfinished import unfinished

__all__ = ["Sources", "Spool", "default_folder", "spool"]

END = "<|endoftext|>"


@dataclass(frozen=True)
class Sources:
    """The sources of text, and how they are read.

    Attributes:
        names: Files, folders, globs, or `-` for stdin.
        split: What stands between documents of a plain text: a string, `blank` (blank lines), `line` or `file`.
        field: The key of a jsonl line that holds the text; `text` if not given.
        column: The column of a parquet file that holds the text; `text` if not given.
        invalid: `error` or `replace`: what to do with bytes that are no UTF-8.
        skip_bad: Whether to leave out broken jsonl lines, counted and listed in the manifest.
    """

    names: tuple[str, ...]
    split: str = END
    field: str | None = None
    column: str | None = None
    invalid: str = "error"
    skip_bad: bool = False

    @classmethod
    def of(cls, sources: str | Path | Sequence[str | Path], **reading: Any) -> Sources:
        """Return the sources of one path or several."""
        named = [sources] if isinstance(sources, (str, Path)) else list(sources)
        if not named:
            raise UsageError("no source was given", "name a file, a folder, a glob, or - for stdin")
        return cls(tuple(str(source) for source in named), **reading)

    @property
    def reading(self) -> dict[str, Any]:
        """How they are read, by the names that the trainer of tokenizers takes."""
        return {key: value for key, value in vars(self).items() if key != "names"}


class Spool(NamedTuple):
    """The file that stdin was written to, None where stdin is no source; and whether it holds jsonl."""

    file: Path | None
    is_jsonl: bool


@contextmanager
def spool(sources: Sources, folder: Path) -> Iterator[Spool]:
    """Write stdin to a file beside `folder`, where it is a source, for as long as the block takes.

    A source is read more than once: for a sample, for the tokenizer, for the shards.
    """
    if "-" not in sources.names:
        yield Spool(None, False)
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with unfinished(folder, "stdin") as scratch:
        path = scratch / "stdin"
        _rust.spool_stdin(path)
        with path.open("rb") as file:
            first = file.readline(FIRST_LINE_BYTES)
        is_jsonl = sources.field is not None or is_json_object(first)
        # the suffix is how the trainer, which is given a path, knows what is in it
        whole = path.with_suffix(_suffix(first, is_jsonl))
        os.replace(path, whole)
        yield Spool(whole, is_jsonl)


def _suffix(first: bytes, is_jsonl: bool) -> str:
    if first[:4] == b"PAR1":
        return ".parquet"
    plain = ".jsonl" if is_jsonl else ".txt"
    if first[:2] == b"\x1f\x8b":
        return f"{plain}.gz"
    return f"{plain}.zst" if first[:4] == b"\x28\xb5\x2f\xfd" else plain


def default_folder(sources: Sequence[str]) -> Path:
    """Return `data/` and the name of the first source without its suffixes."""
    first = sources[0] if sources else ""
    if first == "-":
        return Path("data") / "stdin"
    path = Path(re.split(r"[*?\[]", first)[0].rstrip("/") or ".")
    name = path.resolve().name if path.name in ("", ".", "..") else path.name
    if not path.is_dir():
        name = re.sub(r"(\.(txt|text|md|jsonl|ndjson|parquet))?(\.(gz|zst|zstd))?$", "", name, flags=re.IGNORECASE)
    name = re.sub("[\udc80-\udcff]", "_", name)  # bytes of a name that are no UTF-8, which no line could print
    return Path("data") / (name or "text")
