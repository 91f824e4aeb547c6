"""What trackers write of a run is read back as that run: the same figures at the same steps."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from pylm.runs.history import EVALUATED, History
from pylm.runs.readers.opening import open_runs
from pylm.runs.trackers import FINISHED
from pylm.runs.trackers.sender import Sender
from tests.runs.made import line_of, made_run

PLACES = {"csv": "csv:{}/trackers/metrics.csv", "tensorboard": "tb:{}/trackers/tensorboard"}
FIGURES = ("loss", "val_loss", "bits_per_byte", "lr", "grad_norm", "tokens_per_second", "mfu", "memory")


def sent(run: Path, tracker: str) -> History:
    (run / "trackers").mkdir(exist_ok=True)
    sender = Sender(run, tracker, 0.01, lambda name, **what: None)
    sender.end(FINISHED)
    sender.run()
    assert not sender.failure, sender.failure
    (read,) = open_runs([PLACES[tracker].format(run)])
    return History(read)


def is_same(read: History, run: History) -> None:
    for x in ("steps", "tokens", "time"):
        for metric in FIGURES:
            one, two = (each.curve(metric, x, columns=9999) for each in (read, run))
            assert one.x == pytest.approx(two.x) and one.y == pytest.approx(two.y, rel=1e-6, nan_ok=True), (metric, x)
    assert {metric for metric in EVALUATED if metric in read.keys} == {"val_loss", "bits_per_byte"}


@pytest.mark.parametrize("tracker", PLACES)
def test_what_was_sent_comes_back(tmp_path: Path, tracker: str) -> None:
    run = made_run(tmp_path / "a", 40)
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line_of(41, None)) + "\n")
    read = sent(run, tracker)
    is_same(read, History(run))
    assert math.isnan(read.curve("loss", columns=99).y[-1])


@pytest.mark.parametrize("tracker", PLACES)
def test_what_was_sent_of_a_resumed_run_comes_back_as_it_went_on(tmp_path: Path, tracker: str) -> None:
    run = made_run(tmp_path / "a", 40)
    sent(run, tracker)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [line for line in lines if line["step"] <= 25]
    removed = [line for line in lines if line["step"] > 25]
    text = "".join(json.dumps(line) + "\n" for line in kept)
    resume = {"step": 25, "time": "now", "removed": removed, "kept": {"metrics.jsonl": len(text)}}
    (run / "resumes.jsonl").write_text(json.dumps(resume) + "\n")
    more = "".join(json.dumps(line_of(step, 1.0)) + "\n" for step in range(26, 31))
    (run / "metrics.jsonl").write_text(text + more)  # it ends before the next evaluation
    is_same(sent(run, tracker), History(run))
