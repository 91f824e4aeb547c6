"""`FILE:LABEL>=X`: what is asked of a classifier, and what is said where it cannot be."""

import hashlib
from pathlib import Path

import pytest

import pylm
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


def test_a_label_may_hold_what_cuts(tmp_path: Path) -> None:
    labels = ["__label__cc:x", "__label__a>b", "__label__hq"]
    model = Model(["</s>", "the", "of"], labels).write(tmp_path / "model.bin")
    found = dict(_rust.FastText(model).predict(["the of"], 3)[0])
    for label in labels:
        bare = label.removeprefix("__label__")
        assert _rust.classify(f"{model}:{bare}>=0.0", ["the of"]) == [(found[label], True)]
        assert _rust.classifier_file(f"{model}:{bare}>=0.0") == str(model)


def test_of_two_files_that_stand_there_the_longer_name_counts(tmp_path: Path) -> None:
    for name, labels in (("a", ["b:x", "x"]), ("a:b", ["x"])):
        Model(["</s>", "the"], [f"__label__{label}" for label in labels]).write(tmp_path / name)
    assert _rust.classifier_file(f"{tmp_path}/a:b:x>=0.5") == f"{tmp_path}/a:b"
    assert _rust.classifier_file(f"{tmp_path}/a:x>=0.5") == f"{tmp_path}/a"


def test_a_file_that_is_missing_is_named_up_to_the_last_colon(tmp_path: Path) -> None:
    assert _rust.classifier_file("no:where/q.bin:hq>=0.5") == "no:where/q.bin"
    with pytest.raises(DataError, match=r"cannot read .*q\.bin: No such file or directory"):
        _rust.classify(f"{tmp_path}/q.bin:hq>=0.5", TEXTS)


def test_what_is_digested_is_the_file_that_is_read(path: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "the of a"}\n', encoding="utf-8")
    given = {"rules": "none", "near": "off", "classifier": f"{path}:cc>=0.0"}
    pylm.data.clean(rows, out=tmp_path / "out", **given)
    manifest = (tmp_path / "out" / "manifest.json").read_text(encoding="utf-8")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in manifest


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("no model")
    with pytest.raises(DataError, match="is no fastText model"):
        _rust.classify(f"{tmp_path / 'some.txt'}:hq>=0.5", TEXTS)
