"""What `pylm train` reads and writes on its way: samples of fixed prompts, packed windows, several folders at once.

What it says is held to the plain model of tests/model in float64.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from pylm import Tokenizer
from pylm.checkpoint import verify
from pylm.cli import run
from pylm.config.cascade import Setting, resolve
from pylm.config.schema import Model as Shape
from pylm.config.shape import complete
from pylm.data import Loader
from pylm.model.torch import Model
from pylm.model.torch_codecs import from_stored
from pylm.runs import read_lines
from tests.model import plain

WORDS = "the cat sat on a mat and then it ran to see what was there but there was only an old dog".split()
SHAPE = ["--n-layers", "2", "--n-heads", "2", "--d-model", "32", "--context-length", "16", "--batch-tokens", "128"]
EXACT = ["--precision", "fp32", "--log-every", "1", "--eval-every", "null", "--learning-rate", "2e-2"]
LINE = ["train", *SHAPE, *EXACT]
VOLATILE = {"seconds", "tokens_per_second", "phase", "mfu", "memory"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    chance = random.Random(5)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYLM_CACHE", str(folder / "cache"))
        for name, words, tokenizer in (("a", WORDS, ["--vocab-size", "290"]), ("b", WORDS[::2], ["--tokenizer", "a"])):
            documents = [" ".join(chance.choices(words, k=chance.randrange(1, 40))) for _ in range(150)]
            Path(f"{name}.txt").write_text("<|endoftext|>".join(documents))
            assert run(["tokenize", f"{name}.txt", *tokenizer, "--val", "0.1", "--out", name]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))


def shape_of(run_folder: str) -> Shape:
    return complete(resolve(files=[f"{run_folder}/config.yaml"], environ={}).config.model, 290)


def losses(folder: str) -> list[dict[str, Any]]:
    records = read_lines(Path(folder, "metrics.jsonl"))
    return [{key: value for key, value in one.items() if key not in VOLATILE} for one in records if "lr" in one]


def loss_at_the_start(folder: str, loader: Loader) -> float:
    """Of the first batch, by the plain model with the weights that the seed gives."""
    shape = shape_of(folder)
    drawn = Model(shape, generator=torch.Generator().manual_seed(1337)).weights()
    batch = loader.batch(0)
    starts = None if batch.cu_seqlens is None else torch.from_numpy(batch.cu_seqlens)
    weights = {name: tensor.double() for name, tensor in drawn.items()}
    logits = plain.logits(shape, weights, torch.from_numpy(batch.inputs), starts)
    return float(functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(batch.targets).flatten()))


def test_samples_are_what_the_model_of_that_step_says(workplace: Path) -> None:
    words = ["--data", "a", "--sample-every", "20", "--save-every", "20", "--max-steps", "40", "--keep-last", "9"]
    assert run([*LINE, *words, "--sample.temperature", "0", "--sample.max-tokens", "6", "--out", "said"]) == 0
    said = read_lines(Path("said/samples.jsonl"))
    assert [one["step"] for one in said] == [20, 20, 40, 40]
    tokenizer, shape = Tokenizer.load("a"), shape_of("said")
    first = Loader("a", 16, 1, split="val", seed=0).batch(0).inputs[0][:8]
    prompts = [[tokenizer.eot], [int(one) for one in first]]
    for number, one in enumerate(said):
        checkpoint = verify(Path(f"said/checkpoints/step_{one['step']}"))
        weights = {name: tensor.double() for name, tensor in from_stored(checkpoint.weights()).items()}
        ids = list(prompts[number % 2])
        length = len(ids)
        while len(ids) < length + 6:
            following = int(plain.logits(shape, weights, torch.tensor([ids[-16:]]))[0, -1].argmax())
            if following == tokenizer.eot:
                break
            ids.append(following)
        assert one["text"] == tokenizer.decode(ids[length:])
        assert one["prompt"] == tokenizer.decode([token for token in ids[:length] if token != tokenizer.eot])
    assert any(one["text"] for one in said)


def test_samples_come_with_each_evaluation_and_obey_what_is_said_of_them(workplace: Path, capsys: Any) -> None:
    words = ["--data", "a", "--eval-every", "4", "--eval-batches", "1", "--max-steps", "6", "--save-every", "null"]
    drawn = ["--sample.n", "3", "--sample.stop", "t", "--temperature", "1.3", "--sample.max-tokens", "70"]
    assert run([*LINE, *words, *drawn, "--out", "obeyed"]) == 0
    said, err = read_lines(Path("obeyed/samples.jsonl")), capsys.readouterr().err
    assert [one["step"] for one in said] == [4] * 6 + [6] * 6  # two prompts of three samples; the end is evaluated too
    assert not any("t" in one["text"] for one in said) and any(one["text"] for one in said)
    assert len({one["text"] for one in said[:3]}) > 1  # of one prompt they differ
    assert "step 4 from nothing: " in err and f"step 4 after {' '.join(said[3]['prompt'].split())!r}: " in err
    assert run([*LINE, *words, *drawn, "--sample.stop", "[]", "--out", "unstopped"]) == 0
    whole = [one["text"] for one in read_lines(Path("unstopped/samples.jsonl"))]
    assert [one["text"] for one in said] == [text.partition("t")[0] for text in whole]


@pytest.mark.parametrize(("asked", "tokens"), [([], 64), (["--sample.max-tokens", "70"], 70)])
def test_a_sample_takes_64_tokens_unless_more_are_asked_for(workplace: Path, asked: list[str], tokens: int) -> None:
    words = ["--data", "a", "--max-steps", "1", "--sample-every", "1", "--repetition-penalty", "1.5", *asked]
    out = f"long-{tokens}"
    assert run([*LINE, *words, "--out", out]) == 0
    tokenizer = Tokenizer.load("a")
    assert f"max_tokens: {tokens}" in Path(out, "config.yaml").read_text()
    from pylm.training import hooks

    calls = []

    class Uniform:
        def logits(self, ids: list[int]) -> Any:
            calls.append(len(ids))
            return np.where(np.arange(290) == tokenizer.eot, -np.inf, 0.0).astype(np.float32)

    settings = resolve(files=[f"{out}/config.yaml"], environ={}).config.sample
    hooks.sampler(tokenizer, settings, [[1, 2]])(Uniform(), 1, lambda: False)  # type: ignore[arg-type]
    assert calls == list(range(2, 2 + tokens))


def test_a_run_from_before_goes_on_with_its_own_samples(workplace: Path) -> None:
    from types import SimpleNamespace

    from pylm.training.continued import _as_it_sampled as as_it_sampled

    words = ["--data", "a", "--eval-every", "2", "--max-steps", "2", "--sample-every", "null", "--out", "before"]
    assert run([*LINE, *words]) == 0
    assert run(["train", "--resume", "auto", "--out", "before", "--max-steps", "4"]) == 0
    assert not Path("before/samples.jsonl").exists()
    # what it stored as the default was cut to 64 tokens
    stored = resolve(files=["before/config.yaml"], environ={}, settings=[Setting("sample.max_tokens", 256, "x")])
    was, now = SimpleNamespace(state={}), SimpleNamespace(state={"samples": 1})
    assert as_it_sampled(was, stored, stored).config.sample.max_tokens == 64  # type: ignore[arg-type]
    assert as_it_sampled(now, stored, stored).config.sample.max_tokens == 256  # type: ignore[arg-type]
    typed = resolve(files=["before/config.yaml"], environ={}, settings=[Setting("sample.max_tokens", 99, "x")])
    assert as_it_sampled(was, stored, typed).config.sample.max_tokens == 99  # type: ignore[arg-type]


def test_packed_windows_are_not_read_across(workplace: Path) -> None:
    for window in ("packed", "contiguous"):
        assert run([*LINE, "--data", "a", "--data.window", window, "--max-steps", "2", "--out", window]) == 0
        loader = Loader("a", 16, 8, seed=1337, window=window)
        assert losses(window)[0]["loss"] == pytest.approx(loss_at_the_start(window, loader), abs=1e-5)
    packed = Loader("a", 16, 8, seed=1337, window="packed").batch(0)
    assert packed.cu_seqlens is not None and len(packed.cu_seqlens) > 9  # documents end inside of rows
    assert losses("packed")[0]["loss"] != pytest.approx(losses("contiguous")[0]["loss"], abs=1e-4)


def test_a_mixture_is_read_by_its_weights_and_resumed(workplace: Path, capsys: Any) -> None:
    mix = {"a": 0.75, "b": 0.25}
    words = ["--data.mix", "{a: 0.75, b: 0.25}", "--save-every", "5", "--max-steps", "20", "--keep-last", "9"]
    assert run([*LINE, *words, "--out", "mixed"]) == 0
    loader = Loader(mix, 16, 8, seed=1337)
    assert losses("mixed")[0]["loss"] == pytest.approx(loss_at_the_start("mixed", loader), abs=1e-5)
    shards = [str(one.shard) for number in range(40) for one in loader.why(number)]
    assert np.mean(["a/" in shard for shard in shards]) == pytest.approx(0.75, abs=0.15)
    assert run(["train", "--resume", "mixed/step_10", "--out", "branch"]) == 0
    assert losses("branch") == losses("mixed")[10:]
    capsys.readouterr()
    assert run(["why", "mixed", "3"]) == 0
    assert "pieces of documents" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["--data.mix", "{a: 0.75, nowhere: 0.25}"], 1, "nowhere: no such folder or file"),
        (["--data.mix", "{a: 0.75, b: 0}"], 2, "b"),
        (["--data", "a", "--data.mix", "{a: 1, b: 1}"], 2, "give one of them"),
        (["--data", "a", "--data.window", "loose"], 2, "contiguous"),
        (["--data", "a", "--sample-every", "0"], 2, "sample_every"),
    ],
)
def test_bad_data_is_one_sentence(workplace: Path, capsys: Any, words: list[str], code: int, complaint: str) -> None:
    capsys.readouterr()
    assert run([*LINE, *words, "--max-steps", "2", "--out", "refused"]) == code
    err = capsys.readouterr().err
    assert complaint in err and err.count("error:") == 1 and "Traceback" not in err
    assert not Path("refused").exists()
