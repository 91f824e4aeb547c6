"""Text in memory to ids in memory: the first pass and later ones, against every encoder that is fast.

`pytest --benchmark benchmarks/test_encoding.py --corpora DIR --vocabs DIR`: the folders hold prose.txt,
multilingual.txt and vocab.bpe, encoder.json, cl100k_base.tiktoken, o200k_base.tiktoken. Each side loads its tokenizer,
then encodes the documents three times: "cold" is the first pass, "warm" the best of the other two. Nothing is timed
unless all ids are equal, and ours equal tiktoken's on the beginning of each corpus. PYLM_BENCH_TOKENIZERS_RC names an
interpreter that has tokenizers 1.0.0rc3, which cannot live beside the stable one.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Run, Side
from benchmarks.corpora import Texts

END = "<|endoftext|>"
ENDS = {"gpt2": 50256, "cl100k": 100257, "o200k": 199999}
FILES = {"gpt2": "vocab.bpe", "cl100k": "cl100k_base.tiktoken", "o200k": "o200k_base.tiktoken"}
ROUNDS = 3
CHECKED = 4_000_000
HOSTILE = 5_000_000
RANDOM = ("random letters", "random han")


def _digest(ids: Any) -> str:
    import numpy as np

    return hashlib.sha256(np.ascontiguousarray(ids, dtype="<u4").tobytes()).hexdigest()


def _joined(arrays: Any) -> Any:
    import numpy as np

    return np.concatenate([np.asarray(ids, dtype=np.uint32) for ids in arrays])


def _documents(path: str, most: int = 0) -> list[str]:
    """The documents of a file, or of its first `most` characters."""
    text = Path(path).read_text(encoding="utf-8")
    return [document for document in (text[:most] if most else text).split(END) if document]


def _bpe(vocabs: str, name: str) -> Any:
    from pylm.tokenizer import Tokenizer

    return Tokenizer.load(Path(vocabs) / FILES[name]).backend.bpe  # type: ignore[attr-defined]


def _passes(encode: Callable[[], Any], flat: Callable[[Any], Any] = _joined) -> dict[str, Any]:
    seconds = []
    for _ in range(3):
        out = None  # what the pass before made is given back outside the clock
        begun = time.perf_counter()
        out = encode()
        seconds.append(time.perf_counter() - begun)
    return {"cold": seconds[0], "warm": min(seconds[1:]), "result": _digest(flat(out))}


def ours(path: str, vocabs: str, vocabulary: str, workers: int, **_: Any) -> dict[str, Any]:
    """Encode with pylm, document by document."""
    bpe, texts = _bpe(vocabs, vocabulary), _documents(path)
    return _passes(lambda: bpe.encode_batch(texts, workers))


def ours_one_text(path: str, vocabs: str, vocabulary: str, workers: int, **_: Any) -> dict[str, Any]:
    """Encode with pylm, all of it as one text."""
    bpe, text = _bpe(vocabs, vocabulary), Path(path).read_text(encoding="utf-8")
    return _passes(lambda: bpe.encode_batch([text], workers)[0], flat=lambda ids: ids)


def ours_one_text_alone(workers: int, **arguments: Any) -> dict[str, Any]:
    """The same on one thread."""
    return ours_one_text(workers=1, **arguments)


def gigatoken_list(path: str, json: str, workers: int, **_: Any) -> dict[str, Any]:
    """Encode with gigatoken, the documents as a list."""
    import gigatoken

    tokenizer, texts = gigatoken.Tokenizer.from_json(Path(json).read_bytes()), _documents(path)
    return _passes(lambda: tokenizer.encode_batch(texts, parallel=workers > 1), _flat)


def gigatoken_file(path: str, json: str, workers: int, **_: Any) -> dict[str, Any]:
    """Encode with gigatoken, which reads the file itself: its fastest way for files."""
    import gigatoken

    tokenizer = gigatoken.Tokenizer.from_json(Path(json).read_bytes())
    source = gigatoken.TextFileSource([path], separator=END)
    return _passes(lambda: tokenizer.encode_files(source, parallel=workers > 1), _flat)


def _flat(awkward: Any) -> Any:
    import awkward as ak

    return ak.to_numpy(ak.flatten(awkward))


def fastokens(path: str, json: str, **_: Any) -> dict[str, Any]:
    """Encode with fastokens into one flat array of bytes, its fastest way."""
    import fastokens as library
    import numpy as np

    tokenizer, texts = library.Tokenizer.from_file(json), _documents(path)

    def flat(out: Any) -> Any:
        return np.frombuffer(out[0] if isinstance(out, tuple) else out, dtype=np.uint32)

    return _passes(lambda: tokenizer.encode_batch_flat(texts, add_special_tokens=False), flat)


def hugging_face(path: str, json: str, **_: Any) -> dict[str, Any]:
    """Encode with `tokenizers`, the documents as a list."""
    import tokenizers

    tokenizer, texts = tokenizers.Tokenizer.from_file(json), _documents(path)
    encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
    return _passes(lambda: encode(texts, add_special_tokens=False), lambda found: _joined(each.ids for each in found))


def ours_beginning(path: str, vocabs: str, vocabulary: str, **_: Any) -> dict[str, Any]:
    """The ids of a corpus' beginning, with pylm."""
    begun = time.perf_counter()
    ids = _joined(_bpe(vocabs, vocabulary).encode_batch(_documents(path, CHECKED), 1))
    return {"seconds": time.perf_counter() - begun, "result": _digest(ids)}


def tiktoken(path: str, vocabs: str, vocabulary: str, **_: Any) -> dict[str, Any]:
    """The same with tiktoken."""
    encoding = _tiktoken(vocabs, vocabulary)
    begun = time.perf_counter()
    ids = _joined(encoding.encode_ordinary_batch(_documents(path, CHECKED), num_threads=1))
    return {"seconds": time.perf_counter() - begun, "result": _digest(ids)}


def _tiktoken(vocabs: str, name: str) -> Any:
    import tiktoken
    from tiktoken_ext import openai_public

    folder = Path(vocabs)
    if name == "gpt2":
        from tiktoken.load import data_gym_to_mergeable_bpe_ranks

        ranks = data_gym_to_mergeable_bpe_ranks(str(folder / "vocab.bpe"), str(folder / "encoder.json"))
        pattern = openai_public.r50k_pat_str
    else:
        lines = (folder / FILES[name]).read_bytes().splitlines()
        ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}
        # the published constructors fetch their file: only their pattern is wanted here
        openai_public.load_tiktoken_bpe = lambda *_, **__: ranks
        pattern = openai_public.ENCODING_CONSTRUCTORS[f"{name}_base"]()["pat_str"]
    return tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={END: ENDS[name]})


def hostile_cases(size: int) -> dict[str, str]:
    """Thirteen texts of `size` bytes that caches and heaps do not like."""
    draw = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyz"

    def drawn(alphabet: str, width: int = 1) -> str:
        return "".join(draw.choices(alphabet, k=size // width))

    def repeated(text: str) -> str:
        return text * (size // len(text.encode()))

    return {
        "one letter": repeated("a"),
        "digits": repeated("1"),
        # not at the end of the text, where not every peer's cl100k cuts whitespace as tiktoken does
        "spaces": repeated(" ")[1:] + "x",
        "newlines": repeated("\n")[1:] + "x",
        "mixed whitespace": drawn(" \t\n\r")[1:] + "x",
        "one symbol": repeated("^"),
        "one word": repeated(" internationalisation"),
        "base64": base64.b64encode(draw.randbytes(size * 3 // 4)).decode(),
        "emoji": drawn("😀😁😂🤣😃😄😅😆😉😊👩‍🚀🏽", 4),
        "random bytes": draw.randbytes(size // 2).decode("utf-8", "replace"),
        "dashes": repeated("-" * 75 + "\n"),
        "random letters": drawn(letters),
        "random han": drawn("".join(map(chr, range(0x4E00, 0x9FA0))), 3),
    }


def _hostile(make: Callable[[], Callable[[str], Any]]) -> dict[str, Any]:
    """Seconds and MB/s of each case, and how much slower a byte of all of it is than one of its first fifth."""
    encode = make()
    encode("warm the tables up: " + "0123456789 " * 1000)
    figures: dict[str, Any] = {}
    digests = []
    for case, text in hostile_cases(HOSTILE).items():
        size = len(text.encode())
        part = text[: len(text) // 5]
        begun = time.perf_counter()
        encode(part)
        middle = time.perf_counter()
        ids = encode(text)
        seconds = time.perf_counter() - middle
        figures[case] = seconds
        figures[f"{case}, speed"] = size / seconds / 1e6
        figures[f"{case}, growth"] = seconds / (middle - begun) / 5
        digests.append(_digest(ids))
    return {**figures, "result": digests}


def ours_hostile(vocabs: str, vocabulary: str, **_: Any) -> dict[str, Any]:
    """The hostile cases with pylm."""

    def make() -> Callable[[str], Any]:
        bpe = _bpe(vocabs, vocabulary)
        return lambda text: bpe.encode_batch([text], 1)[0]

    return _hostile(make)


def gigatoken_hostile(json: str, **_: Any) -> dict[str, Any]:
    """The hostile cases with gigatoken."""

    def make() -> Callable[[str], Any]:
        import gigatoken

        tokenizer = gigatoken.Tokenizer.from_json(Path(json).read_bytes())
        return lambda text: _flat(tokenizer.encode_batch([text], parallel=False))

    return _hostile(make)


def fastokens_hostile(json: str, **_: Any) -> dict[str, Any]:
    """The hostile cases with fastokens."""

    def make() -> Callable[[str], Any]:
        import fastokens as library

        tokenizer = library.Tokenizer.from_file(json)
        return lambda text: tokenizer.encode(text, add_special_tokens=False).ids

    return _hostile(make)


RC = os.environ.get("PYLM_BENCH_TOKENIZERS_RC", sys.executable)
PYLM = Side("pylm", ours)
GIGATOKEN = [
    Side("gigatoken", gigatoken_list, label="gigatoken, list"),
    Side("gigatoken", gigatoken_file, label="gigatoken, file"),
]
FASTOKENS = Side("fastokens", fastokens)
TOKENIZERS = Side("tokenizers", hugging_face, python=RC)


@pytest.fixture
def given(text: Texts, tmp_path: Path) -> Callable[[str, str], dict[str, Any]]:
    """The arguments of every side for a corpus and a vocabulary; a skip where --vocabs lacks it."""

    def make(corpus: str, name: str) -> dict[str, Any]:
        found = text.vocabulary(FILES[name])
        if found is None:
            pytest.skip(f"--vocabs DIR with {FILES[name]} is needed: the peers are compared on published vocabularies")
        json = tmp_path / "tokenizer.json"
        # gigatoken knows cl100k's pattern by its text, as most files have it: without tiktoken's rule for whitespace at
        # the very end of a text
        whole = _bpe(str(found.parent), name).to_tokenizer_json()
        json.write_text(whole.replace("|\\\\s+\\\\z", ""), encoding="utf-8")
        path = "" if corpus == "" else str(getattr(text, corpus))
        return {"path": path, "vocabs": str(found.parent), "vocabulary": name, "json": str(json)}

    return make


Given = Callable[[str, str], dict[str, Any]]


@pytest.mark.parametrize("name", ["gpt2", "cl100k", "o200k"])
@pytest.mark.parametrize("corpus", ["prose", "multilingual"])
def test_ids_are_tiktokens(compare: Compare, given: Given, corpus: str, name: str) -> None:
    """Before any claim of speed."""
    run = compare(
        f"{corpus}, {name}, first {CHECKED // 10**6} MB",
        Side("pylm", ours_beginning),
        [Side("tiktoken", tiktoken)],
        rounds=1,
        threads=1,
        **given(corpus, name),
    )
    run.faster(None, than="tiktoken")


def _compared(
    compare: Compare, what: str, own: Side, peers: list[Side], threads: int, arguments: dict[str, Any]
) -> Run:
    name = f"{what}, {threads} thread{'s' if threads > 1 else ''}"
    return compare(name, own, peers, rounds=ROUNDS, threads=threads, workers=threads, **arguments)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["gpt2", "cl100k"])
def test_prose(compare: Compare, given: Given, name: str, threads: int) -> None:
    """English, against gigatoken's better way."""
    run = _compared(compare, f"prose, {name}", PYLM, GIGATOKEN, threads, given("prose", name))
    run.faster({1: 1.5, 2: 1.6}[threads], than=run.best(figure="warm"), figure="warm")
    run.faster({1: 2.5, 2: 3.0}[threads], than=run.best(figure="cold"), figure="cold")


@pytest.mark.parametrize("name", ["gpt2"])
def test_one_huge_text_by_two_threads(compare: Compare, given: Given, name: str) -> None:
    """All of the prose as one text: two threads against one, which cannot share anything but the cuts."""
    run = compare(
        f"prose as one text, {name}, 2 threads",
        Side("pylm", ours_one_text),
        [Side("pylm", ours_one_text_alone, label="pylm, 1 thread")],
        rounds=ROUNDS,
        threads=2,
        workers=2,
        **given("prose", name),
    )
    run.faster(1.8, than="pylm, 1 thread", figure="warm")
    run.faster(1.8, than="pylm, 1 thread", figure="cold")


@pytest.mark.parametrize("name", ["gpt2", "cl100k"])
def test_code(compare: Compare, given: Given, name: str) -> None:
    """Source code, the first pass."""
    run = _compared(compare, f"code, {name}", PYLM, GIGATOKEN, 1, given("code", name))
    run.faster(2.0, than=run.best(figure="cold"), figure="cold")
    run.faster(None, than=run.best(figure="warm"), figure="warm")


@pytest.mark.parametrize("name", ["gpt2", "cl100k", "o200k"])
def test_multilingual(compare: Compare, given: Given, name: str) -> None:
    """Many scripts, the first pass, against the best of three."""
    # fastokens refuses the files of the other two: "unsupported model type: Other"
    peers = [*GIGATOKEN, *([FASTOKENS] if name == "gpt2" else []), TOKENIZERS]
    run = _compared(compare, f"multilingual, {name}", PYLM, peers, 1, given("multilingual", name))
    run.faster(2.0, than=run.best(figure="cold"), figure="cold")
    run.faster(None, than=run.best(figure="warm"), figure="warm")


@pytest.mark.parametrize("name", ["gpt2", "cl100k"])
def test_hostile(compare: Compare, given: Given, name: str) -> None:
    """5 MB of one thing: never slower than the best peer, 100 MB/s (25 where letters are random), linear time."""
    peers = [Side("gigatoken", gigatoken_hostile)]
    if name == "gpt2":  # fastokens refuses cl100k's file: "unsupported model type: Other"
        peers.append(Side("fastokens", fastokens_hostile))
    run = compare(f"hostile, {name}", Side("pylm", ours_hostile), peers, rounds=1, threads=1, **given("", name))
    for case in hostile_cases(100):
        run.faster(1.0, than=run.best(figure=case), figure=case)
        run.at_least(25 if case in RANDOM else 100, f"{case}, speed", "MB/s")
        run.at_most(1.5, f"{case}, growth", "×")
