"""Examples to a folder of shards with masks, which is there whole or not at all."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm import _rust
from pylm.data.chat.events import ExamplesPrepared, ExamplesRead
from pylm.data.chat.fitting import Fitting
from pylm.data.chat.masking import Masked, Masker
from pylm.data.chat.reading import Read
from pylm.data.masks import entry_of, mask_name, written
from pylm.data.mixing.documents import Documents, between
from pylm.data.mixing.writing import check_share, made_here, new_folder, taken, val_of, write_shards
from pylm.durable import write_bytes
from pylm.errors import DataError
from pylm.wording import param

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray

    from pylm.data.chat.templates import Template
    from pylm.tokenizer import Tokenizer

__all__ = ["prepare"]

KIND = "examples"
PAIRS = "pairs"  # of two documents beside each other, the chosen answer before the rejected one
SHARD_TOKENS = 100_000_000
EVERY = 1000  # examples between two events


def prepare(
    dataset: Any,
    tokenizer: Tokenizer,
    out: str | os.PathLike[str],
    *,
    template: str | os.PathLike[str] | Template | None = None,
    overflow: str = "cut-prompt",
    context_length: int | None = None,
    val: float = 0.05,
    val_dataset: Any = None,
    on_event: Callable[[object], object] | None = None,
) -> Path:
    """Write the examples of a dataset as shards with masks, and return their folder.

    The same dataset gives the same bytes. Where the folder stands and was made of the same, it is left as it is.

    Of a pair of answers both are written, the chosen one first, and they fit into one context together.

    Args:
        dataset: What `pylm.data.chat.read` takes: a file, a name, an iterable of rows.
        tokenizer: The tokenizer, which is kept beside the shards with the template.
        out: The folder.
        template: As `pylm.data.mask` takes it.
        overflow: What becomes of an example longer than the context: `cut-prompt`, `drop` or `error`.
        context_length: The most inputs of an example; any length unless given.
        val: The share of the examples that is held out, by a hash of each.
        val_dataset: Other examples to hold out, instead.
        on_event: Given what happens: `ExamplesRead`, `ExamplesPrepared`.
    """
    folder = Path(out)
    fitting = Fitting(Masker(tokenizer, template), overflow, context_length)
    share = 0.0 if val_dataset is not None else check_share("val", val, least_is_none=True)
    asked = {
        "template": hashlib.sha256(fitting.masker.template.text.encode()).hexdigest(),
        "overflow": overflow,
        "context_length": context_length,
        "val": share,
    }
    if (manifest := made_here(folder)) is not None:
        datasets = [dataset] if val_dataset is None else [dataset, val_dataset]
        _refuse_other(folder, manifest, asked, tokenizer, datasets)
        return folder
    say = on_event or (lambda event: None)
    with new_folder(folder, KIND) as made:
        writer = _Writer(made, tokenizer, fitting, say)
        read = writer.read("train", dataset)
        held = writer.read("val", val_dataset, read.labels) if val_dataset is not None else None
        manifest = writer.finish(asked, share, [read] if held is None else [read, held])
    say(_prepared(folder, manifest))
    return folder


@dataclass
class _Side:
    """What was read of one dataset: its ids and masks in files, and the length of each example."""

    ids: Path
    counts: Path
    lengths: list[int] = field(default_factory=list)


class _Writer:
    """Writes a folder of examples."""

    def __init__(self, made: Path, tokenizer: Tokenizer, fitting: Fitting, say: Callable[[object], object]) -> None:
        self._made, self._tokenizer, self._fitting, self._say = made, tokenizer, fitting, say
        self._dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
        self._sides: dict[str, _Side] = {}
        self._lengths = tokenizer.backend.byte_lengths()

    def read(self, split: str, dataset: Any, labels: Mapping[str, None] | None = None) -> Read:
        """Read and mask a dataset into files beside the folder that is being made."""
        read = Read(dataset, labels or None)
        side = _Side(self._made.with_name(f"{split}.ids"), self._made.with_name(f"{split}.counts"))
        with side.ids.open("wb") as ids, side.counts.open("wb") as counts:
            for documents in self._masked(read):
                for masked in documents:
                    self._append(masked, ids, counts)
                    side.lengths.append(len(masked.ids))
        self._fitting.finish(read.name)
        self._sides[split] = side
        return read

    def _masked(self, read: Read) -> Iterator[tuple[Masked, ...]]:
        for example in read:
            documents = self._fitting.documents(example)
            if self._fitting.counts.examples % EVERY == 0:
                self._say(ExamplesRead(self._fitting.counts.examples))
            yield documents

    def _append(self, masked: Masked, ids: BinaryIO, counts: BinaryIO) -> None:
        ids.write(masked.ids.astype(f"<{'u2' if self._dtype == 'uint16' else 'u4'}").tobytes())
        counts.write(masked.counts.tobytes())

    def finish(self, asked: dict[str, Any], share: float, reads: list[Read]) -> dict[str, Any]:
        """Write shards, masks, the tokenizer with its template and the manifest, and return it."""
        form, pairs = reads[0].form, reads[0].pairs
        if any(read.pairs != pairs for read in reads):
            raise DataError(
                f"{reads[0].name} and {reads[1].name} are not both pairs of answers", "give both of one form"
            )
        for name, content in self._files(form).items():
            write_bytes(self._made / name, content)
        splits, counted = {}, {}
        masks: dict[str, dict[str, Any]] = {}
        for split, (side, documents) in self._split(share, reads[0]).items():
            shards = write_shards(
                self._made, split, documents, dtype=self._dtype, header="none", shard_tokens=SHARD_TOKENS,
                lengths=self._lengths, progress=None,
            )  # fmt: skip
            splits[split] = {
                "tokens": documents.tokens, "documents": len(documents),
                "text_bytes": shards["text_bytes"] - len(documents) * self._bytes_of_end, "shards": shards["shards"],
            }  # fmt: skip
            here, counted[split] = self._write_masks(side, documents, shards["shards"])
            masks |= here
        made = {
            "kind": PAIRS if pairs else KIND, **asked,
            "template_name": self._fitting.masker.written_by(form), "form": form,
            "labels": list(reads[0].labels), "counts": self._fitting.counts.as_dict(), "counted": counted,
            "masks": masks,
        }  # fmt: skip
        return _rust.seal_shards(self._made, json.dumps(self._manifest(splits, share, reads, made)))

    def _split(self, share: float, read: Read) -> dict[str, tuple[_Side, Documents]]:
        """Return which examples are for which split: by a hash of each where a share of them is held out."""
        documents = {split: self._documents(side) for split, side in self._sides.items()}
        if "val" not in documents:
            # a pair stays whole: its chosen answer says where it goes
            together = 2 if read.pairs else 1
            hashes = documents["train"].hashes()[::together]
            held = val_of(hashes, share)
            first = hashes == hashes.min(initial=2**64 - 1)
            if share and not held.any() and not first.all():  # of few examples the one that would be held out first
                held = first
            held = np.repeat(held, together)
            self._sides["val"] = self._sides["train"]
            documents = {"train": documents["train"].only(~held), "val": documents["train"].only(held)}
        if not len(documents["train"]):
            raise DataError(
                f"all examples of {read.name} would be held out", f"give more examples, or {param('val', 0)}"
            )
        return {split: (self._sides[split], one) for split, one in documents.items()}

    def _documents(self, side: _Side) -> Documents:
        lengths = np.array(side.lengths, np.uint64)
        starts = np.cumsum(lengths, dtype=np.uint64) - lengths
        return between([(str(side.ids), 0, self._dtype, int(lengths.sum()))], starts)

    def _write_masks(
        self, side: _Side, documents: Documents, shards: list[dict[str, Any]]
    ) -> tuple[dict[str, dict[str, Any]], int]:
        """Write the masks beside the shards of a split; return what a manifest says of them, and how many ids count."""
        counts = np.memmap(side.counts, np.bool_, "r") if len(documents) else np.zeros(0, np.bool_)
        spans = zip(documents.starts.tolist(), documents.lengths.tolist(), strict=True)
        masks: dict[str, dict[str, Any]] = {}
        total = 0
        for shard in shards:
            parts = [counts[start : start + length] for start, length in islice(spans, shard["documents"])]
            mask: NDArray[np.bool_] = np.concatenate(parts)
            name, bits = mask_name(shard["file"]), written(mask)
            write_bytes(self._made / name, bits)
            masks[name] = entry_of(bits)
            total += int(mask.sum())
        return masks, total

    def _files(self, form: str | None) -> dict[str, bytes]:
        """Return the files of the tokenizer; what writes these examples is then how it is talked with."""
        template, tokenizer = self._fitting.masker.template, self._tokenizer
        if template.is_given or form == "messages":
            tokenizer = copy.copy(tokenizer)
            tokenizer.chat_template = template.text
        return tokenizer.files()

    @property
    def _bytes_of_end(self) -> int:
        """How many bytes the end of text is spelled with, which no text has."""
        return 0 if self._lengths is None or self._tokenizer.eot is None else int(self._lengths[self._tokenizer.eot])

    def _manifest(
        self, splits: dict[str, Any], share: float, reads: list[Read], made: dict[str, Any]
    ) -> dict[str, Any]:
        tokenizer = self._tokenizer
        about = {"tokenizer": tokenizer.identity, "vocab_size": tokenizer.vocab_size, "eot": tokenizer.eot}
        # examples are no documents of a text, so what tells how these are read is empty; templates write control tokens
        settings = {
            **about, "split": "", "field": "", "column": "", "invalid": "error", "skip_bad": False,
            "allow_special": sorted(tokenizer.added), "validation": share, "shard_tokens": SHARD_TOKENS,
            "limit": None, "header": "none", "dtype": self._dtype, "rule": "none",
        }  # fmt: skip
        return {
            "format": "pylm-shards", "version": 1, "dtype": self._dtype, "header": "none", **about, "splits": splits,
            "sources": [read.about for read in reads], "settings": settings,
            "skipped": {"count": 0, "first": []}, "replaced_bytes": 0, "made": made,
        }  # fmt: skip


def _refuse_other(
    folder: Path, manifest: dict[str, Any], asked: dict[str, Any], tokenizer: Tokenizer, datasets: list[Any]
) -> None:
    """Refuse a folder that was made of anything else than what is asked for now."""
    made = manifest["made"]
    same = {key: made.get(key) for key in asked} == asked and manifest["tokenizer"] == tokenizer.identity
    if not same or [one["fingerprint"] for one in manifest["sources"]] != [_fingerprint(one) for one in datasets]:
        raise taken(folder)


def _fingerprint(dataset: Any) -> str:
    read = Read(dataset)
    for _ in read:
        pass
    return str(read.about["fingerprint"])


def _prepared(folder: Path, manifest: dict[str, Any]) -> ExamplesPrepared:
    made, splits = manifest["made"], manifest["splits"]
    together = 2 if made["kind"] == PAIRS else 1
    return ExamplesPrepared(
        folder,
        examples={name: split["documents"] // together for name, split in splits.items()},
        tokens={name: split["tokens"] for name, split in splits.items()},
        counted=made["counted"],
        counts=made["counts"],
        template=made["template_name"],
        labels=tuple(made["labels"]),
    )
