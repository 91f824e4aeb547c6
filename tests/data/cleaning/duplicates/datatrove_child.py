"""What datatrove 0.10.1 makes of documents, on stdin as JSON with their words and sentences; it prints JSON.

Run by the Python of .venv/peers-data. datatrove's tokenizer is replaced by the words and sentences that it is given.
"""

import contextlib
import json
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any


class Words:
    def __init__(self, given: dict[str, Any]) -> None:
        self.words: dict[str, list[str]] = given["words"]
        self.sentences: dict[str, list[list[int]]] = given["sentences"]

    def word_tokenize(self, text: str) -> list[str]:
        return self.words[text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(start, end) for start, end in self.sentences[text]]

    def sent_tokenize(self, text: str) -> list[str]:
        return [text[start:end] for start, end in self.sentences[text]]


def minhash(texts: list[str], words: Words, hash_fc: str) -> dict[str, Any]:
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupSignature,
    )
    from datatrove.utils.hashing import HashConfig

    config = MinhashConfig(hash_config=HashConfig(hash_fc=hash_fc))
    with tempfile.TemporaryDirectory() as folder:
        step = MinhashDedupSignature(f"{folder}/signatures", config)
        step.word_tokenizer = words
        signatures = []
        for text in texts:
            shingles = step.get_shingles(text)
            signatures.append(sum(step.get_signature(shingles), []) if shingles.size else None)
        step.run([Document(text=text, id=str(at)) for at, text in enumerate(texts)])
        for bucket in range(14):
            MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/pairs", config=config).run(
                None, bucket, config.num_buckets
            )
        MinhashDedupCluster(f"{folder}/pairs", f"{folder}/clusters", config, save_cluster_id=True).run(None, 0, 1)
        found = Path(folder, "clusters", "000000.clusters")
        clusters = list(struct.iter_unpack("<2I", found.read_bytes())) if found.exists() else []
    return {"signatures": signatures, "clusters": clusters}


def spans(texts: list[str], words: Words) -> list[str]:
    from datatrove.data import Document
    from datatrove.pipeline.dedup import sentence_dedup as module

    config = module.SentDedupConfig(min_doc_words=0, min_num_sentences=0)
    documents = [Document(text=text, id=str(at)) for at, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        step = module.SentenceDedupSignature(f"{folder}/signatures", config=config)
        step.tokenizer = words
        step.run(documents)
        module.SentenceFindDedups(f"{folder}/signatures", f"{folder}/found", config=config).run()
        last = module.SentenceDedupFilter(f"{folder}/found", config=config)
        last.tokenizer = words
        kept = {document.id: document.text for document in last.run(documents)}
    return [kept.get(str(at), "") for at in range(len(texts))]


if __name__ == "__main__":
    given = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        from datatrove.utils.text import simplify_text

        answer = {
            "simplified": [simplify_text(text) for text in given["texts"]],
            "xxh64": minhash(given["texts"], Words(given), "xxhash"),
            "sha1": minhash(given["texts"], Words(given), "sha1"),
            "spans": spans(given["texts"], Words(given)),
        }
    print(json.dumps(answer))
