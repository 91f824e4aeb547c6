"""A report as cleaning would write it, of documents that nobody has."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

PROSE = (
    "The harbour lay quiet that morning, and the boats had not yet come in from the banks.\nNobody spoke of the storm."
)
LANGUAGES = (
    ("eng_Latn", "English", 61_240, "words", "default"),
    ("deu_Latn", "German", 11_003, "words", "fineweb2"),
    ("jpn_Jpan", "Japanese", 8_120, "characters", "built-in"),
    ("arb_Arab", "Standard Arabic", 4_077, "words", "built-in"),
    ("und_Zzzz", "", 560, "words", "default"),
)
SOURCES = (("crawl/2024-10.warc.wet.gz", 60_000), ("wikipedia:en", 15_000), ("books/", 10_000))
RULES = (
    ("gopher_repetition", "dup_line_frac", "repetition.dup_line_frac", ">", 0.3, 3211),
    ("gopher_repetition", "top_2_gram", "repetition.top_2_gram", ">", 0.2, 940),
    ("gopher", "gopher_short_doc", "gopher.word_count", "<", 50, 9120),
    ("gopher", "gopher_enough_stop_words", "gopher.stop_words", "<", 2, 122),
    ("gopher", "gopher_too_many_bullets", "gopher.bullets", ">", 0.9, 0),
    ("fineweb", "line_punct_ratio", "fineweb.line_punct_ratio", "<", 0.12, 4410),
    ("fineweb", "char_dup_ratio", "fineweb.char_dup_ratio", ">", 0.01, 2050),
    ("language", "language", "", "", None, 560),
    ("exact", "exact_duplicate", "", "", None, 3018),
    ("near", "near_duplicate", "", "", None, 5127),
    ("contamination", "contaminated", "", "", None, 4),
)
TEXTS = {
    "jpn_Jpan": "吾輩は猫である。名前はまだ無い。\nどこで生れたかとんと見当がつかぬ。",
    "arb_Arab": "كان الميناء هادئا في ذلك الصباح، ولم تكن القوارب قد عادت بعد.",
    "eng_Latn": PROSE,
}


def made_up(text: str | None = None, name: str | None = None) -> dict[str, Any]:
    """Return a report; `text` stands for every text of a document in it, `name` for every other thing from outside."""
    documents, size = 85_000, 412_000_000
    reasons, stages = [], []
    left, left_bytes = documents, size
    for family in dict.fromkeys(rule[0] for rule in RULES):
        gone = sum(rule[5] for rule in RULES if rule[0] == family)
        stages.append(
            {
                "stage": family,
                "documents": left,
                "bytes": left_bytes,
                "removed": {"documents": gone, "bytes": gone * 3100},
            }
        )
        left, left_bytes = left - gone, left_bytes - gone * 3100
    for family, reason, key, comparison, threshold, gone in RULES:
        reasons.append(
            {
                "reason": reason, "key": key, "family": family, "comparison": comparison, "threshold": threshold,
                "documents": gone, "bytes": gone * 3100, "share": gone / documents,
                "sources": {name or one: gone * number // documents for one, number in SOURCES},
                "languages": {name or one[0]: gone * one[2] // documents for one in LANGUAGES},
                "examples": [
                    {"id": name or f"doc-{number}", "source": name or SOURCES[number % 3][0],
                     "language": name or language, "text": text or TEXTS[language],
                     "value": None if threshold is None else threshold * 1.31}
                    for number, language in enumerate(TEXTS if gone else ())
                ],
            }
        )  # fmt: skip
    return {
        "format": "pylm-clean-report-1", "version": "0.4.0", "made": "2026-11-30", "rules": name or "fineweb2",
        "settings": {"families": ["gopher_repetition", "gopher", "fineweb"], "near": 0.8, "of": name or "x"},
        "documents": documents, "bytes": size, "kept": {"documents": left, "bytes": left_bytes}, "stages": stages,
        "sources": [
            {"name": name or one, "documents": number, "bytes": number * 4800, "reasons": {},
             "kept": {"documents": number * left // documents, "bytes": number * 3300}}
            for one, number in SOURCES
        ],
        "languages": [
            {"language": name or code, "name": name or called, "documents": number, "bytes": number * 4800,
             "kept": {"documents": number * left // documents, "bytes": number * 3300}, "words": words,
             "thresholds": by, "reasons": {}}
            for code, called, number, words, by in LANGUAGES
        ],
        "reasons": reasons,
        "measures": [_measure(*rule[1:]) for rule in RULES if rule[4] is not None],
        "lines": {"c4_too_few_words": 12_004, "c4_javascript": 88},
        "repairs": {"mojibake": 410, "control_characters": 93},
        "private": {"mail": 1207, "ip": 31},
        "clusters": {
            "exact": {"clusters": 1201, "documents": 4219, "removed": 3018},
            "near": {"clusters": 2210, "documents": 7337, "removed": 5127, "pairs_compared": 19_403,
                     "sizes": [[2, 1502], [3, 421], [4, 139], [5, 61], [9, 22], [17, 4], [203, 1]],
                     "largest": [{"id": 71, "size": 203,
                                  "kept": {"id": name or "doc-9", "source": name or "wikipedia:en"},
                                  "texts": [text or PROSE, text or PROSE.replace("boats", "ships")]}]},
        },
        "contamination": {"n": 13, "tasks": [
            {"task": name or "hellaswag", "items": 10_042, "items_with_a_gram": 9874, "items_found": 3, "documents": 3},
            {"task": name or "boolq", "items": 3270, "items_with_a_gram": 812, "items_found": 1, "documents": 1}]},
    }  # fmt: skip


def _measure(reason: str, key: str, comparison: str, threshold: float, gone: int) -> dict[str, Any]:
    """Return a hump of forty bars about the middle, whose removed part lies beyond the threshold."""
    edges = [threshold * 4 * place / 40 for place in range(41)]
    counts = [round(6000 * math.exp(-(((place - 17) / 8) ** 2))) for place in range(40)]
    beyond = [at < threshold if comparison == "<" else at >= threshold for at in edges[:40]]
    removed = [count if is_beyond and gone else 0 for count, is_beyond in zip(counts, beyond, strict=True)]
    if not gone:
        edges = [threshold * place / 40 for place in range(41)]
    return {"measure": key.rpartition(".")[2], "key": key, "reason": reason, "comparison": comparison,
            "threshold": threshold, "edges": edges, "counts": counts, "removed": removed}  # fmt: skip


def written(folder: Path, report: dict[str, Any]) -> Path:
    """Write a report where cleaning would, and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    return folder
