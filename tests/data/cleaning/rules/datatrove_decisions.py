"""Runs in .venv/peers-data: what datatrove's filters decide, when it is given the words and sentences of pylm.

Reads JSON from the file named first: {"chains": [...], "texts": [...], "words": {TEXT: [...]}, "sentences": {LINE: N}},
with every string that a filter may ask about; writes by chain [reason or null, text] of each text to the second file.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4ParagraphFilter,
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    c4_filters,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)

CHAINS: dict[str, Callable[[], list[Any]]] = {
    "fineweb": lambda: [
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    ],
    "fineweb2": lambda: [
        GopherRepetitionFilter(dup_para_frac=0, dup_line_char_frac=0, dup_para_char_frac=0),
        FineWebQualityFilter(short_line_thr=999, char_duplicates_ratio=0.1),
        GopherQualityFilter(),
    ],
    "gopher": lambda: [GopherRepetitionFilter(), GopherQualityFilter()],
    "c4": lambda: [C4QualityFilter()],
    "c4_paragraph": lambda: [C4ParagraphFilter()],
    "repetition": lambda: [GopherRepetitionFilter()],
    "quality": lambda: [GopherQualityFilter()],
    "c4 lines": lambda: [C4QualityFilter(filter_no_terminal_punct=False, min_num_sentences=-1)],
    "fineweb rules": lambda: [FineWebQualityFilter()],
}


def decide(filters: list[Any], text: str) -> tuple[str | None, str]:
    """The reason for which the filters remove `text`, or None, and what it became until then."""
    document = Document(text=text, id="0")
    for rule in filters:
        try:
            result = rule.filter(document)
        except ZeroDivisionError:
            result = False, "ZeroDivisionError"
        if result is not True:
            return result[1], document.text
    return None, document.text


def give(words: Callable[[str], list[str]], sentences: Callable[[str], int]) -> None:
    """Gives the filters these words and counts of sentences instead of datatrove's own."""
    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        module.split_into_words = lambda text, language: words(text)
    c4_filters.split_into_sentences = lambda text, language: range(sentences(text))


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        asked = json.load(file)
    give(asked["words"].__getitem__, asked["sentences"].__getitem__)
    decided = {name: [decide(CHAINS[name](), text) for text in asked["texts"]] for name in asked["chains"]}
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(decided, file)
