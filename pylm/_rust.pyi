from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, final, type_check_only

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AddressFilter",
    "Bpe",
    "CleaningRules",
    "Contamination",
    "Documents",
    "FastText",
    "LanguageIdentifier",
    "Metrics",
    "build_info",
    "classifier_file",
    "classify",
    "clean",
    "cleaned_request",
    "cluster_sizes",
    "cluster_sketches",
    "curve_pixels",
    "exact_hash",
    "fineweb_parameters",
    "fineweb_signature",
    "fineweb_simplified",
    "gather_documents",
    "hash_documents",
    "known_languages",
    "language_names",
    "language_of",
    "look_at_sources",
    "mask_private",
    "near_duplicate_sets",
    "near_duplicates",
    "parse_limit",
    "portable_pattern",
    "private_spans",
    "removed_duplicates",
    "repair",
    "rethreshold",
    "rules_full",
    "rules_keys",
    "rules_measures",
    "rules_preset",
    "rules_set",
    "seal_shards",
    "sentence_spans",
    "sentences_of",
    "shards_changed",
    "shards_document",
    "shards_manifest",
    "shards_statistics",
    "shards_training",
    "shards_verify",
    "sketch_shape",
    "tokenize",
    "train_bpe",
    "without_repeats",
    "words_of",
]

@type_check_only
class Ranged(Protocol):
    """A file that lies elsewhere. `read` returns exactly so many bytes, and is called by several threads at once.

    Its suffix says what it holds: that of `path` where it has one, else that of `name`. `identity` tells its content
    from another. Where it has `local()` too, and that returns the path of a copy on this machine, the copy is read.
    """

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int | None: ...
    @property
    def identity(self) -> str: ...
    def read(self, start: int, length: int, /) -> bytes: ...

def build_info() -> dict[str, str]: ...
def portable_pattern(pattern: str) -> tuple[str, list[str]]: ...
def tokenize(
    sources: Sequence[str | PathLike[str] | Ranged],
    folder: str | Path,
    encoder: Bpe | Callable[[list[str]], Iterable[NDArray[Any] | list[int]]],
    request: str,
    *,
    threads: int = 0,
    rank: int = 0,
    world: int = 1,
    force: bool = False,
    dry_run: bool = False,
    stdin: str | Path | None = None,
    stdin_jsonl: bool = False,
    files: Callable[[], dict[str, bytes]] | None = None,
    progress: Callable[[dict[str, float]], object] | None = None,
) -> dict[str, Any]: ...
def clean(
    sources: Sequence[str | PathLike[str] | Ranged],
    folder: str | Path,
    request: str,
    *,
    items: Sequence[tuple[str, str, str, str]] = ...,
    threads: int = 0,
    memory: int = ...,
    rank: int = 0,
    world: int = 1,
    force: bool = False,
    dry_run: bool = False,
    stdin: str | Path | None = None,
    stdin_jsonl: bool = False,
    show: Callable[[Path], object] | None = None,
    progress: Callable[[dict[str, float]], object] | None = None,
) -> dict[str, Any]:
    """The plan; unless it is a dry run also `found`, `replaced`, `missing`, `manifest` and `progress`."""

def cleaned_request(folder: str | Path) -> dict[str, Any]: ...
def rethreshold(
    folder: str | Path,
    rules: str,
    *,
    out: str | Path | None = None,
    memory: int = ...,
    threads: int = 0,
    force: bool = False,
    show: Callable[[Path], object] | None = None,
) -> dict[str, Any]:
    """Documents, and `before` and `after` by reason."""

def look_at_sources(
    sources: Sequence[str | PathLike[str] | Ranged], stdin: str | Path | None = None, stdin_jsonl: bool = False
) -> tuple[int, int, list[str]]: ...
def parse_limit(text: str) -> dict[str, int]: ...
def shards_manifest(folder: str | Path) -> dict[str, Any]: ...
def shards_training(folder: str | Path) -> dict[str, Any] | None: ...
def shards_document(folder: str | Path, split: str, number: int, most: int) -> dict[str, Any]: ...
def shards_statistics(folder: str | Path, split: str) -> dict[str, Any]: ...
def shards_verify(
    folder: str | Path, progress: Callable[[int, int], object] | None = None, bpe: Bpe | None = None
) -> dict[str, Any]: ...
def shards_changed(folder: str | Path, name: str) -> str | None: ...
def hash_documents(
    files: Sequence[tuple[str | Path, int, str, int]],
    starts: NDArray[Any],
    lengths: NDArray[Any],
    progress: Callable[[int], object] | None = None,
) -> NDArray[Any]: ...
def gather_documents(
    files: Sequence[tuple[str | Path, int, str, int]],
    starts: NDArray[Any],
    lengths: NDArray[Any],
    folder: str | Path,
    *,
    split: str,
    dtype: str,
    header: str,
    shard_tokens: int,
    byte_lengths: NDArray[Any] | None = None,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Any]: ...
def seal_shards(folder: str | Path, manifest: str) -> dict[str, Any]: ...

@final
class Bpe:
    """Byte-level BPE: a vocabulary and its encoder. Ids come as uint16 where all of the vocabulary fit, else uint32."""

    @staticmethod
    def from_tokenizer_json(data: bytes) -> Bpe: ...
    @staticmethod
    def from_ranks(data: bytes, pattern: str, specials: Sequence[tuple[str, int]]) -> Bpe: ...
    @staticmethod
    def from_merges(merges: Sequence[tuple[int, int]], pattern: str, specials: Sequence[str]) -> Bpe: ...
    @staticmethod
    def from_vocab_and_merges(vocab: bytes, merges: bytes, pattern: str, specials: Sequence[str]) -> Bpe: ...
    def encode(self, text: str | bytes, allowed_special: str | Iterable[str] | None = None) -> NDArray[Any]: ...
    def encode_batch(
        self, texts: Sequence[str | bytes], threads: int = 0, allowed_special: str | Iterable[str] | None = None
    ) -> list[NDArray[Any]]: ...
    def decode_bytes(self, ids: Iterable[int] | NDArray[Any]) -> bytes: ...
    def token_bytes(self, id: int) -> bytes: ...
    def to_tokenizer_json(self) -> str: ...
    def to_ranks(self) -> bytes: ...
    @property
    def identity(self) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def specials(self) -> list[tuple[str, int]]: ...
    @property
    def added(self) -> list[tuple[str, int]]: ...
    @property
    def spelled_twice(self) -> list[str]: ...
    @property
    def merges(self) -> list[tuple[int, int]]: ...
    @property
    def pattern(self) -> str: ...

def train_bpe(
    sources: Sequence[str | PathLike[str] | Ranged],
    *,
    vocab_size: int,
    pattern: str = "gpt2",
    specials: int = 0,
    min_frequency: int = 0,
    max_token_length: int | None = None,
    threads: int = 0,
    before: Sequence[tuple[int, int]] | None = None,
    allow_fewer: bool = False,
    documents: int | None = None,
    bytes: int | None = None,
    split: str | None = None,
    field: str = "text",
    column: str = "text",
    invalid: str = "error",
    skip_bad: bool = False,
    stdin: str | None = None,
    stdin_jsonl: bool = False,
    memory: int | None = None,
    temporary: str | PathLike[str] | None = None,
    state: str | PathLike[str] | None = None,
    progress: Callable[[str, int, int, float], object] | None = None,
) -> dict[str, Any]:
    """Train byte-level BPE on files, folders and globs; `-` is the file `stdin`.

    The merges are those of Hugging Face's `BpeTrainer` with the same pattern, for any number of threads.

    Args:
        sources: Files, folders, globs, and files that lie elsewhere.
        vocab_size: Bytes, merges and specials together.
        pattern: A name or a regex.
        specials: How many special tokens take their ids after the last merge.
        min_frequency: The least count of a pair that is merged.
        max_token_length: Tokens of three bytes and more stay below this many bytes, as with `BpeTrainer`.
        threads: 0 for as many as there are cores.
        before: Merges that exist already and come first.
        allow_fewer: Where the text has too few pairs, return those instead of raising.
        documents: Train on the first so many documents.
        bytes: Stop after the document, or part of one, that reaches so many bytes.
        split: What stands between documents of a plain text: a string, `blank`, `file`; None for `<|endoftext|>`.
        field: The key of a jsonl line that holds the text.
        column: The column of a parquet file that holds the text.
        invalid: `error` or `replace`.
        skip_bad: Whether to leave out broken jsonl lines.
        stdin: The file that stdin was written to.
        stdin_jsonl: Whether that file is jsonl.
        memory: Bytes that counting may take before it writes to disk, and that merging may take.
        temporary: The folder that counts are written to which take more; the system's if None.
        state: A folder that keeps the counts and the merges, from which an interrupted training goes on to the same
            result. It stays: remove it once the result is saved.
        progress: Called about five times a second with the phase (`count`: bytes; `merge`: merges), what is done, of
            how much (0 where not known), and the seconds that this phase has taken. What it raises ends the training.

    Returns:
        merges (pairs of ids; merge number n makes id 256 + n), exhausted, documents, bytes, replaced, pre_tokens,
        distinct, operations, count_seconds, merge_seconds.
    """

@final
class Documents:
    """Iterate over lists of (text, id, meta), about a megabyte at a time, in the order of the sources.

    Threads read ahead. With `meta`, an id is what lies under `id`, and meta is a JSON object of everything else but the
    text; without it both are None. `extra` names a whole number that is read beside each text, into `.extra`.
    """

    def __new__(
        cls,
        sources: Sequence[str | PathLike[str] | Ranged],
        *,
        split: str | None = None,
        field: str = "text",
        column: str = "text",
        invalid: str = "error",
        skip_bad: bool = False,
        meta: bool = False,
        extra: str | None = None,
        start: dict[str, int] | None = None,
        stdin: str | None = None,
        stdin_jsonl: bool = False,
    ) -> Documents: ...
    @property
    def source(self) -> str:
        """The file of the last batch, as a user would name it."""
    @property
    def position(self) -> dict[str, int]:
        """Where reading goes on after the last batch: what `start` takes.

        `file` counts the files of the sources; `at` is a row group of a parquet file, else a byte of the unpacked
        file; `row` is a row of the row group, or a byte of an archive's entry; `line` counts lines before it.
        """
    @property
    def extra(self) -> list[int | None]:
        """The numbers of the documents of the last batch; empty where none were asked for."""
    @property
    def replaced(self) -> int:
        """How many bytes were no UTF-8 and became U+FFFD, so far."""
    @property
    def nulls(self) -> int:
        """How many texts were null and left out, so far."""
    def __iter__(self) -> Documents: ...
    def __next__(self) -> list[tuple[str, str | None, str | None]]: ...

def words_of(text: str) -> list[str]:
    """The words of `text` as the rules of cleaning count them."""

def sentences_of(text: str) -> int:
    """How many sentences `text` has, one where it has none."""

def rules_preset(name: str) -> str:
    """The settings of `fineweb`, `fineweb2`, `gopher`, `c4` or `none`, as JSON.

    They name `families`, in the order in which they judge, and values by key: `default`, and those of `languages`.
    """

def rules_set(settings: str, key: str, value: str) -> str:
    """The settings with `key` set to the JSON `value` for all languages, and its family asked for."""

def rules_full(settings: str) -> str:
    """The settings with every key of their families said."""

def rules_measures() -> list[str]:
    """The names of the measures, in their order."""

def rules_keys() -> list[dict[str, Any]]:
    """Of every key its `key`, `reason`, `family`, `measure`, `comparison` (`<`, `>` or nothing) and `rethresholds`."""

@final
class CleaningRules:
    """Rules by their settings: what `rules_preset` gives, or JSON like it."""

    def __new__(cls, settings: str) -> CleaningRules: ...
    def measure(self, text: str, language: str = "eng_Latn") -> tuple[list[float], str | None]:
        """The measures, NaN where there is none, and the text as C4 rewrites it; None where it stays as it is."""
    def decide(self, measures: Sequence[float], language: str = "eng_Latn") -> tuple[str, str, float, float] | None:
        """Reason, key, measure and threshold of the first rule that fails."""

def repair(
    text: str,
    *,
    mojibake: bool = True,
    controls: bool = True,
    invisible: bool = True,
    whitespace: bool = True,
    nfc: bool = True,
    wide_blanks: bool = False,
) -> tuple[str, dict[str, int]]: ...
def near_duplicates(
    texts: Sequence[str],
    *,
    near: str = "0.8",
    shingle: int | None = None,
    characters: bool = False,
    hash: str = "xxh64",
    threads: int = 0,
    memory: int | None = None,
    scratch: str | PathLike[str] | None = None,
) -> dict[str, Any]:
    """`exact` and `near` (the first document of each document's cluster, 2^32 - 1 for none), `compared` and `left`."""

def near_duplicate_sets(
    hashes: NDArray[np.uint64],
    starts: NDArray[np.uint64],
    *,
    near: float = 0.8,
    threads: int = 0,
    memory: int | None = None,
    scratch: str | PathLike[str] | None = None,
) -> dict[str, Any]:
    """The same of documents that are sets of hashes."""

def cluster_sketches(
    path: str | PathLike[str],
    *,
    threads: int = 0,
    memory: int | None = None,
    scratch: str | PathLike[str] | None = None,
) -> dict[str, Any]:
    """The same of a file that holds a hash of sixteen bytes and FineWeb's sketch of each document."""

def without_repeats(
    texts: Sequence[str],
    part: str,
    least: int,
    *,
    threads: int = 0,
    memory: int | None = None,
    scratch: str | PathLike[str] | None = None,
) -> list[str]: ...
def sentence_spans(text: str) -> list[tuple[int, int]]: ...
def removed_duplicates(
    clusters: NDArray[np.uint32], passes: NDArray[np.bool_], values: NDArray[np.float64] | None = None
) -> NDArray[np.bool_]: ...
def cluster_sizes(clusters: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Documents of each one's cluster, and how often one that stands for it is written to rehydrate."""

def fineweb_signature(text: str, hash: str = "xxh64") -> list[int] | None: ...
def fineweb_parameters() -> tuple[list[int], list[int]]: ...
def fineweb_simplified(text: str) -> str: ...
def exact_hash(text: str) -> int: ...
def sketch_shape(near: float) -> tuple[int, int]:
    """Bands, and numbers of each."""

def private_spans(text: str) -> list[tuple[int, int, str]]: ...
def mask_private(text: str) -> str: ...

@final
class AddressFilter:
    """Which pages are left out by their address: `lists` are files, or folders of them."""

    def __new__(cls, lists: Sequence[str | PathLike[str]], *, soft_words: int = 2) -> AddressFilter: ...
    def refuses(self, url: str) -> str | None: ...

@final
class Contamination:
    """The n-grams of test items (task, id, question, answer), and the texts in which they stand."""

    def __new__(
        cls, items: Sequence[tuple[str, str, str, str]], *, n: int = 13, whole: bool = False
    ) -> Contamination: ...
    def check(self, texts: Sequence[str]) -> list[tuple[str, str, str, int] | None]: ...
    @property
    def tasks(self) -> list[tuple[str, int, int]]: ...

@final
class LanguageIdentifier:
    """Names the language of texts: with a fastText model's file, or with what is built in."""

    def __new__(cls, path: str | PathLike[str] | None = None) -> LanguageIdentifier: ...
    def identify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The language of each text, such as `eng_Latn`, and how sure that is, from 0 to 1."""

@final
class FastText:
    """A classifier that fastText trained, `.bin` or `.ftz`."""

    def __new__(cls, path: str | PathLike[str]) -> FastText: ...
    @property
    def labels(self) -> list[str]: ...
    def predict(self, texts: Sequence[str], k: int = 1) -> list[list[tuple[str, float]]]:
        """The `k` best labels of each text and their probabilities, best first."""

def classify(told: str, texts: Sequence[str]) -> list[tuple[float, bool]]:
    """What `FILE:LABEL>=X` says of each text: the probability of the label, and whether the text is kept."""

def classifier_file(told: str) -> str:
    """The file that `FILE:LABEL>=X` names."""

def known_languages() -> list[str]:
    """The codes of the languages that the built-in identifier names."""

def language_names() -> list[tuple[str, str, str]]:
    """Code, label of fastText's own models and English name of each language that has a name."""

def language_of(label: str, text: str = "") -> str:
    """The code of a label: `__label__en` or `eng_Latn`; the text tells the script where the label does not."""

@final
class Metrics:
    """The columns of a metrics.jsonl, without a last line that is still being written; a null is NaN.

    `gone` are the points that later lines took back; `curve` has those that are drawn at so many columns of pixels.
    """

    keys: list[str]
    lines: int
    bytes: int
    cuts: list[float]  # the steps that the run went on with where its lines go back
    def __new__(cls, path: str | PathLike[str], *, index: bool = True) -> Metrics: ...
    def refresh(self) -> bool: ...
    def points(self, key: str, over: str = "step", *, gone: bool = False) -> tuple[NDArray[Any], NDArray[Any]]: ...
    def curve(
        self, key: str, over: str = "step", *, columns: int, low: float | None = None, high: float | None = None,
        smooth: float = 0.0, gone: bool = False,
    ) -> tuple[list[float], list[float]]: ...  # fmt: skip
    def range(self, key: str, over: str = "step") -> tuple[float, float] | None: ...
    def sums(self, key: str, over: str, parts: int, low: float, high: float) -> list[float]: ...
    def at(self, key: str, over: str, places: Sequence[float]) -> list[float]: ...

def curve_pixels(x: NDArray[Any], y: NDArray[Any], columns: int, low: float, high: float) -> list[int]: ...
