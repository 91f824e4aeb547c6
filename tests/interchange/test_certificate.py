"""Certificates: what engines make of it is compared and judged; one that is not here is a line and no pass."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pylm
from pylm._rust import Bpe
from pylm.config.shape import count_parameters
from pylm.errors import CheckError
from pylm.interchange import asked, certificate, gguf_file
from pylm.interchange.asked import texts_of
from pylm.interchange.portable import opened
from tests.generation.small import END, small_model, write_run
from tests.interchange.pieces import tokenizer
from tests.interchange.runs import LAYOUTS, small_run

MOST = certificate.MOST  # before a fixture puts it to 0
TO = {"hf": "transformers", "mlx": "mlx_lm", "gguf": "llama_cpp"}


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is compared, a hundredth of it."""
    monkeypatch.setattr(texts_of, "__defaults__", (20_000, 2_000))
    monkeypatch.setattr(asked.sequences_of, "__defaults__", (20, 16))


def needs(to: str) -> Any:
    return pytest.param(to, marks=pytest.mark.skipif(importlib.util.find_spec(TO[to]) is None, reason="not installed"))


def test_transformers_agrees_and_the_card_says_so() -> None:
    made = pylm.export(small_run(chat=True), to="hf", out="out", certify=True)
    (found,) = made.compared
    assert found.engine == "transformers" and found.texts > 2_000 and found.texts_unlike == 0
    assert 0 < found.error < 1e-5 and found.first_alike == 1.0 and abs(found.divergence) < 1e-6
    assert found.logits == 20 and found.greedy > 200 and found.greedy_unlike == 0
    card = Path("out/README.md").read_text()
    assert f"- transformers {found.version}: ids of {found.texts:,} texts, 0 differ (0.00%)" in card


def test_how_far_it_is_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    pylm.export(small_run(), to="hf", out="out", certify=True, told=lambda *far: told.append(far))
    each = [(number, 20) for number in range(1, 21)]
    texts = len(texts_of(["<|endoftext|>"]))
    ours = [(phase, *far) for phase in ("greedy tokens", "our logits") for far in each]
    assert told == [*ours, ("ids of transformers", texts, texts), *[("logits of transformers", *far) for far in each]]


@pytest.mark.parametrize("to", [needs("mlx"), needs("gguf")])
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "mistral"])
def test_other_engines_agree(to: str, layout: str) -> None:
    if (to, layout) == ("gguf", "nanochat"):
        return  # llama.cpp has no such class
    made = pylm.export(small_run(layout=layout, chat=True), to=to, out="out", certify=True)
    (found,) = made.compared
    assert found.texts_unlike == 0 and found.greedy_unlike == 0, found
    assert found.error < (5e-3 if (to, layout) == ("gguf", "gpt2") else 1e-4), found


@pytest.mark.parametrize("to", [needs("gguf")])
@pytest.mark.parametrize("pattern", ["qwen2", "cl100k", "llama3", "whole words"])
def test_llama_cpp_cuts_as_each_pattern(to: str, pattern: str) -> None:
    merges = [(83, 71), (64, 83), (256, 257)]
    value = json.loads(Bpe.from_merges(merges, pattern.replace("whole words", "llama3"), [END]).to_tokenizer_json())
    if pattern == "whole words":
        value["model"]["merges"].pop()
        value["model"]["ignore_merges"] = True
    words = pylm.Tokenizer.from_tokenizer_json(json.dumps(value))
    write_run(Path("runs/a"), small_model(words.vocab_size), words)
    (found,) = pylm.export("runs/a", to=to, out="out", certify=True).compared
    assert found.texts_unlike == 0


@pytest.mark.parametrize("to", [needs("gguf")])
def test_a_forced_pre_tokenizer_has_its_rate_in_the_card(to: str) -> None:
    words = pylm.Tokenizer.from_tokenizer_json(Bpe.from_merges([(83, 71)], "[a-z]+|[^a-z]+", [END]).to_tokenizer_json())
    write_run(Path("runs/a"), small_model(words.vocab_size), words)
    (found,) = pylm.export("runs/a", to=to, out="out", force_pre="gpt-2", certify=True).compared
    assert 0 <= found.texts_unlike < found.texts
    rate = f"{found.texts_unlike:,} differ ({found.texts_unlike / found.texts:.2%})"
    assert f"ids of {found.texts:,} texts, {rate}" in Path("out/README.md").read_text()


@pytest.mark.parametrize("to", [needs("gguf")])
def test_llama_cpp_joins_pieces_as_sentencepiece(to: str) -> None:
    words = tokenizer()
    write_run(Path("runs/a"), small_model(words.vocab_size), words)
    (found,) = pylm.export("runs/a", to=to, out="out", certify=True).compared
    assert found.texts > 2_000 and found.texts_unlike == 0


@pytest.mark.parametrize("to", [needs("gguf")])
def test_llama_cpp_loads_a_model_in_several_files(to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_file, "SHARD", 100_000)
    made = pylm.export(small_run(), to=to, out="out", certify=True)
    assert len(made.files) > 4 and made.compared[0].error < 1e-4


def test_models_of_up_to_350_million_parameters_are_compared_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST == 350_000_000
    run, asked = small_run(), []
    count = count_parameters(opened(run).shape)
    monkeypatch.setattr(certificate, "certify", lambda *given: asked.append(given) or [])
    for number, (most, wanted, times) in enumerate(
        [(count, None, 1), (count - 1, None, 0), (count, False, 0), (count - 1, True, 1)]
    ):
        monkeypatch.setattr(certificate, "MOST", most)
        pylm.export(run, to="hf", out=f"out{number}", certify=wanted)
        assert len(asked) == times
        asked.clear()


def test_an_engine_that_is_not_here_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run()
    seen = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else seen(name))
    made = pylm.export(run, to="hf", out="out", certify=True)
    assert made.compared[0].version is None
    line = "transformers: not compared, as it is not installed here: pip install transformers"
    assert list(certificate.lines(made.compared)) == [line] and line in Path("out/README.md").read_text()


def compared(**changes: Any) -> certificate.Compared:
    fields = {"engine": "x", "version": "1", "install": "", "texts": 100, "logits": 9, "error": 1e-6, "greedy": 50}
    return certificate.Compared(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"texts_unlike": 3}, "x makes other ids of 3 of 100 texts than we do"),
        ({"error": 2e-5}, "logits of x differ by 2.0e-05 of their deviation, and 1e-05 is the most"),
        ({"greedy_unlike": 2}, "x writes 2 other tokens than we do"),
    ],
)
def test_what_differs_too_much_is_refused(changes: dict[str, Any], sentence: str) -> None:
    certificate._judge(compared(), 1e-5, True, False)
    with pytest.raises(CheckError, match=sentence):
        certificate._judge(compared(**changes), 1e-5, True, False)
    if "texts_unlike" in changes:
        certificate._judge(compared(**changes), 1e-5, True, True)  # a pre-tokenizer that was forced
    else:
        certificate._judge(compared(**changes), 1e-5, False, False)  # weights that were rounded


def test_what_differs_is_counted() -> None:
    """Two engines that are arrays: one says the same, the other swaps a token, shifts a logit, cuts a text."""

    class Words:
        def encode_batch(self, texts: list[str], allowed_special: str) -> list[list[int]]:
            return [[1, 2], [3]]

    class Model:
        tokenizer = Words()

    logits = np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)
    ours = asked.Sequences([[0, 1], [2, 3]], [1, 1], logits, np.array([1, 3]), np.float32([0.5, 1e-9]))
    same = {"ids": np.array([1, 2, 3]), "counts": np.array([2, 1]), "logits": logits, "likeliest": np.array([1, 3]),
            "version": np.array("1")}  # fmt: skip
    engine = certificate.ENGINES["hf"]
    model: Any = Model()
    found = certificate._compared(engine, model, ["a", "b"], ours, same)
    assert (found.texts_unlike, found.error, found.greedy_unlike, found.greedy_near) == (0, 0.0, 0, 0)
    assert (found.first_alike, found.clear, found.clear_unlike) == (1.0, 2, 0)
    shifted = logits.copy()
    shifted[0, 2] += 0.01
    other = {**same, "counts": np.array([1, 2]), "logits": shifted, "likeliest": np.array([0, 2])}
    found = certificate._compared(engine, model, ["a", "b"], ours, other)
    assert (found.texts_unlike, found.greedy_unlike, found.greedy_near) == (2, 1, 1)
    assert found.error == pytest.approx(0.01 / logits.std(), rel=1e-3) and found.divergence > 0


def test_likeliest_tokens_that_are_nearly_as_likely_are_told_apart() -> None:
    """Of three prompts two have another likeliest token: one lay close by, of the other nobody would have said so."""

    class Model:
        tokenizer: Any = type("Words", (), {"encode_batch": lambda self, texts, allowed_special: [[1]]})()

    logits = np.float32([[5, 0, 0], [1, 0.99, 0], [5, 0, 0]])
    ours = asked.Sequences([[0, 1]], [1], logits, np.array([1]), np.float32([1]))
    other = np.float32([[5, 0, 0], [1, 1.01, 0], [5, 5.1, 0]])
    made = {"ids": np.array([1]), "counts": np.array([1]), "logits": other, "likeliest": np.array([1]), "version": "1"}
    model: Any = Model()
    found = certificate._compared(certificate.ENGINES["gguf"], model, ["a"], ours, made)
    assert (found.first_alike, found.clear, found.clear_unlike) == (pytest.approx(1 / 3), 2, 1)
    line = "another in 1 of 2 whose two likeliest lie further apart than these differences deviate"
    assert line in list(certificate.lines([found]))[1]


def test_texts_are_of_many_scripts_and_the_same_each_time() -> None:
    texts = texts_of(["<|x|>"], 50_000, 3_000)
    assert texts == texts_of(["<|x|>"], 50_000, 3_000)
    whole = "".join(texts)
    for letter in "aЖאعअ中あ가๐":
        low, high = (ord(letter) & ~0xFF, ord(letter) | 0xFF)
        assert any(low <= ord(one) <= high for one in whole), letter
    assert sum("<|x|>" in text for text in texts) > 50 and sum(len(text.encode()) for text in texts[:-3_000]) >= 50_000


def test_a_file_that_an_engine_does_not_take_is_one_sentence() -> None:
    run = small_run()
    pylm.export(run, to="hf", out="sound")
    Path("sound/config.json").write_text(json.dumps({"model_type": "nobody_knows"}))
    with pytest.raises(CheckError, match="transformers does not take what was written: "):
        certificate.certify(Path("sound"), opened(run), "hf", "llama", True, False, print)
