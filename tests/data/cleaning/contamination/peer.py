"""datatrove's answers, given by its own environment: `python peer.py QUESTION < JSON > JSON`."""

from __future__ import annotations

import json
import sys
from typing import Any


def contaminated(asked: dict[str, Any]) -> list[Any]:
    """The gram that the filter finds in each page, its words being what stands between blanks."""
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer

    class Blanks:
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

    looks = NGramsDecontFilter(asked["folder"], NGramsDecontConfig(n_grams=asked["n"]))
    indexer = object.__new__(NGramsDecontIndexer)  # made in the usual way it asks for lighteval, which is not used
    indexer.config, indexer.hash_func = looks.config, looks.hash_func
    indexer.tokenizer = looks.tokenizer = Blanks()
    found = []
    for (query, answer), page in zip(asked["items"], asked["pages"], strict=True):
        looks._index_hashes = dict.fromkeys(indexer.compute_hashes(answer, query), "task")
        document = Document(text=page, id="0")
        looks.filter(document)
        found.append(document.metadata.get("contaminated_ngram"))
    return found


def masked(asked: dict[str, Any]) -> list[Any]:
    """Each text with what its formatter replaces in angle brackets."""
    from datatrove.pipeline.formatters.pii import PIIFormatter

    formatter = PIIFormatter(email_replacement="<mail>", ip_replacement="<ip>")
    return [formatter.format(text) for text in asked["texts"]]


def refused(asked: dict[str, Any]) -> list[Any]:
    """The reason for which its filter leaves out each address."""
    from datatrove.data import Document
    from datatrove.pipeline.filters.url_filter import URLFilter
    from tldextract import TLDExtract

    looks = URLFilter(
        extra_domains=asked["domains"],
        extra_urls=asked["urls"],
        banned_words=asked["banned_words"],
        banned_subwords=asked["banned_subwords"],
        soft_banned_words=asked["soft_banned_words"],
        use_integrated_lists=False,
    )
    for word in looks.banned_subwords:
        looks.banned_subwords_automaton.add_word(word, 1)
    looks.banned_subwords_automaton.make_automaton()
    looks.tldextractor = TLDExtract(suffix_list_urls=())  # the list that it brings along, no other
    answers = (looks.filter(Document(text="", id="0", metadata={"url": url})) for url in asked["pages"])
    return [None if answer is True else answer[1] for answer in answers]


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](json.load(sys.stdin))))
