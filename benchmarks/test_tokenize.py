"""A file of text → uint16 token shards on disk: whole ways of doing it, loading the tokenizer included."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Side
from benchmarks.corpora import SEPARATOR, Texts

END = SEPARATOR
GIGABYTE = 1_000_000_000


def pylm(corpus: str, tokenizer: str, out: str, workers: int, **_: Any) -> dict[str, Any]:
    import shutil

    from pylm.data.prepare import prepare

    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    prepare([corpus], out, tokenizer=tokenizer, val=0, threads=workers)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "result": _hash(sorted(Path(out).glob("train_*.bin")))}


def gigatoken(corpus: str, tokenizer: str, out: str, workers: int, **_: Any) -> dict[str, Any]:
    import awkward as ak
    import numpy as np
    from gigatoken import TextFileSource, Tokenizer

    started = time.perf_counter()
    made = Tokenizer.from_json((Path(tokenizer) / "tokenizer.json").read_bytes())
    documents = made.encode_files(TextFileSource([corpus], separator=END), parallel=workers > 1)
    lengths = ak.to_numpy(ak.num(documents)).astype(np.int64)
    flat = ak.to_numpy(ak.flatten(documents))
    keep = lengths > 0
    ends = np.cumsum(lengths[keep]) + np.arange(1, keep.sum() + 1)
    ids = np.empty(len(flat) + len(ends), np.uint16)
    places = np.ones(len(ids), bool)
    places[ends - 1] = False
    ids[places] = flat
    ids[ends - 1] = _end(tokenizer)
    path = Path(f"{out}.gigatoken.bin")
    ids.tofile(path)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "result": _hash([path])}


def nanogpt(lines: str, tokenizer: str, out: str, workers: int, **_: Any) -> dict[str, Any]:
    """What nanoGPT's data/openwebtext/prepare.py does with a local dataset, its shuffled split left out."""
    import tempfile

    import numpy as np
    import tiktoken
    from datasets import load_dataset
    from tiktoken.load import load_tiktoken_bpe

    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
    started = time.perf_counter()
    ranks = load_tiktoken_bpe(str(Path(tokenizer) / "ranks.tiktoken"))
    encoding = tiktoken.Encoding("bench", pat_str=pattern, mergeable_ranks=ranks, special_tokens={END: _end(tokenizer)})

    def process(example: dict[str, str]) -> dict[str, Any]:
        ids = encoding.encode_ordinary(example["text"])
        ids.append(encoding.eot_token)
        return {"ids": ids, "len": len(ids)}

    with tempfile.TemporaryDirectory() as cache:
        data = load_dataset("json", data_files=lines, split="train", cache_dir=cache)
        tokenized = data.map(process, remove_columns=["text"], num_proc=workers)
        path = Path(f"{out}.nanogpt.bin")
        array = np.memmap(path, dtype=np.uint16, mode="w+", shape=(int(np.sum(tokenized["len"], dtype=np.uint64)),))
        place, batches = 0, min(1024, len(tokenized))
        for number in range(batches):
            batch = tokenized.shard(num_shards=batches, index=number, contiguous=True).with_format("numpy")
            ids = np.concatenate(batch["ids"])
            array[place : place + len(ids)] = ids
            place += len(ids)
        array.flush()
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "result": _hash([path])}


def _end(tokenizer: str) -> int:
    tokens = json.loads((Path(tokenizer) / "tokenizer.json").read_text())["added_tokens"]
    return int(next(token["id"] for token in tokens if token["content"] == END))


def _hash(paths: list[Path]) -> str:
    """In blocks: read whole, a shard of 200 MB was the peak of the process that had written it in 138."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        path.unlink()
    return digest.hexdigest()


@pytest.fixture
def vocabulary(text: Texts, tmp_path: Path) -> Path:
    """GPT-2's, or one of 32,000 trained on the prose where --vocabs does not hold it."""
    from pylm.tokenizer import Tokenizer

    folder = tmp_path / "tok"
    given = text.vocabulary("vocab.bpe")
    made = Tokenizer.load(given.parent) if given else Tokenizer.train(text.prose, 32000, pattern="gpt2")
    made.save(folder)
    (folder / "ranks.tiktoken").write_bytes(made.to_ranks())
    return folder


@pytest.mark.parametrize("threads", [1, 2])
def test_file_to_shards(compare: Compare, text: Texts, vocabulary: Path, tmp_path: Path, threads: int) -> None:
    run = compare(
        f"prose → uint16 shards, {threads} threads",
        Side("pylm", pylm),
        [Side("gigatoken", gigatoken, label="gigatoken + numpy.tofile")],
        threads=threads,
        workers=threads,
        corpus=str(text.prose),
        tokenizer=str(vocabulary),
        out=str(tmp_path / "out"),
    )
    run.faster(5.0 if threads == 2 else None, than="gigatoken + numpy.tofile")
    run.leaner(None, than="gigatoken + numpy.tofile")


def test_file_to_shards_as_nanogpt_does(compare: Compare, text: Texts, vocabulary: Path, tmp_path: Path) -> None:
    lines = tmp_path / "prose.jsonl"
    with lines.open("w", encoding="utf-8") as file:
        for document in text.prose.read_text(encoding="utf-8").split(END):
            if document:
                file.write(json.dumps({"text": document}) + "\n")
    run = compare(
        "prose → uint16 shards, 2 threads",
        Side("pylm", pylm),
        [Side("datasets", nanogpt, label="nanoGPT's prepare.py (datasets.map, tiktoken)")],
        rounds=3,
        threads=2,
        workers=2,
        corpus=str(text.prose),
        lines=str(lines),
        tokenizer=str(vocabulary),
        out=str(tmp_path / "out"),
    )
    run.faster(60.0, than="nanoGPT's prepare.py (datasets.map, tiktoken)")


def test_memory_for_a_gigabyte(compare: Compare, text: Texts, vocabulary: Path, tmp_path: Path) -> None:
    """The corpus repeated; what lies in the file's mapped pages counts too."""
    big = tmp_path / "big.txt"
    whole = text.prose.read_bytes() + END.encode()
    with big.open("wb") as file:
        while file.tell() < GIGABYTE:
            file.write(whole)
    run = compare(
        "1 GB → uint16 shards, 2 threads",
        Side("pylm", pylm),
        rounds=1,
        threads=2,
        workers=2,
        corpus=str(big),
        tokenizer=str(vocabulary),
        out=str(tmp_path / "out"),
    )
    run.at_most(250.0)
