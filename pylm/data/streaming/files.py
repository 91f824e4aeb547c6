"""The documents of files, here or elsewhere, which Rust reads; where it is: a file, a row group or byte, a row."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from typing import IO, Any

from pylm.data.streaming.document import NOTHING, Document
from pylm.data.streaming.stream import Cursor, State, Stream, taken_up
from pylm.errors import DataError

__all__ = ["END", "Files", "Reading"]

END = "<|endoftext|>"


@dataclass(frozen=True)
class Reading:
    """How text is read.

    Attributes:
        split: What stands between documents of a plain text: a string, `blank` (blank lines), `line` or `file`.
        field: The key of a jsonl line or a row that holds the text; `text` if not given.
        column: The column of a table that holds the text; `text` if not given.
        invalid: `error` or `replace`: what to do with bytes that are no UTF-8.
        skip_bad: Whether to leave out broken jsonl lines.
        allow_private: Whether addresses of this machine and its own network may be read.
    """

    split: str = END
    field: str | None = None
    column: str | None = None
    invalid: str = "error"
    skip_bad: bool = False
    allow_private: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """What of it Rust is told, by name; its own defaults hold for the rest."""
        return {key: value for key, value in vars(self).items() if value is not None and key != "allow_private"}


@dataclass(frozen=True)
class Files(Stream):
    """Files, folders, globs, stdin, and files that lie elsewhere, one after another."""

    names: tuple[Any, ...]
    reading: Reading
    with_meta: bool = True

    @property
    def name(self) -> str:
        """How a sentence calls it."""
        return ", ".join(getattr(name, "name", name) for name in self.names)

    def cursor(self, state: State | None = None) -> Cursor:
        """Return a cursor at the beginning, or at a position."""
        position, row = (None, 0) if state is None else taken_up(state, "files", "position", "row")
        return _FilesCursor(self, position, row)

    def without_meta(self) -> Stream:
        """Return the same documents for whoever wants nothing but their texts: no other column is read."""
        return replace(self, with_meta=False)

    def read(self, position: Any) -> Any:
        """Return what gives the documents by the batch from a position on."""
        from pylm import _rust

        options = self.reading.options
        if self.stdin is not None:
            file, is_jsonl = self.stdin
            options |= {"stdin": file.name, "stdin_jsonl": is_jsonl or self.reading.field is not None}
        return _rust.Documents(self.resolved, meta=self.with_meta, start=position, **options)

    @cached_property
    def resolved(self) -> list[Any]:
        """What Rust is handed for the names: paths, and objects that read what lies elsewhere."""
        from pylm.data.streaming.elsewhere import files_of

        return [file for name in self.names for file in files_of(name, self.reading)]

    @cached_property
    def stdin(self) -> tuple[IO[bytes], bool] | None:
        """The file that stdin was copied to, which goes with this object, and whether it holds jsonl."""
        if "-" not in self.names:
            return None
        from pylm.tokenizer.standard_input import copied, is_json_object

        file = tempfile.NamedTemporaryFile(prefix="pylm-stdin-")
        return file, is_json_object(copied(file))


class _FilesCursor(Cursor):
    def __init__(self, files: Files, position: Any, row: int) -> None:
        self._files = files
        self._position = position  # where the batch begins
        self._reader: Any = None
        self._batch: list[tuple[str, str | None, str | None]] = []
        self._row = row  # of the batch, or of what follows the position where no batch was read yet

    def __next__(self) -> Document:
        row = self._row
        while row >= len(self._batch):
            self._read()
            row = self._row
        text, name, meta = self._batch[row]
        self._row = row + 1
        # a tuple's own way, which takes half as long as the class's
        return tuple.__new__(Document, (text, name, NOTHING if meta is None else json.loads(meta)))

    def _read(self) -> None:
        from pylm.tokenizer.native import parameters_named

        with parameters_named():
            if self._reader is None:
                self._reader = self._files.read(self._position)
            else:
                self._position = self._reader.position
                self._row -= len(self._batch)
            self._batch = []
            try:
                self._batch = next(self._reader)
            except StopIteration:
                if self._row:
                    raise DataError(
                        f"{self._files.name} ends before the position that was sought", "it has less text than it had"
                    ) from None
                raise

    def state(self) -> State:
        return {"kind": "files", "position": self._position, "row": self._row}
