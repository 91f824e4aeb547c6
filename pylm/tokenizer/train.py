"""Training a tokenizer on the user's own text: what is asked for, checked before anything is read."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pylm._rust import Bpe, train_bpe
from pylm.errors import TokenizerError, UsageError, did_you_mean
from pylm.tokenizer import chat, patterns
from pylm.tokenizer.native import NativeBackend, parameters_named
from pylm.tokenizer.published import END
from pylm.wording import param

if TYPE_CHECKING:
    from typing import TypedDict

    from pylm.data.sources import Opened
    from pylm.tokenizer.backend import Backend
    from pylm.tokenizer.report import Report

    class TrainKeywords(TypedDict, total=False):
        """The fields of TrainOptions that `Tokenizer.train` takes by name."""

        model: str
        pattern: str | None
        specials: Sequence[str] | None
        chat: bool
        min_frequency: int | None
        max_token_length: int | None
        documents: int | None
        bytes: int | None
        threads: int
        memory: int | None
        continue_from: str | None
        field: str
        column: str
        split: str | None
        invalid: str
        skip_bad: bool
        character_coverage: float | None
        allow_private: bool
        state: str | None
        progress: Report | None


__all__ = ["DEFAULT_PATTERN", "MODELS", "PATTERNS", "Parts", "TrainOptions", "train"]

MODELS = ("bpe", "unigram", "sp-bpe")
# what llama.cpp knows, so that a trained tokenizer can be exported
PATTERNS = ("gpt2", "cl100k", "llama3", "qwen2", "o200k")
# digits in threes, contractions in either case, and a run of line ends is one piece
DEFAULT_PATTERN = "cl100k"
DEFAULT_COVERAGE = 0.9995  # sentencepiece's own

# options that mean something to one kind of model only
ONLY_BPE = ("pattern", "min_frequency", "memory", "continue_from")
ONLY_SENTENCEPIECE = ("character_coverage",)


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """The options that `pylm tokenizer train` and `Tokenizer.train` take.

    Attributes:
        sources: Files, folders, globs, `-` for stdin, or whatever else `pylm.data.source` takes: one or several.
        vocab_size: Ids in all: bytes, merges and special tokens.
        model: `bpe` (byte-level, native), `unigram` or `sp-bpe` (through the sentencepiece package).
        pattern: gpt2, cl100k, llama3, qwen2, o200k, or a regex.
        specials: Special tokens; the first ends documents. `<|endoftext|>`, or those of `continue_from`, if not given.
        chat: Whether to add the roles of ChatML and its template.
        min_frequency: Pairs that are rarer are not merged.
        max_token_length: Longest token, in bytes (characters for unigram and sp-bpe).
        documents: Train on so many documents only.
        bytes: Train on about so many bytes of text only.
        threads: 0 for as many as there are cores.
        memory: Bytes that counting may take before it writes to disk, and that merging may take.
        continue_from: A trained tokenizer whose merges come first.
        field: The key of a jsonl line that holds the text.
        column: The column of a parquet file that holds the text.
        split: What stands between documents of a plain text: a string, `blank` (blank lines), `line` or `file`.
        invalid: `error` or `replace`: what to do with bytes that are no UTF-8.
        skip_bad: Whether to leave out broken jsonl lines.
        character_coverage: Share of the text's characters that get a piece of their own (unigram, sp-bpe).
        allow_private: Whether addresses of this machine and its own network may be read.
        state: A folder that an interrupted training leaves, and goes on from (bpe). Remove it once the result is saved.
        progress: Called about five times a second.
    """

    sources: Any
    vocab_size: int = 32000
    model: str = "bpe"
    pattern: str | None = None
    specials: tuple[str, ...] | None = None
    chat: bool = False
    min_frequency: int | None = None
    max_token_length: int | None = None
    documents: int | None = None
    bytes: int | None = None
    threads: int = 0
    memory: int | None = None
    continue_from: str | None = None
    field: str = "text"
    column: str = "text"
    split: str | None = None
    invalid: str = "error"
    skip_bad: bool = False
    character_coverage: float | None = None
    allow_private: bool = False
    state: str | None = None
    progress: Report | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def checked(cls, sources: Any, vocab_size: int, options: Mapping[str, Any]) -> TrainOptions:
        """Return options made of what a caller gave; the error says what is wrong with it."""
        known = {entry.name for entry in dataclasses.fields(cls)}
        for name in options:
            if name not in known:
                raise UsageError(f"training takes no {name}", did_you_mean(name, known))
        values = {key: value for key, value in options.items() if value is not None}
        if "specials" in values:
            values["specials"] = tuple(values["specials"])
        counted = ("threads", "documents", "bytes", "memory", "max_token_length", "min_frequency")
        counts = {"vocab_size": vocab_size, **{name: values[name] for name in counted if name in values}}
        for name, value in counts.items():
            if isinstance(value, bool) or not isinstance(value, int):
                raise UsageError(f"{name} is {value!r}", "give a whole number, such as 2_000_000_000")
        wanted = cls(sources=sources, vocab_size=vocab_size, **values)
        wanted._check()
        return wanted

    @property
    def all_specials(self) -> tuple[str, ...]:
        """Special tokens with those of the chat template."""
        return self.with_roles((END,) if self.specials is None else self.specials)

    def with_roles(self, specials: Sequence[str]) -> tuple[str, ...]:
        """Return special tokens with those of the chat template, if one is wanted."""
        return (*specials, *(name for name in chat.CHAT_SPECIALS if self.chat and name not in specials))

    def _check(self) -> None:
        if self.model not in MODELS:
            raise UsageError(
                f"there is no model {self.model}",
                did_you_mean(self.model, MODELS) or f"name one of {', '.join(MODELS)}",
            )
        if isinstance(self.sources, list | tuple) and not self.sources:
            raise UsageError("no source was given", "name a file, a folder, a glob, or - for stdin")
        if self.pattern is not None:
            patterns.trained(self.pattern)
        specials = self.all_specials
        if any(not name for name in specials):
            raise UsageError("a special token is empty", "name it, such as '<|endoftext|>'")
        if len(set(specials)) < len(specials):
            twice = next(name for name in specials if specials.count(name) > 1)
            raise UsageError(f"the special token {twice} is named twice", "name it once")
        unused = ONLY_SENTENCEPIECE if self.model == "bpe" else ONLY_BPE
        for name in unused:
            if getattr(self, name) is not None:
                raise UsageError(f"{param('model', self.model)} takes no {param(name)}", f"leave out {param(name)}")
        # sentencepiece has an id for unknown characters besides
        least = 256 + len(specials) + (self.model != "bpe")
        if self.vocab_size < least:
            raise UsageError(
                f"a vocabulary of {self.vocab_size:,} cannot hold the 256 bytes and {len(specials)} special tokens",
                f"{param('vocab_size', least)} is the least",
            )
        if self.threads < 0:
            raise UsageError(
                f"{param('threads')} is {self.threads}", "say how many, or 0 for as many as there are cores"
            )
        for name in ("documents", "bytes", "memory", "max_token_length", "min_frequency"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"{param(name)} is less than 1", "leave it out for no limit")
        if self.character_coverage is not None and not 0.5 <= self.character_coverage <= 1:
            raise UsageError(
                f"{param('character_coverage')} is a share between 0.5 and 1", f"{DEFAULT_COVERAGE} is the default"
            )


@dataclasses.dataclass(frozen=True)
class Parts:
    """The parts that a trained tokenizer is put together from, and what is worth saying about its training."""

    backend: Backend
    config: dict[str, Any]
    files: dict[str, bytes]
    facts: dict[str, Any]


def train(options: TrainOptions) -> Parts:
    """Return the parts of a tokenizer whose vocabulary is learned as asked."""
    from pylm.data.sources import Sources, opened
    from pylm.data.streaming.steps import Limit

    named = {name: getattr(options, name) for name in ("field", "column") if getattr(options, name) != "text"}
    reading = {"invalid": options.invalid, "skip_bad": options.skip_bad, "allow_private": options.allow_private}
    if options.split is not None:
        reading["split"] = options.split
    limits = [Limit(**{name: most}) for name in ("documents", "bytes") if (most := getattr(options, name)) is not None]
    sources = Sources.of(options.sources, **reading, **named)
    with parameters_named(), opened(sources, None, limits, options.progress) as text:
        return train_on(text, options)


def train_on(text: Opened, options: TrainOptions) -> Parts:
    """Do the same on text that is open already, whatever the options name as sources; Rust's errors are as they are."""
    return (_train_bpe if options.model == "bpe" else _train_sentencepiece)(options, text)


def _config(options: TrainOptions, specials: Sequence[str]) -> dict[str, Any]:
    config: dict[str, Any] = {"eos_token": specials[0]} if specials else {}
    if options.chat:
        config["chat_template"] = chat.CHATML
    return config


def _train_sentencepiece(options: TrainOptions, text: Opened) -> Parts:
    from pylm.tokenizer.load import backend_of_model
    from pylm.tokenizer.sample import Sample, reader_of
    from pylm.tokenizer.spm_train import SpmSettings, train_model

    reader = reader_of(
        text.files,
        split=options.split,
        field=options.field,
        column=options.column,
        invalid=options.invalid,
        skip_bad=options.skip_bad,
        stdin=None if text.stdin is None else str(text.stdin),
        stdin_jsonl=text.is_jsonl,
    )
    # text that quotes a special token must not teach it to the vocabulary
    sample = Sample(reader, options.documents, options.bytes, options.all_specials)
    settings = SpmSettings(
        model=options.model,
        vocab_size=options.vocab_size,
        specials=options.all_specials,
        character_coverage=options.character_coverage or DEFAULT_COVERAGE,
        threads=options.threads or os.cpu_count() or 1,
        max_token_length=options.max_token_length,
    )
    report = options.progress

    def tell(phase: str, done: float, total: float | None, unit: str) -> None:
        if report is not None:
            report(done, total, phase=phase, unit=unit)

    trained = train_model(sample, settings, tell)
    backend = backend_of_model(trained.model, "the trained model")
    files = {"tokenizer.model": trained.model, "tokenizer.vocab": trained.vocab}
    facts = {"documents": sample.documents, "bytes": sample.bytes, "replaced_bytes": sample.replaced}
    return Parts(backend, _config(options, options.all_specials), files, facts)


def _train_bpe(options: TrainOptions, text: Opened) -> Parts:
    start = _start_of(options)
    report = options.progress

    def tell(phase: str, done: int, total: int, _seconds: float) -> None:
        if report is not None:
            report(done, total or None, phase=phase, unit="bytes" if phase == "count" else "merges")

    trained = train_bpe(
        text.files,
        vocab_size=options.vocab_size,
        pattern=start.pattern,
        specials=len(start.specials),
        min_frequency=options.min_frequency or 0,
        max_token_length=options.max_token_length,
        threads=options.threads,
        before=start.merges,
        documents=options.documents,
        bytes=options.bytes,
        split=options.split,
        field=options.field,
        column=options.column,
        invalid=options.invalid,
        skip_bad=options.skip_bad,
        stdin=None if text.stdin is None else str(text.stdin),
        stdin_jsonl=text.is_jsonl,
        memory=options.memory,
        temporary=options.state,
        state=options.state,
        progress=tell,
    )
    bpe = Bpe.from_merges(trained.pop("merges"), start.pattern, list(start.specials))
    if twice := bpe.spelled_twice:
        raise TokenizerError(
            f"the special token {twice[0]!r} is written as another token of this vocabulary is in a tokenizer.json, "
            "and other programs would take one for the other",
            f"give it a text that no word has, such as <|{twice[0]}|>",
        )
    facts = {**trained, "replaced_bytes": trained.pop("replaced")}
    return Parts(NativeBackend(bpe), _config(options, start.specials), {}, facts)


@dataclasses.dataclass(frozen=True)
class _Start:
    """The start of training: from nothing, or from the merges of a tokenizer that is to be continued."""

    pattern: str
    specials: tuple[str, ...]
    merges: list[tuple[int, int]]


def _start_of(options: TrainOptions) -> _Start:
    if options.continue_from is None:
        return _Start(patterns.trained(options.pattern or DEFAULT_PATTERN), options.all_specials, [])
    from pylm.tokenizer.load import load

    backend, *_ = load(options.continue_from)
    if not isinstance(backend, NativeBackend):
        raise TokenizerError(
            f"{options.continue_from} is no byte-level BPE, so its training cannot be continued",
            f"name a tokenizer that pylm tokenizer train {param('model', 'bpe')} made",
        )
    bpe = backend.bpe
    if options.pattern not in (None, bpe.pattern) and patterns.trained(options.pattern) != bpe.pattern:
        raise UsageError(
            f"{options.continue_from} was trained with the pattern {bpe.pattern}, not {options.pattern}",
            f"leave out {param('pattern')}: the merges hold for their own pattern",
        )
    specials = options.with_roles(tuple(backend.specials) if options.specials is None else options.specials)
    made_anew = Bpe.from_merges(bpe.merges, bpe.pattern, list(backend.specials))
    if made_anew.identity != bpe.identity:
        raise TokenizerError(
            f"{options.continue_from} does not number its tokens in the order of its merges, as training does",
            f"name a tokenizer that pylm tokenizer train {param('model', 'bpe')} made",
        )
    return _Start(bpe.pattern, specials, bpe.merges)
