"""Training a byte-level BPE of 32,000: whole runs in fresh processes, reading included, against every trainer.

Run with `pytest --benchmark benchmarks/test_tokenizer_training.py --corpora DIR`. A trainer that takes only Python
strings is handed the documents of the file, and reading them is part of its time. gigatoken makes the same merges as
we do and is checked for it; rustbpe breaks ties otherwise, fast-bpe-rs is not exact, sentencepiece and youtokentome
learn from characters.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Side
from benchmarks.corpora import OTHERS, Texts

VOCABULARY = 32_000
ROUNDS = 3  # with the round that compares the merges: the slowest peers take most of a minute each
SEPARATOR = "<|endoftext|>"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
PATTERNS = {"gpt2": GPT2, "cl100k": CL100K}


def _digest(merges: Iterable[tuple[bytes, bytes]]) -> str:
    lines = (left.hex() + " " + right.hex() for left, right in merges)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _threads() -> int:
    return int(os.environ.get("PYLM_BENCHMARK_THREADS", os.environ["RAYON_NUM_THREADS"]))


def _documents(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").split(SEPARATOR)


def ours(path: str, pattern: str) -> dict[str, Any]:
    """Train with pylm."""
    from pylm import _rust

    begun = time.perf_counter()
    trained = _rust.train_bpe([path], vocab_size=VOCABULARY, specials=1, pattern=pattern, threads=_threads())
    seconds = time.perf_counter() - begun
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    tokens = [bytes([byte]) for byte in printable + [byte for byte in range(256) if byte not in printable]]
    pairs = []
    for left, right in trained["merges"]:
        pairs.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    figures = {name: trained[name] for name in ("count_seconds", "merge_seconds", "operations", "distinct")}
    return {"seconds": seconds, "result": _digest(pairs), **figures}


def gigatoken(path: str, pattern: str) -> dict[str, Any]:
    """Train with gigatoken, which knows GPT-2's pattern only and reads the file itself."""
    import gigatoken as peer

    begun = time.perf_counter()
    source = peer.TextFileSource([path], separator=SEPARATOR)
    _, merges = peer.train_bpe(source, VOCABULARY, [SEPARATOR])
    return {"seconds": time.perf_counter() - begun, "result": _digest(merges)}


def ffbpe(path: str, pattern: str) -> dict[str, Any]:
    """Train with ffbpe, its alphabet in GPT-2's order."""
    import ffbpe as peer

    begun = time.perf_counter()
    counter = peer.PreTokenizer([SEPARATOR], pat_str=PATTERNS[pattern]).word_counter()
    counter.add_source(_documents(path))
    trainer = peer.BpeTrainer([SEPARATOR], initial_alphabet="byte_level")
    trainer.add_word_counter(counter)
    trainer.train(VOCABULARY)
    trainer.validate_model()
    return {"seconds": time.perf_counter() - begun, "result": None}


def rustbpe(path: str, pattern: str) -> dict[str, Any]:
    """Train with rustbpe."""
    import rustbpe as peer

    begun = time.perf_counter()
    peer.Tokenizer().train_from_iterator(iter(_documents(path)), VOCABULARY - 1, pattern=PATTERNS[pattern])
    return {"seconds": time.perf_counter() - begun, "result": None}


def fast_bpe_rs(path: str, pattern: str) -> dict[str, Any]:
    """Train with fast-bpe-rs."""
    import fast_bpe_rs as peer

    begun = time.perf_counter()
    peer.BPE(PATTERNS[pattern], {SEPARATOR: VOCABULARY - 1}).train(VOCABULARY, _documents(path))
    return {"seconds": time.perf_counter() - begun, "result": None}


def sentencepiece(path: str, pattern: str) -> dict[str, Any]:
    """Train sentencepiece's own BPE."""
    import io

    import sentencepiece as peer

    begun = time.perf_counter()
    lines = (line for document in _documents(path) for line in document.splitlines() if line)
    peer.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=io.BytesIO(),
        vocab_size=VOCABULARY,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=0.9995,
        num_threads=_threads(),
        max_sentence_length=1 << 20,
        minloglevel=2,
    )
    return {"seconds": time.perf_counter() - begun, "result": None}


def youtokentome(path: str, pattern: str) -> dict[str, Any]:
    """Train youtokentome, which reads the file itself."""
    import tempfile

    import youtokentome as peer

    with tempfile.NamedTemporaryFile() as model:
        begun = time.perf_counter()
        peer.BPE.train(data=path, model=model.name, vocab_size=VOCABULARY, coverage=0.9995, n_threads=_threads())
        return {"seconds": time.perf_counter() - begun, "result": None}


def _side(package: str, function: Callable[..., dict[str, Any]], agrees: bool = False) -> Side:
    return Side(package, function, agrees=agrees)


PYLM = Side("pylm", ours)
GIGATOKEN = _side("gigatoken", gigatoken, agrees=True)
ANY_PATTERN = [_side("rustbpe", rustbpe), _side("ffbpe", ffbpe), _side("fast-bpe-rs", fast_bpe_rs)]
NAMES = [side.name for side in ANY_PATTERN]


@pytest.mark.parametrize("threads", [1, 2])
def test_prose_gpt2(compare: Compare, text: Texts, threads: int) -> None:
    """English, GPT-2's pattern."""
    arguments: dict[str, Any] = {"path": str(text.prose), "pattern": "gpt2"}
    run = compare(f"prose, gpt2, {threads} threads", PYLM, [GIGATOKEN], threads=threads, rounds=ROUNDS, **arguments)
    run.faster({1: 3.0, 2: 4.0}[threads], than="gigatoken")


@pytest.mark.slow
def test_prose_of_a_gigabyte(compare: Compare, text: Texts, tmp_path: Path) -> None:
    """The corpus repeated to 1 GB, one word in 50 made unique: memory follows what is distinct, not what is read."""
    path = tmp_path / "gigabyte.txt"
    words = text.prose.read_text(encoding="utf-8").split(" ")
    number = size = 0
    with path.open("w", encoding="utf-8") as file:
        while size < 10**9:
            for start in range(0, len(words), 50):
                number += 1
                # letters only: digits would be pre-tokens of their own
                mark = "".join(chr(ord("a") + int(digit)) for digit in str(number))
                size += file.write(" ".join(words[start : start + 50]) + mark + " ")
    run = compare("prose of 1 GB, gpt2, 1 thread", PYLM, threads=1, rounds=1, path=str(path), pattern="gpt2")
    run.at_most(200)


@pytest.mark.parametrize("threads", [1, 2])
def test_code_gpt2(compare: Compare, text: Texts, threads: int) -> None:
    """Source code, GPT-2's pattern. gigatoken lacks one merge that `tokenizers` and we make, the 21,859th."""
    arguments: dict[str, Any] = {"path": str(text.code), "pattern": "gpt2"}
    run = compare(
        f"code, gpt2, {threads} threads",
        PYLM,
        [_side("gigatoken", gigatoken)],
        threads=threads,
        rounds=ROUNDS,
        **arguments,
    )
    run.faster({1: 3.0, 2: 4.0}[threads], than="gigatoken")
    run.leaner(1.0, than="gigatoken")


@pytest.mark.parametrize("threads", [1, 2])
def test_multilingual_gpt2(compare: Compare, text: Texts, threads: int) -> None:
    """Many scripts, GPT-2's pattern."""
    arguments: dict[str, Any] = {"path": str(text.multilingual), "pattern": "gpt2"}
    peers = [GIGATOKEN, _side("youtokentome", youtokentome), _side("sentencepiece", sentencepiece)]
    run = compare(f"multilingual, gpt2, {threads} threads", PYLM, peers, threads=threads, rounds=ROUNDS, **arguments)
    run.faster(4.0, than="gigatoken")
    run.faster(2.0, than="youtokentome")
    run.leaner(0.5, than="sentencepiece")


@pytest.mark.parametrize("threads", [1, 2])
def test_prose_cl100k(compare: Compare, text: Texts, threads: int) -> None:
    """English, GPT-4's pattern."""
    arguments: dict[str, Any] = {"path": str(text.prose), "pattern": "cl100k"}
    run = compare(f"prose, cl100k, {threads} threads", PYLM, ANY_PATTERN, threads=threads, rounds=ROUNDS, **arguments)
    run.faster(8.0, than=run.best(NAMES))
    run.leaner(1 / 3, than=run.best(NAMES, figure="peak_mb"))


@pytest.mark.parametrize("threads", [1, 2])
def test_multilingual_cl100k(compare: Compare, text: Texts, threads: int) -> None:
    """Many scripts, GPT-4's pattern."""
    arguments: dict[str, Any] = {"path": str(text.multilingual), "pattern": "cl100k"}
    run = compare(
        f"multilingual, cl100k, {threads} threads", PYLM, ANY_PATTERN, threads=threads, rounds=ROUNDS, **arguments
    )
    run.faster({1: 4.0, 2: 5.0}[threads], than=run.best(NAMES))
    run.leaner(1 / 3, than=run.best(NAMES, figure="peak_mb"))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", OTHERS)
def test_other_text_gpt2(compare: Compare, text: Texts, kind: str, threads: int) -> None:
    """Other text than the corpora, of what the machine has. Where tokens end within characters gigatoken may differ."""
    name = f"{kind}, gpt2, {threads} threads"
    path = _other(compare, text, kind, f"{name} vs gigatoken", "≥ 5×")
    peers = [_side("gigatoken", gigatoken)]
    run = compare(name, PYLM, peers, threads=threads, rounds=ROUNDS, path=path, pattern="gpt2")
    run.faster(5.0, than="gigatoken")


@pytest.mark.parametrize("kind", OTHERS)
def test_other_text_second_thread(compare: Compare, text: Texts, kind: str) -> None:
    """What a second thread gains there."""
    name = f"{kind}, gpt2, 2 threads"
    path = _other(compare, text, kind, f"{name} vs 1 thread", "≥ 1.4×")
    one = Side("pylm", ours, label="1 thread", environment={"PYLM_BENCHMARK_THREADS": "1"})
    run = compare(name, PYLM, [one], threads=2, rounds=ROUNDS, path=path, pattern="gpt2")
    run.faster(1.4, than="1 thread")


def _other(compare: Compare, text: Texts, kind: str, row: str, bar: str) -> str:
    path = text.other(kind)
    if path is None:
        compare.unmeasured(row, f"less than 25 MB here of: {OTHERS[kind].__doc__}", bar)
    return str(path)
