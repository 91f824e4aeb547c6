"""What finds near-duplicates, each from the same texts: ours and its peers'. Runs in the environment of each.

A side returns seconds, and either the cluster of each document or whether it has a partner.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

PERMUTATIONS, BANDS, THREADS = 128, 16, 2


def read(path: str) -> list[str]:
    texts: list[str] = json.loads(Path(path).read_text(encoding="utf-8"))
    return texts


def near(path: str, how: str = "0.8") -> dict[str, Any]:
    from pylm import _rust

    texts = read(path)
    begun = time.perf_counter()
    found = _rust.near_duplicates(texts, near=how, threads=THREADS)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "result": {"clusters": found["near"].tolist()}, "compared": found["compared"]}


def near_fineweb(path: str) -> dict[str, Any]:
    return near(path, "fineweb")


def ours_prepared(path: str) -> dict[str, Any]:
    from pylm import _rust

    hashes, starts = prepared(read(path))
    begun = time.perf_counter()
    found = _rust.near_duplicate_sets(hashes, starts, threads=THREADS)
    return {"seconds": time.perf_counter() - begun, "result": {"clusters": found["near"].tolist()}}


def datatrove(path: str) -> dict[str, Any]:
    """Its four stages, of which the first runs in two processes and the second in two at a time."""
    import struct

    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    texts, config = read(path), MinhashConfig()
    with tempfile.TemporaryDirectory() as folder:
        half = (len(texts) + 1) // 2
        for part in range(2):
            lines = [
                json.dumps({"text": text, "id": str(part * half + at)})
                for at, text in enumerate(texts[part * half : (part + 1) * half])
            ]
            Path(folder, "in").mkdir(exist_ok=True)
            Path(folder, "in", f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

        def stage(pipeline: list[Any], tasks: int) -> None:
            LocalPipelineExecutor(
                pipeline, tasks=tasks, workers=min(tasks, THREADS), logging_dir=f"{folder}/logs{time.time()}"
            ).run()

        begun = time.perf_counter()
        reader = JsonlReader(f"{folder}/in")
        stage([reader, MinhashDedupSignature(f"{folder}/signatures", config)], 2)
        stage([MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/pairs", config=config)], config.num_buckets)
        stage([MinhashDedupCluster(f"{folder}/pairs", f"{folder}/clusters", config, save_cluster_id=True)], 1)
        stage([reader, MinhashDedupFilter(f"{folder}/clusters"), JsonlWriter(f"{folder}/out", compression=None)], 2)
        seconds = time.perf_counter() - begun
        clusters = list(range(len(texts)))
        first: dict[int, int] = {}
        for part in range(2):
            found = Path(folder, "clusters", f"{part:06d}.clusters")
            for document, cluster in struct.iter_unpack("<2I", found.read_bytes() if found.exists() else b""):
                at = part * half + document
                clusters[at] = first.setdefault(cluster, at)
    return {"seconds": seconds, "result": {"clusters": clusters}}


def shingles(text: str) -> list[str]:
    words = text.lower().split()
    return [" ".join(words[at : at + 5]) for at in range(max(1, len(words) - 4))]


def rensa_exact(path: str) -> dict[str, Any]:
    """R-MinHash of all tokens (digest_matrix_from_token_sets), not the sample of them that its rho path looks at."""
    from rensa import RMinHash, RMinHashLSH

    texts = read(path)
    begun = time.perf_counter()
    matrix = RMinHash.digest_matrix_from_token_sets([shingles(text) for text in texts], PERMUTATIONS, 42)
    index = RMinHashLSH(threshold=0.8, num_perm=PERMUTATIONS, num_bands=BANDS)
    flags = index.insert_matrix_and_query_duplicate_flags(matrix)
    return {"seconds": time.perf_counter() - begun, "result": {"flags": [bool(flag) for flag in flags]}}


def fastsketch(path: str) -> dict[str, Any]:
    from FastSketchLSH import LSH, FastSimilaritySketch

    texts = read(path)
    begun = time.perf_counter()
    sketches = FastSimilaritySketch(size=PERMUTATIONS).batch([shingles(text) for text in texts], num_threads=THREADS)
    index = LSH(num_perm=PERMUTATIONS, num_bands=BANDS, num_threads=THREADS)
    flags = index.insert_and_query_duplicates(sketches)
    return {"seconds": time.perf_counter() - begun, "result": {"flags": [bool(flag) for flag in flags.tolist()]}}


def prepared(texts: list[str]) -> tuple[Any, Any]:
    """Each text's shingles as 64 bits of a hash, one after another, and where each text's begin."""
    import hashlib
    import itertools

    import numpy as np

    sets = [sorted(set(shingles(text))) for text in texts]
    digests = b"".join(hashlib.blake2b(s.encode(), digest_size=8).digest() for some in sets for s in some)
    starts = np.array([0, *itertools.accumulate(map(len, sets))], np.uint64)
    return np.frombuffer(digests, np.uint64).copy(), starts


def fastsketch_prepared(path: str) -> dict[str, Any]:
    from FastSketchLSH import LSH, FastSimilaritySketch

    hashes, starts = prepared(read(path))
    begun = time.perf_counter()
    sketcher = FastSimilaritySketch(size=PERMUTATIONS)
    sketches = sketcher.batch_csr(hashes, starts, prehashed=True, num_threads=THREADS)
    index = LSH(num_perm=PERMUTATIONS, num_bands=BANDS, num_threads=THREADS)
    flags = index.insert_and_query_duplicates(sketches)
    return {"seconds": time.perf_counter() - begun, "result": {"flags": [bool(flag) for flag in flags.tolist()]}}
