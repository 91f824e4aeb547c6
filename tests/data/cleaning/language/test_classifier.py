"""`FILE:LABEL>=X`: what is asked of a classifier, and what is said where it cannot be."""

from pathlib import Path

import pytest

from pylm import _rust
from pylm.errors import DataError, UsageError
from tests.data.cleaning.language.model_file import Model

TEXTS = ["the of a", "été of", "слово слово", ""]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a:b>c")
    return Model(["</s>", "the", "of"], ["__label__hq", "__label__cc", "__label__lq"]).write(folder / "quality.bin")


@pytest.mark.parametrize("sign", [">=", "<=", "<", ">"])
@pytest.mark.parametrize("label", ["hq", "__label__hq", "cc"])
def test_a_text_is_kept_where_its_label_is_as_probable_as_asked(path: Path, sign: str, label: str) -> None:
    number = label.removeprefix("__label__")
    probabilities = [dict(found)[f"__label__{number}"] for found in _rust.FastText(path).predict(TEXTS, 9)]
    at = probabilities[1]
    holds = {">=": lambda p: p >= at, "<=": lambda p: p <= at, "<": lambda p: p < at, ">": lambda p: p > at}[sign]
    assert _rust.classify(f"{path}:{label}{sign}{at!r}", TEXTS) == [(p, holds(p)) for p in probabilities]


@pytest.mark.parametrize(
    "told, said, hint",
    [
        ("quality.bin", "has no >=, <=, < or >", "FILE:LABEL>=X"),
        ("quality.bin:hq", "has no >=", "FILE:LABEL>=X"),
        ("quality.bin>=0.5", "names no label", "FILE:LABEL>=X"),
        (":hq>=0.5", "names no file", "FILE:LABEL>=X"),
        ("quality.bin:>=0.5", "names no label", "FILE:LABEL>=X"),
        ("quality.bin:hq>=much", "much is no number from 0 to 1", "FILE:LABEL>=X"),
        ("quality.bin:hq>=nan", "nan is no number from 0 to 1", "FILE:LABEL>=X"),
        ("quality.bin:hq>=1.5", "1.5 is no number from 0 to 1", "FILE:LABEL>=X"),
        ("quality.bin:hq>=", "'' is no number from 0 to 1", "FILE:LABEL>=X"),
        ("", "has no >=", "FILE:LABEL>=X"),
    ],
)
def test_what_is_no_classifier_is_said_in_one_sentence(told: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        _rust.classify(told, TEXTS)
    assert said in refused.value.message and "\n" not in refused.value.message
    assert hint in (refused.value.hint or "")


def test_a_label_that_the_model_lacks_is_answered_with_those_it_has(path: Path) -> None:
    with pytest.raises(UsageError, match="has no label hqq") as refused:
        _rust.classify(f"{path}:hqq>=0.5", TEXTS)
    assert refused.value.hint == "did you mean hq?"
    with pytest.raises(UsageError) as refused:
        _rust.classify(f"{path}:nothing>=0.5", TEXTS)
    assert refused.value.hint == "its labels are hq, cc, lq"


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("no model")
    with pytest.raises(DataError, match="is no fastText model"):
        _rust.classify(f"{tmp_path / 'some.txt'}:hq>=0.5", TEXTS)
