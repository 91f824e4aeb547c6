"""What looks for test items in pages, each with the same items. Runs in the environment of each."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

N = 13


def ours(path: str) -> dict[str, Any]:
    from pylm import _rust

    given = json.loads(Path(path).read_text(encoding="utf-8"))
    items = [("task", str(number), query, answer) for number, (query, answer) in enumerate(given["items"])]
    index = _rust.Contamination(items, n=N)
    begun = time.perf_counter()
    hits = index.check(given["pages"])
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "result": [number for number, hit in enumerate(hits) if hit is not None]}


def datatrove(path: str) -> dict[str, Any]:
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer

    given = json.loads(Path(path).read_text(encoding="utf-8"))
    config = NGramsDecontConfig(n_grams=N)
    folder = Path(path).parent / "hashes"
    folder.mkdir(exist_ok=True)
    looks = NGramsDecontFilter(str(folder), config)
    indexer = object.__new__(NGramsDecontIndexer)  # made in the usual way it asks for lighteval, which is not used
    indexer.config, indexer.tokenizer, indexer.hash_func = config, looks.tokenizer, looks.hash_func
    every = (indexer.compute_hashes(answer, query) for query, answer in given["items"])
    looks._index_hashes = {one: "task" for hashes in every for one in hashes}
    documents = [Document(text=page, id=str(number)) for number, page in enumerate(given["pages"])]
    begun = time.perf_counter()
    found = [number for number, document in enumerate(documents) if looks.filter(document) is not True]
    return {"seconds": time.perf_counter() - begun, "result": found}
