"""The greedy soup against one written plainly, which evaluates each average on files of the two halves."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pylm
from pylm.errors import CheckpointError, DataError
from tests.generation.small import small_model, small_tokenizer, write_run

WORDS = "that cat on the mat sat there then ran at them".split()


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five runs around one model, each with its own noise, and documents."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)
    tokenizer = small_tokenizer()
    generator = torch.Generator().manual_seed(0)
    for number in range(5):
        model = small_model(tokenizer.vocab_size, n_layers=1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1 * number * parameter.std())
        write_run(Path(f"runs/{number}"), model, tokenizer)
    draw = np.random.default_rng(1)
    texts = [" ".join(draw.choice(WORDS, draw.integers(2, 6))) for _ in range(24)]
    write("val.jsonl", texts)
    for half in (0, 1):
        write(f"half{half}.jsonl", [text for text in texts if half_of(text.encode()) == half])


def write(path: str, texts: list[str]) -> None:
    Path(path).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def half_of(document: bytes) -> int:
    return hashlib.blake2b(document, digest_size=8).digest()[0] % 2


def loss(checkpoint: str, half: int) -> float:
    found = pylm.evaluate(checkpoint, data=f"half{half}.jsonl").loss
    assert found is not None
    return found


def test_greedy_takes_what_makes_the_average_strictly_better_and_reports_the_other_half() -> None:
    names = [f"runs/{number}" for number in range(5)]
    said: list[str] = []
    made = pylm.soup(names, out="greedy", method="greedy", data="val.jsonl", say=said.append)
    about = made.state["soup"]

    order = sorted(names, key=lambda name: loss(name, 0))
    taken, best = [order[0]], loss(order[0], 0)
    for number, name in enumerate(order[1:]):
        pylm.soup([*taken, name], out=f"try{number}")
        if (with_it := loss(f"try{number}", 0)) < best:
            taken, best = [*taken, name], with_it
    assert 1 < len(taken) < 5, "some are taken and some are not"
    assert {each["path"] for each in about["parents"]} == set(taken)
    assert [each["path"] for each in about["candidates"]] == order and len(said) == 5
    assert [each["path"] for each in about["candidates"] if each["taken"]] == taken
    pylm.soup(taken, out="mean")
    assert Path("mean/model.safetensors").read_bytes() == Path("greedy/model.safetensors").read_bytes()
    assert about["deciding"]["loss"] == pytest.approx(best, rel=1e-6) and best < about["deciding"]["best_single"]
    assert about["reported"]["loss"] == pytest.approx(loss("greedy", 1), rel=1e-6)
    assert about["reported"]["best_single"] == pytest.approx(loss(order[0], 1), rel=1e-6)
    difference = about["reported"]["difference"]
    assert difference["value"] == pytest.approx(loss("greedy", 1) - loss(order[0], 1), rel=1e-4)
    assert about["deciding"]["documents"] + about["reported"]["documents"] == 24
    assert {path.name for path in Path().iterdir() if path.name.startswith(".")} == set()


def test_the_same_again_makes_nothing_strictly_better() -> None:
    made = pylm.soup(["runs/3", "runs/3", "runs/3"], out="greedy", method="greedy", data="val.jsonl")
    assert [each["taken"] for each in made.state["soup"]["candidates"]] == [True, False, False]
    assert made.weights().keys() and [each["share"] for each in made.state["soup"]["parents"]] == [1.0]
    step = Path("runs/3/checkpoints/step_5/model.safetensors").read_bytes()
    assert Path("greedy/model.safetensors").read_bytes() == step


def test_greedy_in_any_order_is_the_same() -> None:
    pylm.soup(["runs/1", "runs/2", "runs/4"], out="one", method="greedy", data="val.jsonl")
    pylm.soup(["runs/4", "runs/1", "runs/2"], out="two", method="greedy", data="val.jsonl")
    for name in os.listdir("one"):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes(), name


def test_shards_judge_as_their_text_does() -> None:
    small_tokenizer().save("tok")
    pylm.prepare("val.jsonl", out="shards", tokenizer="tok", val=0.5)
    made = pylm.soup(["runs/0", "runs/2"], out="one", method="greedy", data="shards")
    found = pylm.evaluate("one", data="shards", by_document=True)
    about: dict[str, Any] = made.state["soup"]
    counts = [about[half]["documents"] for half in ("deciding", "reported")]
    assert found.units is not None and sum(counts) == len(found.units.keys) and min(counts) > 0


def test_without_data_that_all_name_it_asks_for_some() -> None:
    with pytest.raises(CheckpointError, match="do not name the same data"):
        pylm.soup(["runs/0", "runs/1"], out="out", method="greedy")
    write("one.jsonl", ["a single document"])
    with pytest.raises(DataError, match="too few for two halves"):
        pylm.soup(["runs/0", "runs/1"], out="out", method="greedy", data="one.jsonl")
    assert not Path("out").exists()
