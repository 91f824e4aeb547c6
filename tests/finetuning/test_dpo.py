"""`pylm.finetune(method="dpo")`: pairs of answers, by a loss that is computed here once more, pair by pair."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pylm
from pylm.checkpoint import Tensor, open_weights, read_tensors
from pylm.config.schema import Finetune, Model, Train
from pylm.config.shape import complete
from pylm.data import Loader
from pylm.data.chat import prepare
from pylm.errors import ConfigError, Interrupted, PylmError
from pylm.evaluation.examples import examples_of_shards
from pylm.finetuning.events import Derived
from pylm.model import names
from pylm.model.lora import to_numpy
from pylm.model.parameters import draw
from pylm.model.torch import Model as TorchModel
from pylm.model.torch_codecs import from_stored
from pylm.tokenizer import Tokenizer
from pylm.training import events
from pylm.training.backend import IGNORED, MicroBatch, cut
from pylm.training.torch_backend import make
from pylm.training.trained import Trained, trained_by
from pylm.training.words import said
from pylm.wording import in_options
from tests.finetuning.conftest import PEAK, SETTINGS, WORDS, write_rows

BETA, VOCABULARY, CONTEXT = 0.3, 97, 64
SHORT: Any = {**SETTINGS, "max_steps": 6, "save_every": 2, "sample_every": None, "eval_every": 2, "batch_tokens": 128}
Row = dict[str, Any]


def preferences(count: int, seed: int = 5) -> list[Row]:
    """The answer that says the words is better than one that says them backwards."""
    chance = random.Random(seed)
    pairs = [chance.sample(WORDS, 2) for _ in range(count)]
    return [{"prompt": f"{a} {b} ->", "chosen": f" {a} {b}", "rejected": f" {b} {a} {a}"} for a, b in pairs]


def plain_loss(per_pair: list[tuple[float, float, float, float]], beta: float) -> list[float]:
    """TRL's sigmoid loss, of (policy chosen, policy rejected, reference chosen, reference rejected)."""
    losses = []
    for policy_chosen, policy_rejected, reference_chosen, reference_rejected in per_pair:
        logits = (policy_chosen - policy_rejected) - (reference_chosen - reference_rejected)
        losses.append(-math.log(1 / (1 + math.exp(-beta * logits))))
    return losses


def sequences(count: int) -> list[tuple[np.ndarray, int, np.ndarray]]:
    """Pairs: ids of the one, how many of them are the prompt, and the ids of the other."""
    chance = np.random.default_rng(8)
    made = []
    for _ in range(count):
        prompt = chance.integers(1, VOCABULARY, chance.integers(1, 8))
        one, other = (chance.integers(1, VOCABULARY, chance.integers(1, 12)) for _ in range(2))
        made.append((np.concatenate([prompt, one]), len(prompt), np.concatenate([prompt, other])))
    return made


def packed(pairs: list[tuple[np.ndarray, int, np.ndarray]], reference: list[float]) -> MicroBatch:
    """Two pairs a row."""
    rows = (len(pairs) + 1) // 2
    inputs, targets = np.zeros((rows, CONTEXT), np.int64), np.full((rows, CONTEXT), IGNORED)
    given, starts, at = np.zeros((rows, CONTEXT)), [0], 0
    for number, (chosen, prompt, rejected) in enumerate(pairs):
        row, at = number // 2, 0 if number % 2 == 0 else at
        for place, ids in enumerate((chosen, rejected)):
            stop = at + len(ids) - 1
            inputs[row, at:stop], targets[row, at:stop] = ids[:-1], ids[1:]
            targets[row, at : at + prompt - 1] = IGNORED
            given[row, at] = reference[2 * number + place]
            at = stop
            starts.append(row * CONTEXT + at)
        if number % 2 or number == len(pairs) - 1:
            starts.append((row + 1) * CONTEXT)
    return MicroBatch(inputs, targets, np.array(starts, np.int32), given)


def test_loss_and_gradient_are_those_of_a_plain_computation_in_float64() -> None:
    shape = complete(Model(n_layers=2, n_heads=2, d_model=32, context_length=CONTEXT, init_std=0.1), VOCABULARY)
    settings = Train(precision="fp32", device="cpu", compile=False)  # type: ignore[arg-type]
    ours = make(shape, settings, trained=Trained(dpo_beta=BETA))
    pairs = sequences(7)
    reference = [float(value) for value in np.random.default_rng(1).normal(-20, 4, 2 * len(pairs))]

    plain = TorchModel(shape).double()
    plain.load_weights({name: one.double() for name, one in ours.model.weights().items()})
    sums = []
    for chosen, prompt, rejected in pairs:
        for ids in (chosen, rejected):
            scores = torch.log_softmax(plain(torch.from_numpy(ids[None, :-1]))[0].double(), -1)
            each = scores[torch.arange(len(ids) - 1), torch.from_numpy(ids[1:])]
            sums.append(each[prompt - 1 :].sum())
    margins = [BETA * ((sums[i] - sums[i + 1]) - (reference[i] - reference[i + 1])) for i in range(0, len(sums), 2)]
    loss = torch.stack([-torch.nn.functional.logsigmoid(one) for one in margins]).mean()
    loss.backward()
    fours = [
        (float(sums[i].detach()), float(sums[i + 1].detach()), *reference[i : i + 2]) for i in range(0, len(sums), 2)
    ]
    assert float(loss.detach()) == pytest.approx(np.mean(plain_loss(fours, BETA)), abs=1e-9)

    batch = packed(pairs, reference)
    for rows in (4, 1, 3):  # the last micro-batch has one pair where the others have two in each row
        ours.forget_gradients()
        found = ours._accumulate(cut(*batch, rows))
        assert abs(float(sum(found)) - float(loss.detach())) <= 1e-6
        told = torch.cat(ours._margins)
        assert float((told - torch.stack(margins).detach()).abs().max()) <= 2e-6
        for name, parameter in plain.named_parameters():
            mine = ours.working[name].grad
            assert mine is not None and parameter.grad is not None
            assert float((mine - parameter.grad).abs().max()) <= 1e-6, (name, rows)


@pytest.fixture
def tokenizer(here: Path) -> Tokenizer:
    return Tokenizer.load(pylm.Run("runs/base").checkpoint().path)


def test_a_pair_is_two_documents_in_one_window_chosen_first(tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = preferences(60)
    folder = prepare(rows, tokenizer, tmp_path / "made", context_length=64, val=0.2)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["made"]["kind"] == "pairs" and manifest["made"]["counts"]["examples"] == 60
    known = {tuple(tokenizer.encode(row["prompt"] + row["chosen"])): row for row in rows}
    seen = 0
    for split in ("train", "val"):
        loader = Loader(folder, 64, 1, split=split, window="packed")
        for step in range(2 * loader.windows):  # in the second epoch pairs of one length have traded places
            batch, told = loader.batch(step), []
            assert batch.cu_seqlens is not None
            for start, stop in zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True):
                ids, counts = batch.inputs[0, start:stop], batch.targets[0, start:stop] != IGNORED
                if counts.any():
                    told.append(
                        (
                            tokenizer.decode(ids.tolist()),
                            tokenizer.decode(batch.targets[0, start:stop][counts].tolist()),
                        )
                    )
            for (one, answer), (other, worse) in zip(told[::2], told[1::2], strict=True):
                row = known[tuple(tokenizer.encode(one))]
                assert other == row["prompt"] + row["rejected"]
                assert (answer, worse) == tuple(row[name] + "<|endoftext|>" for name in ("chosen", "rejected"))
                seen += 1
    assert seen == 2 * 60, "each pair once an epoch, and none in both splits"


def test_a_pair_that_is_too_long_loses_the_beginning_of_both_prompts_or_is_left_out(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    long = {"prompt": "red blue green cat dog sun moon tree ball fish " * 3, "chosen": " red", "rejected": " blue cat"}
    rows = [*preferences(4), long]
    folder = prepare(rows, tokenizer, tmp_path / "cut", context_length=40, val=0.0)
    counts = json.loads((folder / "manifest.json").read_text())["made"]["counts"]
    assert (counts["cut"], counts["dropped"]) == (1, 0)
    loader = Loader(folder, 40, 1, window="packed")
    assert sum(len(loader.pieces(step)) for step in range(loader.windows)) == 10
    folder = prepare(rows, tokenizer, tmp_path / "drop", context_length=40, val=0.0, overflow="drop")
    assert json.loads((folder / "manifest.json").read_text())["made"]["counts"]["dropped"] == 1
    with pytest.raises(PylmError, match="the two answers of item 4 of this list have"):
        prepare(rows, tokenizer, tmp_path / "error", context_length=40, val=0.0, overflow="error")
    with pytest.raises(PylmError, match="belong together"):
        Loader(folder, 8, 1, window="packed")


def preferred(out: str, dataset: str = "dpo.jsonl", **keys: Any) -> tuple[Any, list[Any]]:
    heard: list[Any] = []
    if not Path(dataset).exists():
        write_rows(dataset, preferences(120))
    keys = {"method": "dpo", "learning_rate": 1e-3, **SHORT, **keys}
    keys = {name: value for name, value in keys.items() if name != "learning_rate" or value is not None}
    return pylm.finetune("runs/base", dataset=dataset, out=out, on_event=heard.append, **keys), heard


def files(run: str, step: int = 6) -> list[bytes]:
    folder = Path(run, f"checkpoints/step_{step}")
    return [(folder / f"{name}.safetensors").read_bytes() for name in ("model", "optimizer")]


def plain_sums(checkpoint: Path, data: str) -> list[float]:
    """The log-probability of each held-out answer, one by one in float64."""
    opened = open_weights(checkpoint)
    shape, weights = names.read(opened)
    model = TorchModel(shape).double()
    model.load_weights({name: one.double() for name, one in from_stored(weights).items()})
    sums = []
    for ids, counts in examples_of_shards(data, "val"):
        with torch.no_grad():
            scores = torch.log_softmax(model(torch.from_numpy(ids[None, :-1].astype(np.int64)))[0].double(), -1)
        each = scores[torch.arange(len(ids) - 1), torch.from_numpy(ids[1:].astype(np.int64))]
        sums.append(float(each[torch.from_numpy(counts[1:])].sum()))
    return sums


@pytest.mark.usefixtures("here")
def test_what_is_chosen_gains_and_a_stopped_run_goes_on_to_the_bit() -> None:
    run, heard = preferred("runs/dpo")
    metrics = run.metrics()
    steps = [one for one in metrics if "loss" in one]
    looks = [one for one in metrics if "val_loss" in one]
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5) and steps[0]["pair_margin"] == pytest.approx(
        0, abs=1e-4
    )
    ended = [one for one in heard if isinstance(one, events.Ended)][-1]
    assert in_options(said(ended)[-1]) == "pylm sample --checkpoint runs/dpo", "no template asked"
    assert steps[-1]["loss"] < 0.69 and steps[-1]["pair_margin"] > 0 and steps[-1]["pair_accuracy"] > 0.9
    assert looks[-1]["val_loss"] < looks[0]["val_loss"] and looks[-1]["accuracy"] > 0.5 and looks[-1]["margin"] > 0
    path, data = pylm.Run("runs/base").checkpoint().path, str(run.config.data.path)
    after, before = (plain_sums(one, data) for one in (Path("runs/dpo/checkpoints/step_6"), path))
    fours = [(*after[i : i + 2], *before[i : i + 2]) for i in range(0, len(after), 2)]
    assert len(fours) > 3 and looks[-1]["step"] == 6
    assert looks[-1]["val_loss"] == pytest.approx(np.mean(plain_loss(fours, 0.1)), abs=1e-6)
    gains = [(a - b) - (c - d) for a, b, c, d in fours]
    assert looks[-1]["margin"] == pytest.approx(0.1 * np.mean(gains), abs=2e-6)
    assert looks[-1]["accuracy"] == pytest.approx(np.mean([gain > 0 for gain in gains]))
    assert (Path("runs/dpo") / "reference.safetensors").is_file()
    assert not any(np.isnan(np.frombuffer(one.data)).any()
                   for one in read_tensors(Path("runs/dpo/reference.safetensors")).values())  # fmt: skip

    def stop(one: Any) -> None:
        if isinstance(one, events.Saved) and one.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        pylm.finetune("runs/base", dataset="dpo.jsonl", out="runs/dpo-stopped", on_event=stop, method="dpo",
                      learning_rate=1e-3, **SHORT)  # fmt: skip
    pylm.finetune(out="runs/dpo-stopped", resume="auto", on_event=lambda one: None)
    assert files("runs/dpo-stopped") == files("runs/dpo")
    shutil.copytree("runs/dpo", "runs/dpo-killed")
    shutil.rmtree("runs/dpo-killed/checkpoints")
    pylm.finetune(out="runs/dpo-killed", resume="auto", on_event=lambda one: None)
    assert files("runs/dpo-killed") == files("runs/dpo")
    Path("runs/dpo-killed/reference.safetensors").unlink()
    with pytest.raises(PylmError, match="reference.safetensors is missing, which says what the run began with"):
        pylm.finetune(out="runs/dpo-killed", resume="auto", max_steps=8, on_event=lambda one: None)
    with pytest.raises(PylmError, match="holds pairs of answers, half of them rejected"):
        pylm.evaluate("runs/dpo")


@pytest.mark.usefixtures("here")
def test_conversations_make_pairs_and_the_rate_is_a_hundredth_of_the_peak() -> None:
    def said(text: str) -> list[Row]:
        return [{"role": "assistant", "content": text}]

    rows = [{**row, "chosen": said(row["chosen"]), "rejected": said(row["rejected"])} for row in preferences(40)]
    asked = [[{"role": "user", "content": row["prompt"]}] for row in rows]
    whole = [
        {**row, "chosen": turn + row["chosen"], "rejected": turn + row["rejected"]}
        for turn, row in zip(asked, rows, strict=True)
    ]
    made = []
    for name, some in (("answers", rows), ("whole", whole)):
        write_rows(f"{name}.jsonl", some)
        run, heard = preferred(f"runs/dpo-{name}", f"{name}.jsonl", max_steps=1, learning_rate=None)
        made.append(files(f"runs/dpo-{name}", 1))
        (told,) = [one for one in heard if isinstance(one, Derived)]
        assert told.learning_rate == pytest.approx(0.01 * PEAK) and "times 0.05 for pairs" in told.text
        assert run.config.finetune.template == "chatml"
    assert made[0] == made[1], "a conversation with its prompt in it is the same"


def arrays(tensors: Any) -> dict[str, np.ndarray]:
    return {name: to_numpy(one).copy() for name, one in tensors.items() if one.dtype == "F32"}


@pytest.mark.parametrize("adapter", [False, True])
def test_a_step_in_mlx_is_torchs(adapter: bool) -> None:
    mlx = pytest.importorskip("pylm.training.mlx_backend")
    shape = complete(Model(n_layers=2, n_heads=2, d_model=32, context_length=CONTEXT, init_std=0.1), VOCABULARY)
    settings = Train(precision="fp32", device="cpu", compile=False)  # type: ignore[arg-type]
    tuning = Finetune(method="dpo-lora" if adapter else "dpo", dpo_beta=BETA, lora_rank=4)
    trained = trained_by(shape, tuning, None)
    drawn = {name: Tensor.of("F32", one.shape, one.reshape(-1)) for name, one in draw(shape, seed=3).items()}
    pairs = sequences(7)
    batch = packed(pairs, [float(value) for value in np.random.default_rng(1).normal(-20, 4, 2 * len(pairs))])
    made: list[Any] = []
    for make_backend in (make, mlx.make):
        backend = make_backend(shape, settings, trained=trained)
        if adapter:
            backend.load_base(drawn)
        else:
            backend.load(drawn, None)
        steps = [backend.step(cut(*batch, rows), 1e-2) for rows in (4, 3, 1)]
        made.append((steps, arrays(backend.weights()), backend))
    (expected, theirs, _), (found, mine, _) = made
    assert expected[-1].loss < expected[0].loss
    for one, other in zip(expected, found, strict=True):
        assert other.loss == pytest.approx(one.loss, abs=1e-5) and other.grad_norm == pytest.approx(
            one.grad_norm, rel=1e-4
        )
        np.testing.assert_allclose(other.margins, one.margins, atol=1e-5)
    assert mine.keys() == theirs.keys() and any(".lora_" in name for name in mine) == adapter
    for name in mine:
        np.testing.assert_allclose(mine[name], theirs[name], atol=2e-4, err_msg=name)


@pytest.mark.usefixtures("here")
def test_adapters_learn_from_pairs_beside_a_base_that_stays() -> None:
    keys: Any = {"method": "dpo-lora", "lora_rank": 4, "learning_rate": 1e-2}
    run, _ = preferred("runs/dpo-lora", **keys)
    steps = [one for one in run.metrics() if "loss" in one]
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5), "it begins as the base, its reference"
    assert steps[-1]["loss"] < 0.69 and steps[-1]["pair_accuracy"] > 0.9
    after, before = (
        plain_sums(one, str(run.config.data.path))
        for one in (Path("runs/dpo-lora/checkpoints/step_6"), pylm.Run("runs/base").checkpoint().path)
    )
    fours = [(*after[i : i + 2], *before[i : i + 2]) for i in range(0, len(after), 2)]
    look = [one for one in run.metrics() if "val_loss" in one][-1]
    assert look["val_loss"] == pytest.approx(np.mean(plain_loss(fours, 0.1)), abs=1e-6)
    held = read_tensors(Path("runs/dpo-lora/checkpoints/step_6/adapter.safetensors"))
    assert held and all(".lora_" in name for name in held), "no second model, and none of the base"

    def stop(one: Any) -> None:
        if isinstance(one, events.Saved) and one.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        pylm.finetune("runs/base", dataset="dpo.jsonl", out="runs/dpo-lora-stopped", on_event=stop, **{**SHORT, **keys})
    pylm.finetune(out="runs/dpo-lora-stopped", resume="auto", on_event=lambda one: None)
    adapters = [Path(one, "checkpoints/step_6/adapter.safetensors") for one in ("runs/dpo-lora-stopped", run.path)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("rows", "keys", "says"),
    [
        ([{"prompt": "a", "chosen": "b"}], {}, "line 1 has no 'rejected', but prompt, chosen"),
        ([{"prompt": "a", "completion": "b"}], {}, 'has examples, and method="dpo" learns from pairs'),
        (preferences(4), {"method": "full"}, 'has pairs of answers, from which method="full" does not learn'),
        (preferences(4), {"data": {"window": "contiguous"}}, "cuts pairs of answers apart"),
        (preferences(4), {"dpo_beta": 0.0}, "dpo_beta"),
        (preferences(4), {"method": "lora"}, 'pairs of answers, from which method="lora" does not learn'),
        (preferences(4), {"lora_rank": 4}, r"finetune.lora_rank .* is of adapters"),
        (preferences(4), {"method": "dpo-lora", "freeze": ("head",)}, 'under method="dpo-lora" all weights stay'),
    ],
)
def test_bad_input_is_refused_in_a_sentence(rows: list[Row], keys: Row, says: str) -> None:
    write_rows("bad.jsonl", rows)
    with pytest.raises((PylmError, ConfigError), match=says):
        preferred("runs/bad", "bad.jsonl", **keys)
    assert not Path("runs/bad").exists()
