"""Labels by log-likelihood against transformers in float64, and F1 counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pylm.errors import DataError
from pylm.evaluation.classified import classified, confusion, macro_f1
from pylm.evaluation.examples import Example
from pylm.evaluation.scoring import Scorer
from pylm.generation.torch_engine import TorchEngine
from tests.generation.small import small_model, small_tokenizer

LABELS = {"no": " no", "up": " up", "no!": " no!"}


def counted(gold: list[int], taken: list[int], labels: int) -> float:
    """Macro-F1 as textbooks write it, over the labels that were met."""
    scores = []
    for label in range(labels):
        pairs = list(zip(gold, taken, strict=True))
        true = sum(one == other == label for one, other in pairs)
        false = sum(one != label and other == label for one, other in pairs)
        missed = sum(one == label and other != label for one, other in pairs)
        if true + false + missed:
            precision = true / (true + false) if true + false else 0.0
            recall = true / (true + missed) if true + missed else 0.0
            scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return sum(scores) / len(scores)


def test_f1_is_that_of_textbooks() -> None:
    random = np.random.default_rng(3)
    for labels in (2, 3, 7):
        for count in (1, 5, 60):
            gold, taken = (random.integers(0, labels, count).tolist() for _ in range(2))
            table = confusion(gold, taken, labels)
            assert macro_f1(table) == pytest.approx(counted(gold, taken, labels))
            assert table.sum() == count
            pairs = list(zip(gold, taken, strict=True))
            assert table.tolist() == [[pairs.count((row, column)) for column in range(labels)] for row in range(labels)]


def test_the_likeliest_label_is_that_of_plain_log_softmax() -> None:
    tokenizer = small_tokenizer()
    eot = tokenizer.eot
    assert eot is not None
    model = small_model(tokenizer.vocab_size, n_layers=1)
    scorer = Scorer(TorchEngine(model), tokenizer)
    labels = {name: [*tokenizer.encode(text), eot] for name, text in LABELS.items()}
    random = np.random.default_rng(5)
    examples, gold, taken = [], [], []
    for _ in range(20):
        prompt = random.integers(0, 256, random.integers(1, 9)).tolist()
        gold.append(int(random.integers(3)))
        answers = list(labels.values())
        ids = prompt + answers[gold[-1]]
        counts = [0] * len(prompt) + [1] * len(answers[gold[-1]])
        examples.append(Example(np.array(ids), np.array(counts, bool)))
        worth = []
        for answer in answers:
            with torch.no_grad():
                logits = torch.log_softmax(model(torch.tensor([prompt + answer]))[0].double(), -1)
            worth.append(sum(float(logits[len(prompt) - 1 + n, token]) for n, token in enumerate(answer)))
        taken.append(int(np.argmax(worth)))
    assert len(set(taken)) > 1
    told = []
    found = classified(scorer, examples, labels, {"data": "x"}, lambda *said: told.append(said))
    right = [float(one == other) for one, other in zip(gold, taken, strict=True)]
    assert found.items["acc"] == right and found.metrics["acc"] == pytest.approx(np.mean(right))
    assert found.metrics["macro_f1"] == pytest.approx(counted(gold, taken, 3))
    assert found.confusion == {"labels": list(LABELS), "counts": confusion(gold, taken, 3).tolist()}
    assert found.n == 20 and told[-1][0] == "labels" and {"acc", "macro_f1"} == set(found.metrics)
    kept = {record["metric"]: record for record in found.records()}
    assert kept["macro_f1"]["stderr"] is None and kept["acc"]["n"] == 20


def test_a_label_that_nobody_learned_is_named() -> None:
    tokenizer = small_tokenizer()
    scorer = Scorer(TorchEngine(small_model(tokenizer.vocab_size, n_layers=1)), tokenizer)
    labels = {name: [*tokenizer.encode(text), tokenizer.eot or 0] for name, text in LABELS.items()}
    other = [*tokenizer.encode(" perhaps"), tokenizer.eot or 0]
    example = Example(np.array([65, *other]), np.array([0] + [1] * len(other), bool))
    with pytest.raises(DataError, match="example 0 has the label 'perhaps', and those that were learned are no, up"):
        classified(scorer, [example], labels, {})
