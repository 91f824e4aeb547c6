"""Evaluations against transformers and torch in float64 on the same weights, and lm-evaluation-harness's windows."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pylm
from pylm.config.schema import Config
from pylm.data.identity import identify
from pylm.errors import CheckpointError, DataError, UsageError
from pylm.evaluation.losses import Reader
from pylm.evaluation.rolling import rolling_windows
from pylm.evaluation.validation import Validation
from pylm.generation.load import open_model
from pylm.model.names import to_hugging_face
from pylm.runs.documents import read_documents
from pylm.tokenizer import Tokenizer
from tests.generation.small import CONTEXT, small_model, small_tokenizer, stored, write_run
from tests.support.shards import write_shards

TEXTS = ["that cat on the mat, größe 海 😀 " * 6, "on", "the " * 47, "an end that is not one<|endoftext|>?", "x" * 48]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)


@pytest.fixture
def tokenizer() -> Tokenizer:
    return small_tokenizer("<|user|>")


@pytest.fixture
def model(tokenizer: Tokenizer, tmp_path: Path) -> Any:
    made = small_model(tokenizer.vocab_size)
    write_run(tmp_path / "runs" / "x", made, tokenizer)
    return made


def theirs(model: Any) -> Any:
    """The same weights in transformers, in float64."""
    import transformers

    weights, config = to_hugging_face(stored(model), model.shape)
    made = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**config)).double()
    state = {name: torch.from_numpy(np.frombuffer(bytearray(bytes(memoryview(held.data).cast("B"))), np.float32))
             .reshape(held.shape).double() for name, held in weights.items()}  # fmt: skip
    missing, strange = made.load_state_dict(state, strict=False)
    assert not strange and set(missing) <= {"lm_head.weight"}
    made.tie_weights()
    return made.eval()


def hits(model: Any, inputs: Sequence[int], targets: Sequence[int]) -> int:
    """How many of the targets are the likeliest token."""
    with torch.no_grad():
        likeliest = model(torch.tensor([list(inputs)])).logits[0, -len(targets) :].argmax(-1)
    return int((likeliest == torch.tensor(list(targets))).sum())


def nats(model: Any, inputs: Sequence[int], targets: Sequence[int]) -> np.ndarray[Any, Any]:
    """Of the targets, which follow the last inputs, by transformers."""
    with torch.no_grad():
        logits = model(torch.tensor([list(inputs)])).logits[0, -len(targets) :]
    return -torch.log_softmax(logits, -1)[torch.arange(len(targets)), torch.tensor(list(targets))].numpy()


def lm_eval_windows(ids: list[int], prefix: int, longest: int) -> Iterator[tuple[list[int], list[int]]]:
    """get_rolling_token_windows and make_disjoint_window of lm-evaluation-harness with a context of 1, as they are."""
    first = min(longest, len(ids))
    yield [prefix, *ids[: first - 1]], ids[:first]
    predicted = first
    while predicted < len(ids):
        count = min(len(ids) - predicted, longest)
        end = predicted + count
        yield ids[end - longest - 1 : end - 1], ids[end - count : end]
        predicted += count


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 15, 16, 17, 40])
def test_windows_are_lm_evals(size: int) -> None:
    ids = list(range(100, 100 + size))
    assert list(rolling_windows(ids, 8, 7)) == list(lm_eval_windows(ids, 7, 8))


@pytest.mark.parametrize("stride", [1, 3, 8])
@pytest.mark.parametrize("prefix", [7, None])
def test_each_token_is_a_target_once_with_the_context_that_a_stride_leaves(stride: int, prefix: int | None) -> None:
    ids = list(range(100, 131))
    found = list(rolling_windows(ids, 8, prefix, stride))
    assert [token for _, targets in found for token in targets] == (ids if prefix else ids[1:])
    for inputs, targets in found[1:]:
        assert len(inputs) == 8 and len(targets) <= stride and targets[-1] == inputs[-1] + 1
    assert list(rolling_windows([], 8, prefix)) == []


@pytest.mark.parametrize("backend", ["torch", "native"])
def test_text_is_worth_what_transformers_says(model: Any, tokenizer: Tokenizer, backend: str) -> None:
    oracle, eot = theirs(model), tokenizer.eot
    assert eot is not None
    found = pylm.evaluate("runs/x", data=[{"text": text} for text in TEXTS], backend=backend)
    text_nats, end_nats, right, tokens = 0.0, 0.0, 0, 0
    for number, text in enumerate(TEXTS):
        ids = tokenizer.encode(text)
        each = [nats(oracle, *window).sum() for window in lm_eval_windows(ids, eot, CONTEXT)]
        assert found.units is not None and found.units.nats[number] == pytest.approx(sum(each), rel=1e-6)
        right += sum(hits(oracle, *window) for window in lm_eval_windows(ids, eot, CONTEXT))
        text_nats, tokens = text_nats + sum(each), tokens + len(ids)
        end_nats += nats(oracle, [eot, *ids][-CONTEXT:], [eot])[0]
    size = len("".join(TEXTS).encode())
    assert (found.tokens, found.bytes, found.characters) == (tokens, size, len("".join(TEXTS)))
    assert found.loss == pytest.approx(text_nats / tokens, rel=1e-6)
    assert found.perplexity == pytest.approx(math.exp(text_nats / tokens), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(text_nats / math.log(2) / size, rel=1e-6)
    assert found.bits_per_byte_with_eot == pytest.approx((text_nats + end_nats) / math.log(2) / size, rel=1e-6)
    assert found.bits_per_character == pytest.approx(text_nats / math.log(2) / len("".join(TEXTS)), rel=1e-6)
    assert found.accuracy == right / tokens and right > 0


@pytest.mark.parametrize("chunk", [1, 5, 100])
@pytest.mark.parametrize("before", [0, 3, 10, 20])
def test_targets_are_worth_the_same_however_many_are_read_at_once(model: Any, before: int, chunk: int) -> None:
    engine = open_model("runs/x", backend="native", writes=False).engine
    reader = Reader(engine)
    reader._chunk = chunk
    ids = np.random.default_rng(3).integers(0, engine.vocab_size, CONTEXT + 1).tolist()
    for _ in range(2):  # nothing is left of what was read
        found = reader.losses(ids[:-1], ids[1 + before :])
        np.testing.assert_allclose(found.nats, nats(theirs(model), ids[:-1], ids[1 + before :]), rtol=1e-5)
    assert int(found.correct.sum()) == hits(theirs(model), ids[:-1], ids[1 + before :])


def spoken(folder: Path, tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Shards of documents as `pylm tokenize` writes them, a split of validation alone beside a copy as training."""
    documents = [[*tokenizer.encode(text), tokenizer.eot or 0] for text in texts]
    ids = np.array(sum(documents, []), np.uint16)
    starts = np.cumsum([0, *map(len, documents)]).astype(np.uint64)
    folder.mkdir()
    splits = {}
    for split in ("train", "val"):
        ids.tofile(folder / f"{split}_00000.bin")
        starts.tofile(folder / f"{split}_00000.idx")
        shard = {"file": f"{split}_00000.bin", "tokens": len(ids), "documents": len(texts), "hash": str(len(ids))}
        splits[split] = {"tokens": len(ids), "documents": len(texts), "text_bytes": 1, "shards": [shard]}
    manifest = {"dtype": "uint16", "vocab_size": tokenizer.vocab_size, "tokenizer": tokenizer.identity}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "eot": tokenizer.eot, "splits": splits}))
    for name, data in tokenizer.files().items():
        (folder / name).write_bytes(data)
    return documents


def test_windows_are_trainings_and_shards_by_document_are_the_text(model: Any, tokenizer: Tokenizer) -> None:
    texts = TEXTS * 3
    spoken(Path("ids"), tokenizer, texts)
    oracle = theirs(model)
    found = pylm.evaluate("runs/x", data="ids", by=["position", "frequency", "confidence"])
    data = {"path": "ids"}
    asked = {"model": {"context_length": CONTEXT}, "train": {"eval_batches": None}, "data": data}

    def count(batch: Any, rows: int) -> Any:
        losses = np.stack([nats(oracle, *row) for row in zip(batch.inputs[:rows], batch.targets[:rows], strict=True)])
        return losses.sum(), 0, losses.size, losses

    scores = Validation(Config.model_validate(asked), identify("ids")).scores(count)
    assert scores is not None and found.loss == pytest.approx(scores.loss, rel=1e-6)
    assert found.bits_per_byte == pytest.approx(scores.bits_per_byte, rel=1e-6)
    assert found.bits_per_byte_with_eot == pytest.approx(scores.bits_per_byte_with_eot, rel=1e-6)
    assert found.units is not None and len(found.units.keys) == len(texts)
    for bins in found.by.values():
        assert sum(each.tokens for each in bins) == found.tokens
        assert sum(each.tokens * each.loss for each in bins) / found.tokens == pytest.approx(found.loss)
    whole = pylm.evaluate("runs/x", data="ids", by_document=True)
    text = pylm.evaluate("runs/x", data=[{"text": text} for text in texts])
    assert (whole.loss, whole.bits_per_byte_with_eot) == (text.loss, text.bits_per_byte_with_eot)


def test_threads_order_and_a_limit_change_nothing_else(model: Any) -> None:
    rows = [{"text": text} for text in TEXTS]
    one = pylm.evaluate("runs/x", data=rows, threads=1)
    two = pylm.evaluate("runs/x", data=rows[::-1], threads=2)
    assert one.units is not None and two.units is not None
    assert two.units.nats[::-1] == pytest.approx(one.units.nats, rel=1e-5)
    first = pylm.evaluate("runs/x", data=rows, limit=2, threads=1)
    assert first.units is not None and first.units.nats.tolist() == one.units.nats[:2].tolist()


def test_lines_are_appended_and_a_torn_one_goes(model: Any) -> None:
    file = Path("runs/x/evaluations.jsonl")
    pylm.evaluate("runs/x", data="text:the cat")
    before = file.read_bytes()
    file.write_bytes(before + b'{"task": "tor')
    found = pylm.evaluate("runs/x", data="text:the cat", prefix="none")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert file.read_bytes().startswith(before) and len(lines) == 2 * before.count(b"\n")
    last = next(line for line in reversed(lines) if line["metric"] == "loss")
    assert last["value"] == found.loss and last["settings"] == found.fingerprint != lines[0]["settings"]
    assert last["checkpoint"] == "step_5" and last["step"] == 5 and last["n"] == found.tokens


def test_what_was_found_of_each_document_is_kept_in_the_run(model: Any) -> None:
    rows = [{"text": text} for text in ("the cat", "sat on", "the mat")]
    found = pylm.evaluate("runs/x", data=rows, by_document=True)
    pylm.evaluate("runs/x", data=rows[:2], out="mine.jsonl")  # somebody else's file: nothing is kept in the run
    (kept,) = read_documents(Path("runs/x"))
    assert found.units is not None and kept.nats.sum() / kept.tokens.sum() == pytest.approx(found.loss)
    assert kept.nats.tolist() == found.units.nats.tolist() and kept.checkpoint == "step_5"
    pylm.evaluate("runs/x", data=rows, by_document=True)
    assert len(read_documents(Path("runs/x"))) == 1  # the newest of the same settings


def test_what_stands_in_a_file_is_not_lost(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path("mine.jsonl")
    whole.write_text('{"a": 1}\n{"b": 2}')  # an editor left out the last end of line
    pylm.evaluate("runs/x", data="text:the cat", out=whole)
    lines = [json.loads(line) for line in whole.read_text().splitlines()]
    assert lines[:2] == [{"a": 1}, {"b": 2}] and len(lines) > 5
    Path("notes.txt").write_text("to buy:\nmilk")
    Path("one.txt").write_text("milk")
    monkeypatch.setattr("pylm.generation.load.open_model", None)  # nothing is computed before the sentence
    for out, said in (
        ("notes.txt", "it holds something else"),
        ("one.txt", "it holds something else"),
        (".", "it is a folder"),
        ("nowhere/a.jsonl", "there is no folder nowhere"),
    ):
        with pytest.raises(UsageError, match=f"results cannot be appended to {out}: {said}"):
            pylm.evaluate("runs/x", data="text:the cat", out=out)
    assert Path("notes.txt").read_text() == "to buy:\nmilk" and Path("one.txt").read_text() == "milk"


def test_beside_weights_of_others_nothing_is_written_wherever_they_lie(model: Any) -> None:
    theirs(model).float().save_pretrained("checkpoints/theirs")
    shutil.copy("runs/x/checkpoints/step_5/tokenizer.json", "checkpoints/theirs")
    found = pylm.evaluate("checkpoints/theirs", data="text:the cat")
    assert found.loss == pytest.approx(pylm.evaluate("runs/x", data="text:the cat").loss, abs=1e-5)
    assert not Path("evaluations.jsonl").exists()


def test_bad_input_is_one_sentence_and_nothing_is_written(model: Any, tokenizer: Tokenizer, tmp_path: Path) -> None:
    spoken(Path("other"), small_tokenizer(), TEXTS)
    with pytest.raises(DataError, match="other is of another tokenizer than runs/x"):
        pylm.evaluate("runs/x", data="other")
    write_shards(Path("wide"), 5000, np.random.default_rng(1), count=500)
    manifest = json.loads(Path("wide/manifest.json").read_text())
    Path("wide/manifest.json").write_text(json.dumps({**manifest, "tokenizer": tokenizer.identity}))
    with pytest.raises(DataError, match=r"wide holds id [\d,]+, and the model has 261"):
        pylm.evaluate("runs/x", data="wide")
    del manifest["splits"]["val"]
    Path("wide/manifest.json").write_text(json.dumps({**manifest, "tokenizer": tokenizer.identity}))
    with pytest.raises(DataError, match="wide has no validation split"):
        pylm.evaluate("runs/x", data="wide")
    with pytest.raises(CheckpointError, match="names no data"):
        pylm.evaluate("runs/x")
    Path("runs/empty/checkpoints/step_1").mkdir(parents=True)
    with pytest.raises(CheckpointError):
        pylm.evaluate("runs/empty")
    with pytest.raises(DataError, match="holds nothing to predict"):
        pylm.evaluate("runs/x", data=[{"text": ""}])
    for wrong in ({"by": "positions"}, {"prefix": "bos"}, {"split": "test"}, {"limit": 0}, {"stride": True}):
        with pytest.raises(UsageError):
            pylm.evaluate("runs/x", data="text:a", **wrong)
    assert not Path("runs/x/evaluations.jsonl").exists()


@pytest.mark.filterwarnings("error")
def test_a_loss_that_is_no_number_has_no_perplexity(model: Any, tokenizer: Tokenizer) -> None:
    with torch.no_grad():
        model.embed.weight.fill_(math.nan)
    write_run(Path("runs/broken"), model, tokenizer)
    found = pylm.evaluate("runs/broken", data="text:the cat")
    assert math.isnan(found.loss or 0) and math.isnan(found.perplexity or 0)
    lines = [json.loads(line) for line in Path("runs/broken/evaluations.jsonl").read_text().splitlines()]
    assert {line["metric"]: line["value"] for line in lines}["perplexity"] is None


def test_a_calibrated_model_has_no_calibration_error() -> None:
    from pylm.evaluation.breakdown import ByConfidence
    from pylm.evaluation.losses import Losses

    sure = ByConfidence()
    right = np.arange(100) < 75
    ids = np.zeros(100, np.int64)
    sure.add(Losses(np.ones(100, np.float32), right, np.full(100, 0.75, np.float32)), ids, ids)
    assert sure.error() == pytest.approx(0, abs=1e-9)
    sure.add(Losses(np.ones(100, np.float32), right, np.full(100, 0.95, np.float32)), ids, ids)
    assert sure.error() == pytest.approx(0.1, abs=1e-6)  # half of the tokens are 0.2 too sure


@pytest.mark.parametrize("window", ["contiguous", "packed"])
def test_a_run_is_judged_by_its_own_split_as_its_training_was(
    tokenizer: Tokenizer, window: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken(Path("ids"), tokenizer, [f"{text[:30]} {number}" for number, text in enumerate(TEXTS * 8)])
    shape = {"n_layers": 1, "n_heads": 2, "d_model": 16, "context_length": 32}
    run = pylm.train(
        data={"path": "ids", "window": window}, model=shape, out="runs/own", max_steps=3, eval_batches=None,
        precision="fp32", device="cpu",
    )  # fmt: skip
    found = pylm.evaluate(checkpoint="last")
    assert found.checkpoint.parts[-3:] == ("own", "checkpoints", "step_3")
    assert found.loss == pytest.approx(run.val_loss, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(run.bits_per_byte, rel=1e-5)
    logged = [record for record in run.metrics() if "val_loss" in record][-1]
    assert found.accuracy == pytest.approx(logged["accuracy"], abs=0.002)
    assert (Path("runs/own/evaluations.jsonl")).is_file()
    assert pylm.evaluate("runs/own", split="train").loss == pytest.approx(pylm.evaluate("runs/own").loss, rel=1e-5)
    monkeypatch.chdir("runs")
    with pytest.raises(DataError, match="ids: no such folder") as caught:
        pylm.evaluate("own")
    assert caught.value.hint and "run pylm from there" in caught.value.hint


def test_the_training_splits_of_a_mix_are_judged_one_by_one(tokenizer: Tokenizer) -> None:
    for folder, texts in (("one", TEXTS * 4), ("two", TEXTS[::-1] * 4)):
        spoken(Path(folder), tokenizer, texts)
    shape = {"n_layers": 1, "n_heads": 2, "d_model": 16, "context_length": 32}
    mix = {"mix": {"one": 0.4, "two": 0.6}}
    pylm.train(data=mix, model=shape, out="runs/mixed", max_steps=1, precision="fp32", device="cpu")
    with pytest.raises(DataError, match="was trained on a mix of one, two, which are judged one by one") as caught:
        pylm.evaluate("runs/mixed", split="train")
    assert caught.value.hint and 'data="one"' in caught.value.hint
    assert pylm.evaluate("runs/mixed", data="two", split="train").data == "two"
