"""Examples with file and line, from whatever holds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from typing import Any

from pylm.data.chat.forms import Example, example_of, form_of
from pylm.data.chat.rows import rows_of
from pylm.errors import DataError, did_you_mean

__all__ = ["Read", "read"]


def read(dataset: Any, *, labels: Collection[str] | None = None) -> Read:
    """Return the examples of a dataset, to be iterated; the form of the first is that of all.

    ::

        for example in pylm.data.chat.read("chat.jsonl"):
            print(example.place, example.messages)

    Args:
        dataset: A file, a folder or a glob of jsonl, json, csv, tsv or parquet; a URL, `hub:ORG/NAME` or a name of the
            catalogue, such as `smoltalk`; an iterable of rows.
        labels: The labels that there may be, of a dataset that has labels.
    """
    return Read(dataset, labels)


class Read:
    """The examples of a dataset, in its order.

    Attributes:
        form: The form that they have; None until the first was read.
        labels: The labels that were met so far, in their order.
        pairs: Whether each is a pair of answers to one prompt, as far as was read.
    """

    def __init__(self, dataset: Any, labels: Collection[str] | None = None) -> None:
        """Keep a dataset unread."""
        self.form: str | None = None
        self.labels: dict[str, None] = {}
        self.pairs = False
        self._dataset = dataset
        self._allowed = labels
        self._digest = hashlib.blake2b(digest_size=16)
        self._bytes = 0

    def __iter__(self) -> Iterator[Example]:
        """Yield the examples from the first on."""
        self.form, self.labels = None, {}
        self._digest, self._bytes = hashlib.blake2b(digest_size=16), 0
        fields = None
        for place, row in rows_of(self._dataset):
            fields = fields or form_of(row, place)
            example = example_of(row, place, fields)
            self.form = self.form or example.form
            self.pairs = example.rejected is not None
            if example.form != self.form:
                raise DataError(
                    f"{place} is of the form {example.form}, those before it of {self.form}", "one dataset has one form"
                )
            self._note(example)
            yield example
        if self.form is None:
            raise DataError(f"{self.name} holds no example", "an example is a row, such as a line of jsonl")

    @property
    def name(self) -> str:
        """How a sentence calls the dataset."""
        return (
            str(self._dataset)
            if hasattr(self._dataset, "__fspath__") or isinstance(self._dataset, str)
            else (f"this {type(self._dataset).__name__}")
        )

    @property
    def about(self) -> dict[str, Any]:
        """What a manifest says of a dataset that was read to its end: its name, and a hash of its examples."""
        return {"name": self.name, "size": self._bytes, "fingerprint": self._digest.hexdigest()}

    def _note(self, example: Example) -> None:
        if example.label is not None:
            if self._allowed is not None and example.label not in self._allowed:
                known = ", ".join(self._allowed)
                hint = did_you_mean(example.label, list(self._allowed)) or "give it one of these, or train on it too"
                raise DataError(
                    f"{example.place} has the label {example.label!r}, and the labels that are learned are {known}",
                    hint,
                )
            self.labels.setdefault(example.label)
        said = [example.form, example.messages, example.learned_from, example.prompt, example.completion]
        if (other := example.rejected) is not None:
            said += [other.messages, other.learned_from, other.completion]
        told = json.dumps([*said, example.variables], ensure_ascii=False, sort_keys=True, default=str)
        content = told.encode("utf-8", "surrogatepass")
        self._bytes += len(content)
        self._digest.update(content)
