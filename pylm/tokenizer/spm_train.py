"""Training of Unigram and SentencePiece-style BPE, by the `sentencepiece` package in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pylm.errors import TokenizerError
from pylm.tokenizer.spm_model import parse_model, rounded_scores
from pylm.wording import param

__all__ = ["SpmSettings", "Trained", "train_model"]

Report = Callable[[str, float, float | None, str], None]  # phase, done, total, unit

# Longer lines are cut, at a space where there is one: sentencepiece leaves out lines beyond its limit.
MAX_LINE = 1 << 14
# Multiples of this add up without rounding in sentencepiece's 32-bit sums up to 2^18, about 25,000 tokens of one text.
SCORE_STEP = 1 / 64
# So that `<s>` or `<0x41>` in a text can always be spelled out (see spm_convert).
REQUIRED = "".join(chr(code) for code in range(0x21, 0x7F))

_TOO_HIGH = re.compile(r"Vocabulary size too high \((\d+)\)\. Please set it to a value <= (\d+)")
_TOO_LOW = re.compile(r"smaller than required_chars\. (\d+) vs (\d+)")
_EM = re.compile(r"EM sub_iter=\d+ size=(\d+)")
_MERGED = re.compile(r"Added: freq=\d+ size=(\d+)")


@dataclass(frozen=True)
class SpmSettings:
    """The settings that sentencepiece is asked for."""

    model: str  # unigram | sp-bpe
    vocab_size: int
    specials: Sequence[str]
    character_coverage: float = 0.9995
    threads: int = 2
    max_token_length: int | None = None


@dataclass(frozen=True)
class Trained:
    """The `.model` and the `.vocab` that list the same pieces."""

    model: bytes
    vocab: bytes


def train_model(documents: Iterable[str], settings: SpmSettings, report: Report) -> Trained:
    """Train on documents and return the model's files."""
    if importlib.util.find_spec("sentencepiece") is None:
        raise TokenizerError(
            f"{param('model', settings.model)} trains with the sentencepiece package, which is not installed",
            "pip install sentencepiece tokenizers",
        )
    with tempfile.TemporaryDirectory(prefix="pylm-spm-") as scratch:
        prefix = Path(scratch) / "tokenizer"
        _run(documents, _options(settings, prefix), settings, report)
        model = prefix.with_suffix(".model").read_bytes()
        vocab = prefix.with_suffix(".vocab").read_bytes()
    if settings.model == "unigram":
        model = rounded_scores(model, SCORE_STEP)
        vocab = _listed(model)
    return Trained(model, vocab)


def _options(settings: SpmSettings, prefix: Path) -> dict[str, object]:
    options: dict[str, object] = {
        "model_prefix": str(prefix),
        "model_type": "unigram" if settings.model == "unigram" else "bpe",
        "vocab_size": settings.vocab_size,
        "character_coverage": settings.character_coverage,
        "num_threads": settings.threads,
        "byte_fallback": True,
        # Text comes back as it was: nothing is folded, no space is added or taken away.
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "required_chars": REQUIRED,
        "control_symbols": list(settings.specials),
        "unk_id": 0,
        "bos_id": -1,
        "eos_id": -1,
        "pad_id": -1,
        "max_sentence_length": 4 * MAX_LINE,
        "train_extremely_large_corpus": True,
        "minloglevel": 0,
    }
    if settings.max_token_length is not None:
        options["max_sentencepiece_length"] = settings.max_token_length
    return options


def training_lines(documents: Iterable[str]) -> Iterator[str]:
    """Yield the lines of documents, long ones cut; a new line itself is encoded as its byte."""
    for document in documents:
        for line in document.split("\n"):
            line = line.rstrip("\r")
            while len(line) > MAX_LINE:
                cut = line.rfind(" ", 1, MAX_LINE)
                cut = cut if cut > 0 else MAX_LINE
                yield line[:cut]
                line = line[cut:]
            if line and not line.isspace():
                yield line


def _run(documents: Iterable[str], options: dict[str, object], settings: SpmSettings, report: Report) -> None:
    child = subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).with_name("spm_child.py")), json.dumps(options)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert child.stdin is not None and child.stderr is not None
    said: list[str] = []
    listener = threading.Thread(target=_listen, args=(child.stderr, said, settings, report), daemon=True)
    listener.start()
    try:
        read = _feed(child.stdin, documents, report)
        child.wait()
        listener.join()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        for stream in (child.stdin, child.stderr):
            try:
                stream.close()
            except BrokenPipeError:
                pass
    if child.returncode != 0:
        raise _explained(said, settings, read)


def _feed(pipe: IO[bytes], documents: Iterable[str], report: Report) -> int:
    """Write the lines, and return how many there were. A child that died early is explained by what it said."""
    count = written = 0
    try:
        for line in training_lines(documents):
            data = line.encode("utf-8", "replace")
            pipe.write(data + b"\n")
            count += 1
            written += len(data) + 1
            if count % 4096 == 0:
                report("read", written, None, "bytes")
        pipe.close()
    except BrokenPipeError:
        pass
    return count


def _listen(pipe: IO[bytes], said: list[str], settings: SpmSettings, report: Report) -> None:
    for raw in pipe:
        line = raw.decode("utf-8", "replace").rstrip()
        if match := _MERGED.search(line):
            report("merge", int(match[1]), settings.vocab_size, "pieces")
        elif match := _EM.search(line):
            report("prune", int(match[1]), None, "pieces")
        else:
            said.append(line)
            del said[:-20]


def _explained(said: list[str], settings: SpmSettings, lines: int) -> TokenizerError:
    last = next((line for line in reversed(said) if line.startswith("failed: ")), said[-1] if said else "it was killed")
    if lines == 0 or "sentences_.empty()" in last:
        return TokenizerError("there is no text to train on", "name files that hold more than white space")
    if match := _TOO_HIGH.search(last):
        return TokenizerError(
            f"the text gives a vocabulary of {int(match[2]):,} at most, and {int(match[1]):,} was asked for",
            f"{param('vocab_size', int(match[2]))}, or more text",
        )
    if match := _TOO_LOW.search(last):
        return TokenizerError(
            f"a vocabulary of {int(match[1]):,} cannot hold the bytes, special tokens and characters of this text, "
            f"which are {int(match[2]):,}",
            f"{param('vocab_size')} of more than {match[2]}, or a lower {param('character_coverage')}",
        )
    return TokenizerError(f"sentencepiece failed: {last.removeprefix('failed: ')}", None)


def _listed(model: bytes) -> bytes:
    """Return the `.vocab` of a model: a piece and its score on each line."""
    pieces = parse_model(model, "the model").pieces
    return "".join(f"{piece.text}\t{piece.score:g}\n" for piece in pieces).encode()
