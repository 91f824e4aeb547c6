"""What a model says of a text is what fastText says, for every kind of classifier that it writes."""

import random
import struct
from pathlib import Path

import pytest

from pylm import _rust
from pylm.errors import DataError, UsageError
from tests.data.cleaning.language.model_file import Model

fasttext = pytest.importorskip("fasttext", reason="fasttext-predict is the oracle")

WORDS = ["</s>", "the", "of", "Straße", "été", "日本語", "слово", "a", "supercalifragilistic", "x" * 40, "مرحبا"]
LABELS = [f"__label__{name}" for name in ("en", "de", "fr", "zh_Hani", "ru", "ä", "last")]
KINDS = {
    "dense": {},
    "words alone": {"maxn": 0, "minn": 0},
    "phrases": {"phrase": 3, "minn": 0, "maxn": 0},
    "letters and phrases": {"phrase": 2, "minn": 1, "maxn": 3},
    "one letter": {"minn": 1, "maxn": 1},
    "version 11": {"version": 11},
    "hierarchical": {"loss": "hs"},
    "one-vs-all": {"loss": "ova"},
    "negative sampling": {"loss": "ns"},
    "quantised": {"quantised": True},
    "quantised with lengths": {"quantised": True, "lengths": True},
    "quantised output": {"quantised": True, "lengths": True, "output_quantised": True, "loss": "hs"},
    "last piece shorter": {"quantised": True, "dim": 11, "dsub": 4},
    "pruned": {"quantised": True, "kept": 90, "lengths": True, "loss": "hs"},
    "pruned of all grams": {"quantised": True, "kept": 0},
    "pruned phrases": {"quantised": True, "kept": 200, "phrase": 4},
    "without an end of line": {"words": WORDS[1:]},
    "two labels": {"labels": LABELS[:2], "loss": "hs"},
    "one label": {"labels": LABELS[:1]},
}


def texts() -> list[str]:
    rng = random.Random(7)
    made = [
        "",
        " ",
        "\t\x0b\x0c\r ",
        "the </s> of",
        "__label__en the",
        "__label__unknown of the",
        "\x00the\x00of",
        "e\u0301 ⟨☃⟩",
        " ".join("y" * length for length in (*range(18, 28), *range(250, 260), 511, 512, 65_535, 65_536)),
        "z" * 255,
    ]
    alphabet = "abc déß日本слов ا ب🙂"
    for _ in range(150):
        words = [
            rng.choice([rng.choice(WORDS[1:]), "".join(rng.choices(alphabet, k=rng.randint(1, 12)))])
            for _ in range(rng.randint(1, 60))
        ]
        made.append(" ".join(words))
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_probabilities_are_fasttexts(kind: str, tmp_path: Path) -> None:
    settings = {"words": WORDS, "labels": LABELS, **KINDS[kind]}
    path = Model(**settings, seed=len(kind)).write(tmp_path / "model.bin")
    ours, oracle = _rust.FastText(path), fasttext.load_model(str(path))
    assert ours.labels == settings["labels"]
    for k in (1, 3, 20):
        for text, found in zip(texts(), ours.predict(texts(), k), strict=True):
            labels, probabilities = oracle.predict(text, k=k)
            assert [round(p, 5) for _, p in found] == pytest.approx(list(probabilities), abs=1.1e-5), text
            if len(set(probabilities)) == len(probabilities):  # labels of one probability come in any order
                assert [label for label, _ in found] == list(labels), text
            elif k == 1:
                assert found[0][0] == labels[0], text


def test_a_line_end_is_a_space(tmp_path: Path) -> None:
    model = _rust.FastText(Model(WORDS, LABELS).write(tmp_path / "model.bin"))
    lines, line = model.predict(["the of\nété\r\na", "the of été  a"], 7)
    assert lines == line


def test_a_scratch_that_another_model_used_changes_nothing(tmp_path: Path) -> None:
    one = _rust.FastText(Model(WORDS, LABELS, seed=1).write(tmp_path / "1.bin"))
    other = _rust.FastText(Model(WORDS, LABELS, seed=2).write(tmp_path / "2.bin"))
    alone = [model.predict(["the of été"])[0] for model in (one, other)]
    assert alone == [model.predict(["a", "the of été"])[1] for model in (one, other)]
    assert alone[0] != alone[1]


def refusal(path: Path) -> DataError:
    with pytest.raises(DataError) as refused:
        _rust.FastText(path)
    assert "\n" not in refused.value.message and str(path) in refused.value.message
    assert refused.value.hint
    return refused.value


@pytest.mark.parametrize(
    "change, said",
    [
        ({"kind": 1}, "holds word vectors (CBOW), and no classifier"),
        ({"kind": 2}, "holds word vectors (skip-gram), and no classifier"),
        ({"kind": 9}, "its kind is none that fastText has"),
        ({"version": 13}, "is a fastText model of version 13, and 11 and 12 are read"),
        ({"version": 10}, "of version 10"),
        ({"bucket": 0}, "its settings are none that fastText has"),
        ({"maxn": 2**31 - 1}, "its settings are none that fastText has"),
        ({"labels": []}, "not hold as many words and labels"),
        ({"counts": [2**62] * 7, "loss": "hs"}, "no tree can be built"),
    ],
)
def test_what_is_no_classifier_is_refused_in_one_sentence(change: dict, said: str, tmp_path: Path) -> None:
    settings = {"words": WORDS, "labels": LABELS, **change}
    model = Model(**settings)
    if model.bucket == 0 or model.maxn > 255:
        data = bytearray(Model(WORDS, LABELS).bytes())
        struct.pack_into("<2i", data, 8 + 8 * 4, model.bucket, model.minn)
        struct.pack_into("<i", data, 8 + 10 * 4, model.maxn)
        (tmp_path / "model.bin").write_bytes(data)
    else:
        model.write(tmp_path / "model.bin")
    assert said in refusal(tmp_path / "model.bin").message


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"text that is none\n" * 100])
def test_another_file_is_no_model(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(data)
    assert "is no fastText model" in refusal(tmp_path / "model.bin").message
    refusal(tmp_path)
    with pytest.raises(DataError, match="cannot read .*missing.bin: No such file or directory"):
        _rust.FastText(tmp_path / "missing.bin")


@pytest.mark.parametrize(
    "settings", [{}, {"quantised": True, "kept": 90, "lengths": True, "loss": "hs", "output_quantised": True}]
)
def test_a_file_cut_anywhere_is_refused(settings: dict, tmp_path: Path) -> None:
    data = Model(WORDS, LABELS, dim=4, bucket=100, **settings).bytes()
    path = tmp_path / "cut.bin"
    step = max(1, len(data) // 400)
    for length in [*range(8, 300), *range(300, len(data), step), len(data) - 1]:
        path.write_bytes(data[:length])
        refusal(path)


@pytest.mark.parametrize("seed", range(8))
def test_a_changed_file_is_refused_or_read(seed: int, tmp_path: Path) -> None:
    """Whatever numbers stand in a file, no more memory is asked for than it has bytes, and nothing is read past it."""
    rng = random.Random(seed)
    settings = rng.choice(
        [{}, {"loss": "hs", "phrase": 2}, {"quantised": True, "kept": 30, "lengths": True, "loss": "hs"}]
    )
    data = Model(WORDS, LABELS, dim=4, bucket=40, **settings).bytes()
    path = tmp_path / "changed.bin"
    for _ in range(250):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 3)):
            # most of what matters stands at the beginning
            at = rng.randrange(rng.choice([120, 400, len(data)]) - 8)
            value = rng.choice([0, 1, -1, 2**31 - 1, -(2**31), rng.getrandbits(31), rng.randrange(300)])
            changed[at : at + 4] = struct.pack("<i", value) if rng.random() < 0.7 else rng.randbytes(4)
        path.write_bytes(changed)
        try:
            model = _rust.FastText(path)
        except DataError as error:
            assert error.hint and "\n" not in error.message
        else:
            model.predict(texts()[:20], 3)


def test_numbers_that_are_none_give_no_label(tmp_path: Path) -> None:
    data = bytearray(Model(WORDS, LABELS, dim=4, bucket=40).bytes())
    data[-4 * 4 * len(LABELS) :] = struct.pack("<f", float("nan")) * (4 * len(LABELS))
    (tmp_path / "nan.bin").write_bytes(data)
    assert _rust.FastText(tmp_path / "nan.bin").predict(["the of"]) == [[]]


def test_k_is_one_or_more(tmp_path: Path) -> None:
    model = _rust.FastText(Model(WORDS, LABELS).write(tmp_path / "model.bin"))
    with pytest.raises(UsageError, match="1 or more"):
        model.predict(["the"], 0)
