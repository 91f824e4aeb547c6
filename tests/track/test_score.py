"""Bits per byte of held-out text, against torch in float64 and lzma's own figures."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch

from benchmarks.track.field import by_a_plain_loop
from pylm.model.torch import Model
from pylm.track.score import bits_per_byte, xz_bits_per_byte
from tests.generation.small import CONTEXT, small_model, small_tokenizer, write_run

TEXTS = ["that thing on that", "größer than 漢字 and more of that, on and on. " * 9, "x", "the end\n" * 30]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Path]:
    folder = tmp_path_factory.mktemp("run")
    tokenizer = small_tokenizer()
    model = small_model(tokenizer.vocab_size)
    write_run(folder, model, tokenizer)
    return model, folder


def test_every_token_counts_once_and_no_separator(run: tuple[Model, Path], tmp_path: Path) -> None:
    model, folder = run
    held, tokenizer = tmp_path / "held.txt", small_tokenizer()
    held.write_text("<|endoftext|>".join(TEXTS) + "<|endoftext|>", encoding="utf-8")
    end = tokenizer.eot
    assert end is not None
    ids = [token for text in TEXTS for token in (end, *tokenizer.encode(text))]
    nats, model = 0.0, model.double()
    for start in range(0, len(ids) - 1, CONTEXT):
        window = ids[start : start + CONTEXT + 1]
        with torch.no_grad():
            chances = torch.log_softmax(model(torch.tensor([window[:-1]]))[0].double(), -1)
        nats -= sum(float(row[token]) for row, token in zip(chances, window[1:], strict=True) if token != end)
    model.float()
    wanted = nats / math.log(2) / sum(len(text.encode()) for text in TEXTS)
    assert bits_per_byte(folder, held) == pytest.approx(wanted, rel=1e-5)


def test_the_plain_loop_of_the_benchmark_says_the_same(run: tuple[Model, Path], tmp_path: Path) -> None:
    held = tmp_path / "held.txt"
    held.write_text("<|endoftext|>".join(TEXTS), encoding="utf-8")
    assert by_a_plain_loop(run[1], str(held)) == pytest.approx(bits_per_byte(run[1], held), rel=1e-5)


def test_xz_knows_the_text_before(tmp_path: Path) -> None:
    train, held = tmp_path / "train.txt", tmp_path / "held.txt"
    noise = "".join(random.Random(1).choices("abcdefgh", k=40_000))
    held.write_text(noise)
    train.write_text("something else")
    assert 3.0 <= xz_bits_per_byte(train, held) < 3.6  # eight letters are three bits
    train.write_text(noise)
    assert xz_bits_per_byte(train, held) < 0.1
