"""What trackers get: tables and files of events read back by somebody else's rules, services by the calls they hear."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pylm.runs import RunFolder
from pylm.runs.crc32c import crc32c, masked
from pylm.runs.trackers import FINISHED
from pylm.runs.trackers.event_file import EventFile
from pylm.runs.trackers.figures import figures
from pylm.runs.trackers.sender import Sender
from tests.runs.made import line_of, made_run
from tests.runs.trackers.stubs import calls, plant


def sent(run: Path, tracker: str) -> list[tuple[str, Any]]:
    """Send a run in this process, and return what was said."""
    said: list[tuple[str, Any]] = []
    sender = Sender(run, tracker, 0.01, lambda name, **what: said.append((name, what)))
    sender.end(FINISHED)
    sender.run()
    assert not sender.failure, sender.failure
    return said


def table(run: Path) -> list[dict[str, str]]:
    with (run / "trackers" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = made_run(tmp_path / "a", 20)
    (run / "trackers").mkdir()
    (run / "samples.jsonl").write_text(json.dumps({"step": 10, "prompt": "Once", "text": " upon"}) + "\n")
    (run / "incidents.jsonl").write_text(json.dumps({"step": 7, "kind": "spike", "loss": 9.5}) + "\n")
    return run


def test_a_table_has_every_number_of_every_line(run: Path) -> None:
    sent(run, "csv")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = table(run)
    assert len(rows) == len(lines) == 22
    for row, line in zip(rows, lines, strict=True):
        plain = {
            **{k: v for k, v in line.items() if k != "phase"},
            **{f"phase.{k}": v for k, v in line.get("phase", {}).items()},
        }
        assert {key: float(value) for key, value in row.items() if value} == plain


def test_what_was_not_finite_is_nan_and_what_nobody_knows_is_empty(tmp_path: Path) -> None:
    run = made_run(tmp_path / "a", lines=[line_of(1, None, mfu=None, clock=[[0, 1, 2]], suite="quick")])
    (run / "trackers").mkdir()
    sent(run, "csv")
    (row,) = table(run)
    assert (row["loss"], row["step"]) == ("nan", "1") and "mfu" not in row and "clock" not in row


def test_a_table_is_right_after_a_kill_between_a_row_and_its_place(run: Path) -> None:
    sent(run, "csv")
    place = (run / "trackers" / "csv.json").read_text()
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line_of(21, 2.0, more=4)) + "\n")
    sent(run, "csv")
    whole = table(run)
    (run / "trackers" / "csv.json").write_text(place)  # as if it had not been written down
    with (run / "trackers" / "metrics.csv").open("a") as file:
        file.write("22,13")  # and half a row more had been
    sent(run, "csv")
    assert table(run) == whole and len(whole) == 23 and whole[-1]["more"] == "4"


def test_a_table_follows_a_run_that_goes_back(run: Path) -> None:
    sent(run, "csv")
    with RunFolder(run) as folder:
        folder.cut_back(15)
        folder.metrics.append(line_of(16, 7.0))
    sent(run, "csv")
    rows = table(run)
    assert [row["step"] for row in rows if row["lr"]] == [str(step) for step in range(1, 17)]
    assert rows[-1]["loss"] == "7.0" and len(rows) == 17


@pytest.mark.parametrize(
    ("content", "checksum"),  # RFC 3720, B.4
    [(b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)],
)
def test_checksums_are_those_of_the_standard(content: bytes, checksum: int) -> None:
    assert crc32c(content) == checksum


def test_a_checksum_is_masked_as_every_file_of_events_begins() -> None:
    assert masked(crc32c(struct.pack("<Q", 24))) == 0x224B7FA3  # 18 00 … 00, then a3 7f 4b 22, in any of them


def events(path: Path) -> Iterator[bytes]:
    """The events of a file, each record's checksums compared."""
    content = path.read_bytes()
    while content:
        (length,), crc = struct.unpack("<Q", content[:8]), struct.unpack("<I", content[8:12])[0]
        event, check = content[12 : 12 + length], struct.unpack("<I", content[12 + length : 16 + length])[0]
        assert crc == masked(crc32c(content[:8])) and check == masked(crc32c(event))
        yield event
        content = content[16 + length :]


def test_events_are_in_frames_and_hold_their_step_and_value(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.scalars(300, {"train/loss": 2.5})
    file.close()
    (path,) = tmp_path.iterdir()
    first, second = events(path)
    assert b"brain.Event:2" in first
    # by hand from event.proto: field 1 a double, field 2 the step 300, field 5 { field 1 { 1: the tag, 2: a float } }
    value = b"\x0a\x0atrain/loss" + b"\x15" + struct.pack("<f", 2.5)
    assert second[9:] == b"\x10\xac\x02" + b"\x2a\x13" + b"\x0a\x11" + value
    assert second[:1] == b"\x09"


def test_names_are_grouped_as_dashboards_group_them() -> None:
    assert figures(line_of(3, 2.0)) == {
        "tokens": 192, "seconds": 0.3, "train/loss": 2.0, "train/lr": 1e-3, "train/grad_norm": 0.5,
        "train/tokens_per_second": 640.0, "train/mfu": 0.25, "system/memory": 1 << 20, "time/data": 0.25,
        "time/forward": 0.5, "time/backward": 1.0,
    }  # fmt: skip
    evaluated = {"step": 3, "tokens": 192, "val_loss": 2.0, "accuracy": 0.5, "average_val_loss": 1.9}
    assert figures(evaluated) == {"tokens": 192, "val/loss": 2.0, "val/accuracy": 0.5, "val/average_loss": 1.9}
    asked = {"step": 3, "suite": "quick", "metrics": {"arc": "acc"}, "tasks": {"arc": 0.25}, "means": {"acc": 0.25}}
    assert figures(asked) == {"suite/arc": 0.25, "suite/mean/acc": 0.25}


def test_weights_and_biases_hear_steps_as_a_figure_and_one_id(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = plant("wandb", run.parent, monkeypatch)
    monkeypatch.setenv("WANDB_API_KEY", "one")
    sent(run, "wandb:mine")
    heard = calls(log)
    (init,) = [one for one in heard if one["call"] == "init"]
    assert (init["project"], init["name"], init["mode"], init["resume"]) == ("mine", "a", "online", "allow")
    assert init["config"]["train.max_steps"] == 20
    assert [one["args"] for one in heard if one["call"] == "define_metric"] == [["step"], ["*", "step"]]
    logged = [one["values"] for one in heard if one["call"] == "log"]
    assert [one["step"] for one in logged if "train/loss" in one] == list(range(1, 21))
    assert all(one["step_given"] is None for one in heard if one["call"] == "log"), "W&B drops a step that goes back"
    assert [one["title"] for one in heard if one["call"] == "alert"] == ["spike at step 7"]
    assert heard[-1] == {"call": "finish", "exit_code": 0}
    with RunFolder(run) as folder:
        folder.cut_back(15)
        folder.metrics.append(line_of(16, 7.0))
    sent(run, "wandb:mine")
    (again,) = [one for one in calls(log)[len(heard) :] if one["call"] == "init"]
    assert again["id"] == init["id"]
    assert [one["values"]["step"] for one in calls(log)[len(heard) :] if one["call"] == "log"] == [16]


def test_without_a_key_it_is_offline_and_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = plant("wandb", run.parent, monkeypatch)
    said = sent(run, "wandb")
    assert said == [("wandb", {"note": "it is offline; to send it: wandb sync SYNC"})]
    (init,) = [one for one in calls(log) if one["call"] == "init"]
    assert (init["mode"], init["resume"], init["project"]) == ("offline", None, "pylm")


def test_trackio_hears_each_figure_at_its_step(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = plant("trackio", run.parent, monkeypatch)
    sent(run, "trackio")
    heard = calls(log)
    init = heard[0]
    assert (init["project"], init["resume"], init["name"][:2]) == ("pylm", "allow", "a-")
    assert [one["step_given"] for one in heard if "train/loss" in one.get("values", ())] == list(range(1, 21))
    sent(run, "trackio")
    assert calls(log)[len(heard)]["name"] == init["name"]
    assert [one["call"] for one in calls(log)[len(heard) :]] == ["init", "finish"], "nothing is sent again"


def test_mlflow_hears_batches_it_takes_and_times_that_repeat(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(json.dumps(line_of(step, 1.0)) + "\n" for step in range(1, 251))
    (run / "metrics.jsonl").write_text(lines)
    log = plant("mlflow", run.parent, monkeypatch)
    sent(run, "mlflow:trials")
    heard = calls(log)
    batches = [one["metrics"] for one in heard if one["call"] == "log_batch" and one["metrics"]]
    assert max(map(len, batches)) <= 1000 and sum(map(len, batches)) == 250 * 11
    assert ["train/loss", 1.0, 1_000_000 + 100, 1] in batches[0], "a line has the time that it was written at"
    assert max(len(one["params"]) for one in heard if one["call"] == "log_batch") <= 100
    assert heard[-1] == {"call": "set_terminated", "status": "FINISHED"}
    assert [one["name"] for one in heard if one["call"] == "create_experiment"] == ["trials"]
