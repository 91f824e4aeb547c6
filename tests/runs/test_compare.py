"""`pylm compare`: means, deviations and chance as Python has them; what is equal, and what differs."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.cli import run
from pylm.runs.compare import SURE, _spread, compare
from pylm.runs.documents import Documents, keep_documents
from pylm.statistics import welch
from tests.runs.made import line_of, made_run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def seeds(name: str, losses: list[float], **config: Any) -> list[str]:
    """Runs of one configuration with seeds of their own, that end at these losses."""
    for seed, loss in enumerate(losses):
        val = {"step": 10, "tokens": 640, "seconds": 1.0, "val_loss": loss}
        made_run(
            Path("runs", f"{name}{seed}"), lines=[line_of(10, loss), val], config={"train": {"seed": seed, **config}}
        )
    return [f"{name}{seed}" for seed in range(len(losses))]


def test_seeds_have_a_mean_a_deviation_and_a_chance(capsys: Capture) -> None:
    one, other = [3.10, 3.12, 3.08], [3.06, 3.09, 3.04, 3.05]
    names = seeds("a", one) + seeds("b", other, learning_rate=2e-3)
    found = compare(names)
    assert [len(group.runs) for group in found.groups] == [3, 4]
    for group, values in zip(found.groups, (one, other), strict=True):
        assert group.mean == pytest.approx(statistics.mean(values))
        assert group.deviation == pytest.approx(statistics.stdev(values))
    (verdict,) = found.verdicts
    assert verdict.p == pytest.approx(welch(one, other))
    assert verdict.difference == pytest.approx(-0.04) and verdict.seeds is not None and verdict.seeds > 4
    assert run(["compare", *names]) == 0
    out = capsys.readouterr().out
    assert "3.1000 ± 0.0200 over 3 seeds" in out and "b0 is -0.0400 from a0" in out and "seeds more a side" in out
    assert "train.learning_rate" in out and "(default)" in out


def test_a_seed_that_is_taken_twice_is_one(capsys: Capture) -> None:
    names = seeds("a", [3.10, 3.12]) + seeds("b", [3.06], learning_rate=2e-3)
    for number, loss in enumerate((3.06, 3.08)):  # b's own seed, once copied and once trained anew
        made_run(
            Path("runs", f"again{number}"), lines=[line_of(10, loss), {"step": 10, "tokens": 640, "val_loss": loss}],
            config={"train": {"seed": 0, "learning_rate": 2e-3}},
        )  # fmt: skip
        names.append(f"again{number}")
    found = compare(names)
    assert [len(group.runs) for group in found.groups] == [2, 3] and len(found.groups[1].values) == 1
    assert found.groups[1].mean == pytest.approx((3.06 + 3.06 + 3.08) / 3) and found.groups[1].deviation is None
    assert run(["compare", *names]) == 0
    out = capsys.readouterr().out
    assert "over 2 seeds" in out and "over 3 seeds" not in out and "nobody knows whether that is chance" in out


def test_a_run_without_the_figure_is_named(capsys: Capture) -> None:
    made_run(Path("runs/a"), lines=[line_of(10, 3.0)])
    names = seeds("b", [2.9])
    assert run(["compare", "a", *names]) == 0
    out = capsys.readouterr().out
    assert "\n\na: no val loss to compare\n\n" in out and "\n\n\n" not in out


def test_the_seeds_that_are_needed_are_the_fewest_that_tell() -> None:
    names = seeds("a", [3.0, 3.1]) + seeds("b", [2.95, 3.03], weight_decay=0.2)
    (verdict,) = compare(names).verdicts
    first, second = statistics.stdev([3.0, 3.1]), statistics.stdev([2.95, 3.03])

    def chance(count: int) -> float:
        return welch(_spread(0, first, count), _spread(verdict.difference, second, count))

    assert verdict.seeds is not None and chance(verdict.seeds) < SURE <= chance(verdict.seeds - 1)
    for count in range(2, 9):
        made = _spread(1.5, 0.3, count)
        assert len(made) == count and statistics.mean(made) == pytest.approx(1.5)
        assert statistics.stdev(made) == pytest.approx(0.3)


def test_a_run_a_side_is_no_evidence(capsys: Capture) -> None:
    names = seeds("a", [3.0]) + seeds("b", [2.9], weight_decay=0.2)
    assert run(["compare", *names]) == 0
    assert "nobody knows whether that is chance" in capsys.readouterr().out


def test_what_was_spent_is_made_equal(capsys: Capture) -> None:
    made_run(Path("runs/a"), 40, flops_per_token=1e6)
    made_run(Path("runs/b"), 20, lift=0.5, config={"model": {"n_layers": 3}}, flops_per_token=4e6)
    found = compare(["a", "b"])
    at_20 = 2.1 + 3 * math.exp(-20 / 9)
    assert found.equal["tokens"].place == 1280 and found.equal["tokens"].values[0] == pytest.approx(at_20)
    assert found.equal["time"].place == pytest.approx(2.0)
    # a's 2,560 tokens cost as much as 640 of b's: there b is at its tenth step, and a at its end
    assert found.equal["flops"].place == pytest.approx(2560e6)
    assert found.equal["flops"].values == [found.finals["val_loss"][0], pytest.approx(2.6 + 3 * math.exp(-10 / 9))]
    assert run(["compare", "a", "b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["equal"]["tokens"]["place"] == 1280


def test_other_tokenizers_are_compared_by_bits_per_byte(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    made_run(Path("runs/a"))
    made_run(Path("runs/b"), lift=0.5)
    monkeypatch.setattr(
        "pylm.runs.compare.identity", lambda run: {"tokenizer": run.name, "data": None, "soup": None, "init_from": None}
    )
    assert run(["compare", "a", "b"]) == 0
    out = capsys.readouterr().out
    assert "compared by bits a byte: their tokenizers differ" in out and "+0.5000" not in out.split("bits a byte at")[0]


def test_scores_and_parents_are_rows(capsys: Capture) -> None:
    for name, value in (("a", 0.25), ("b", 0.5)):
        path = made_run(Path("runs", name))
        record = {"task": "hellaswag", "metric": "acc", "value": value, "stderr": 0.01}
        (path / "evaluations.jsonl").write_text(json.dumps({**record, "value": 9.0}) + "\n" + json.dumps(record) + "\n")
    assert run(["compare", "a", "b"]) == 0
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    assert ["hellaswag acc", "0.2500 ± 0.0100", "0.5000 ± 0.0100"] in [
        [c.strip() for c in row if c.strip()] for row in rows
    ]


def judged(path: Path, nats: Any, tokens: Any, *, data: str = "d", time: str = "1", bytes_: int = 30) -> None:
    """An evaluation by documents, as pylm eval keeps it."""
    count = len(nats)
    keys, sizes = np.arange(count), np.full(count, bytes_)
    keep_documents(path, f"s{data}{time}", Documents(data, "val.txt", "step_9", time, keys, np.array(nats), tokens,
                                                     np.array(nats), sizes))  # fmt: skip


def test_losses_are_compared_by_pairs_of_documents(capsys: Capture) -> None:
    random = np.random.default_rng(0)
    tokens = random.integers(5, 50, 400)
    base = random.normal(3, 1.0, 400) * tokens  # documents differ by far more than the runs do
    for name, nats in (("a", base), ("b", base - 0.02 * tokens + random.normal(0, 0.1, 400)), ("c", base)):
        made_run(Path("runs", name), lift=0.1 * (name == "b"))
        judged(Path("runs", name), nats, tokens)
    judged(Path("runs/b"), base + 99, tokens, data="other")
    judged(Path("runs/a"), base + 99, tokens, time="0")  # an older one
    found = {one.run.name: one for one in compare(["a", "b", "c"]).paired}
    assert found["b"].difference == pytest.approx(-0.02, abs=1e-3) and found["b"].documents == 400
    assert found["b"].low < found["b"].difference < found["b"].high < -0.015 and found["b"].p < 0.01
    assert found["c"][4:7] == (0, 0, 0) and found["c"].p == 1
    assert run(["compare", "a", "b", "c", "--json"]) == 0
    assert [one["run"] for one in json.loads(capsys.readouterr().out)["paired"]] == ["runs/b", "runs/c"]
    assert run(["compare", "a", "b"]) == 0
    assert "b is -0.02" in (out := capsys.readouterr().out) and "on the same 400 documents of val.txt" in out


def test_other_tokens_are_paired_by_their_bytes_and_other_documents_not_at_all() -> None:
    for number, name in enumerate("abcd"):
        made_run(Path("runs", name))
        data, bytes_ = "other" if name == "c" else "d", 31 if name == "d" else 30
        judged(Path("runs", name), [30.0 + number, 60.0], np.array([3 + number, 4]), data=data, bytes_=bytes_)
    (one,) = compare(["a", "b", "c", "d"]).paired
    assert one.run.name == "b" and one.metric == "bits_per_byte"
    assert one.difference == pytest.approx(1 / (60 * math.log(2)))


def test_a_damaged_file_of_documents_is_named(capsys: Capture) -> None:
    for name in "ab":
        made_run(Path("runs", name))
        judged(Path("runs", name), [1.0, 2.0], np.array([3, 4]))
    (path,) = Path("runs/b/documents").iterdir()
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"text"):
        path.write_bytes(damaged)
        assert run(["compare", "a", "b"]) == 1 and f"{path} is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["a"], ["a", "a"]])
def test_one_run_is_no_comparison(words: list[str], capsys: Capture) -> None:
    made_run(Path("runs/a"))
    assert run(["compare", *words]) == 2 and "takes two runs or more" in capsys.readouterr().err
