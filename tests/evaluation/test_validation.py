"""The validation split, over shards small enough to count by hand."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from pylm import Tokenizer
from pylm.config.schema import Config
from pylm.data.identity import identify
from pylm.evaluation import validation
from pylm.evaluation.bits import Bits
from pylm.evaluation.validation import Scores, Validation
from tests.support.shards import write_shards

LENGTH = 8


def made(folder: Path, **train: Any) -> Validation:
    config = Config.model_validate({"model": {"context_length": LENGTH}, "data": {"path": str(folder)}, "train": train})
    return Validation(config, identify(str(folder)))


def test_every_window_counts_once_and_means_are_over_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "BATCH_TOKENS", 8 * LENGTH)  # 2,499 windows are no multiple of 8
    folder = write_shards(tmp_path / "ids", 90, np.random.default_rng(3), count=200)
    found = made(folder, eval_batches=None)
    seen: list[bytes] = []

    def count(batch: Any, rows: int) -> Any:
        seen.extend(row.tobytes() for row in batch.inputs[:rows].astype(np.uint16))
        nats = batch.targets[:rows].astype(np.float32)
        return float(nats.sum()), int((batch.targets[:rows] % 2).sum()), rows * LENGTH, nats

    scores = found.scores(count)
    ids = np.fromfile(folder / "val_00000.bin", np.uint16)
    windows = (len(ids) - 1) // LENGTH
    assert found.windows == windows and windows % 8
    assert sorted(seen) == sorted(ids[at * LENGTH : (at + 1) * LENGTH].tobytes() for at in range(windows))
    targets = ids[1 : windows * LENGTH + 1].astype(np.int64)
    assert scores is not None and scores.loss == pytest.approx(targets.mean())
    assert scores.accuracy == pytest.approx((targets % 2).mean())
    assert scores.bits_per_byte is None is scores.bits_per_byte_with_eot, "nobody knows what the ids stand for"


def test_so_many_batches_are_always_the_same_and_a_stop_is_heard(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "ids", 90, np.random.default_rng(3), count=200)
    taken: list[bytes] = []

    def count(batch: Any, rows: int) -> Any:
        taken.append(batch.inputs.tobytes())
        return 1.0, 0, rows, np.ones((rows, LENGTH), np.float32)

    first, second = made(folder, eval_batches=2), made(folder, eval_batches=2)
    assert first.scores(count) == second.scores(count)
    assert len(taken) == 4 and taken[:2] == taken[2:] and taken[0] != taken[1]
    assert first.scores(count, lambda: len(taken) > 4) is None and len(taken) == 5


def test_scores_of_a_hopeless_model_are_numbers() -> None:
    assert Scores.of(1000.0, 0, 1, Bits()) == Scores(1000.0, math.inf, 0.0, None, None)
    assert Scores.of(0.0, 0, 0, Bits(0.0, 0.0)) == Scores(0.0, 1.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tokenizers.Tokenizer, list[list[int]]]:
    """Shards beside their tokenizer, which has several special tokens, and the documents of the validation split."""
    from tokenizers import decoders, models, pre_tokenizers, trainers

    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|user|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    chance = np.random.default_rng(5)
    words = "she sells sea shells größe 海 on the shore 12 😀 of it".split()
    texts = [" ".join(chance.choice(words, chance.integers(1, 30))) for _ in range(80)]
    made.train_from_iterator(texts, trainer)
    folder = tmp_path_factory.mktemp("spoken")
    made.save(str(folder / "tokenizer.json"))
    documents = [[1, *made.encode(text).ids, *[2] * int(chance.integers(3)), 0] for text in texts]
    for split, part in (("train", documents[:40]), ("val", documents[40:])):
        np.array(sum(part, []), np.uint16).tofile(folder / f"{split}_00000.bin")
    return folder, made, documents[40:]


def nats_of(batch: Any, rows: int) -> Any:
    """A loss for each target that its neighbours decide, so that each window has its own."""
    nats = ((batch.inputs[:rows] * 7 + batch.targets[:rows] * 3) % 11).astype(np.float32) / 8
    return float(nats.sum()), 0, nats.size, nats


@pytest.mark.parametrize("batches", [None, 2])
def test_bits_are_those_of_the_evaluated_text(
    batches: int | None, spoken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows begin and end anywhere in a document, and the last ones of the split are in no batch."""
    monkeypatch.setattr(validation, "BATCH_TOKENS", 4 * LENGTH)
    folder, theirs, documents = spoken
    found, pairs = made(folder, eval_batches=batches), list[tuple[int, int]]()

    def count(batch: Any, rows: int) -> Any:
        pairs.extend(zip(batch.inputs[:rows].ravel().tolist(), batch.targets[:rows].ravel().tolist(), strict=True))
        return nats_of(batch, rows)

    scores = found.scores(count)
    size = {token: len(piece) for piece, token in theirs.get_vocab().items()}  # a byte is a character of a piece
    nats = [((before * 7 + token * 3) % 11 / 8, token) for before, token in pairs]
    whole = math.log(2) * sum(size[token] for _, token in nats if token > 2)
    assert scores is not None
    assert scores.bits_per_byte == pytest.approx(sum(loss for loss, token in nats if token > 2) / whole, rel=1e-12)
    assert scores.bits_per_byte_with_eot == pytest.approx(sum(loss for loss, _ in nats) / whole, rel=1e-12)
    if batches is None:
        ids = sum(documents, [])
        taken = (len(ids) - 1) // LENGTH * LENGTH
        assert sorted(token for _, token in pairs) == sorted(ids[1 : taken + 1]) and ids[taken] != 0


def test_another_tokenizer_than_the_manifests_gives_no_bits(spoken: Any, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "ids", 90, np.random.default_rng(3), count=200)
    shutil.copy(spoken[0] / "tokenizer.json", folder)
    scores = made(folder, eval_batches=1).scores(nats_of)
    assert scores is not None and scores.bits_per_byte is None
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["tokenizer"] = Tokenizer.load(folder).identity
    (folder / "manifest.json").write_text(json.dumps(manifest))
    scores = made(folder, eval_batches=1).scores(nats_of)
    assert scores is not None and scores.bits_per_byte is not None
    (folder / "tokenizer.json").write_text("{}")  # a run without samples needs none
    scores = made(folder, eval_batches=1).scores(nats_of)
    assert scores is not None and scores.bits_per_byte is None and scores.loss > 0


def test_a_validation_folder_is_read_by_its_own_tokenizer(spoken: Any, tmp_path: Path) -> None:
    """Ids that lie there without one may be anybody's, whatever lies beside the training data."""
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(spoken[0] / "val_00000.bin", bare / "train_00000.bin")
    for val, known in ((bare, False), (spoken[0], True)):
        data = {"path": str(spoken[0]), "val": str(val)}
        config = Config.model_validate({"model": {"context_length": LENGTH}, "data": data})
        scores = Validation(config, identify(str(spoken[0]), str(val))).scores(nats_of)
        assert scores is not None and (scores.bits_per_byte is not None) == known
