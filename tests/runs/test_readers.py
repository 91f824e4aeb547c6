"""Runs of other tools: their files, by plain writers and as their own packages wrote them, become what a run gives."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.cli import run
from pylm.errors import DataError, PylmError, UsageError
from pylm.runs.compare import compare
from pylm.runs.crc32c import row_sums
from pylm.runs.history import History
from pylm.runs.readers.logged import Logged
from pylm.runs.readers.opening import open_runs
from tests.runs import written
from tests.runs.made import made_run

FIXTURES = Path(__file__).parent / "fixtures"
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_DIR", "WANDB_API_KEY", "TRACKIO_DIR", "PYLM_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def opened(name: str, x: str | None = None) -> Logged:
    (one,) = open_runs([name], x)
    assert isinstance(one, Logged)
    return one


def points(one: Logged, metric: str, over: str = "step") -> list[tuple[float, float]]:
    x, y = one.metrics().points(metric, over)
    return list(zip(x.tolist(), y.tolist(), strict=True))


# TensorBoard


def test_the_checksum_is_castagnolis() -> None:
    assert written.crc32c(b"123456789") == 0xE3069283  # RFC 3720's own check
    rows = np.random.default_rng(1).integers(0, 256, (50, 23), np.uint8)
    assert row_sums(rows).tolist() == [written.crc32c(row.tobytes()) for row in rows]


def test_what_tensorboard_itself_wrote_is_read() -> None:
    one = opened(f"tb:{FIXTURES / 'tensorboard'}")  # simple values, tensors, a text and a histogram
    assert points(one, "loss") == [(step, pytest.approx(3 / step)) for step in range(1, 21)]
    assert points(one, "val_loss") == [(step, pytest.approx(3.5 / step)) for step in (5, 10, 15, 20)]
    assert points(one, "loss", "seconds")[-1][0] == 9.5 and set(one.metrics().keys) == {
        *("loss", "val_loss", "seconds", "step"),
    }


def test_event_files_of_a_run_are_read_in_order_and_a_resume_is_one_line() -> None:
    tensor = written.number(1, 2) + written.content(4, struct.pack("<d", 0.25))  # a double
    first = [written.event(step, 100.0 + step, "train/loss", 4.0 / step) for step in range(1, 9)]
    second = [written.event(step, 200.0 + step, "train/loss", 2.0 / step) for step in range(6, 11)]
    second.append(written.event(10, 210.0, "accuracy", tensor))
    second.append(written.event(3, 210.0, "epoch/accuracy", 0.5))  # of another count: it takes nothing back
    written.events_file(Path("logs/a/events.out.tfevents.20.host"), second)
    written.events_file(Path("logs/a/events.out.tfevents.9.host"), first)
    one = opened("tb:logs/a")
    assert points(one, "loss") == [(step, pytest.approx((4 if step < 6 else 2) / step)) for step in range(1, 11)]
    assert points(one, "accuracy") == [(10, 0.25)] and points(one, "epoch/accuracy") == [(3, 0.5)]
    history = History(one)
    assert history.cuts() == [6]
    assert history.taken_back("loss", "steps", 100)[0].x == [6, 7, 8]


def test_a_writer_that_begins_anew_takes_back_what_it_had_written() -> None:
    again = written.number(2, 4) + written.content(7, written.number(1, 1))  # a session log: START at step 4
    events = [written.event(step, 1.0, "loss", step) for step in range(1, 7)]
    events += [written.event(step, 1.0, "val_loss", step) for step in range(1, 5)]
    written.events_file(Path("logs/events.out.tfevents.1.h"), [*events, again, written.event(4, 1.0, "loss", 9.0)])
    one = opened("tb:logs")
    assert points(one, "loss") == [(1, 1), (2, 2), (3, 3), (4, 9)]
    assert points(one, "val_loss") == [(1, 1), (2, 2), (3, 3)]  # it was not evaluated again
    assert [line["step"] for line in one.resumes[0]["removed"]] == [4, 5, 6]


def test_each_folder_of_event_files_is_a_run() -> None:
    for name, value in (("a", 1.0), ("b/deep", 2.0)):
        written.events_file(Path("logs", name, "events.out.tfevents.1.h"), [written.event(1, 5.0, "loss", value)])
    assert [str(one.path) for one in open_runs(["tb:logs"]) if isinstance(one, Logged)] == [
        "tb:logs/a",
        "tb:logs/b/deep",
    ]
    assert run(["plot", "tb:logs", "--out", "a.svg"]) == 0 and "deep" in Path("a.svg").read_text()


def test_a_damaged_event_file_is_named_and_one_that_grows_is_read() -> None:
    path = written.events_file(
        Path("logs/events.out.tfevents.1.h"), [written.event(step, 1.0, "loss", step) for step in range(1, 30)]
    )
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert len(points(opened("tb:logs"), "loss")) == 28
    for at in (5, 8, 40, 100, 101, len(whole) - 20):  # 5: a length that no file has
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(DataError, match="tfevents.1.h is damaged"):
            open_runs(["tb:logs"])


# W&B


def test_what_wandb_itself_wrote_is_read() -> None:
    one = opened(f"wandb:{FIXTURES / 'wandb' / 'run-fixture1.wandb'}")  # define_metric("*", step_metric="step")
    losses = points(one, "loss")
    assert [x for x, _ in losses] == list(range(10, 201, 10)) and math.isnan(losses.pop(6)[1])
    assert losses == [(10 * step, 3 / step) for step in range(1, 21) if step != 7]
    assert points(one, "val_loss") == [(50, 0.7), (100, 0.35), (150, 3.5 / 15), (200, 0.175)]
    assert points(one, "grad.norm")[-1] == (200, 10.0) and one.config == {"lr": 0.1, "model.width": 64, "seed": 3}


def wandb_records(run: str = "abc123", steps: int = 40, config: dict[str, Any] | None = None) -> list[bytes]:
    rows = [{"train/loss": 3 / step, "_step": step, "_runtime": step / 2, "note": "x"} for step in range(1, steps + 1)]
    rows[-1] |= {"val/loss": 2.5, "grad": {"norm": 0.5}, "lr": "NaN"}
    default = {"lr": 0.1, "model": {"width": 64}, "_wandb": {"cli_version": "1"}}
    return [
        written.wandb_run(run, default if config is None else config),
        *(written.history(number, values) for number, values in enumerate(rows)),
    ]


def offline(run: str = "abc123", when: str = "20260101_000000", **more: Any) -> Path:
    return written.wandb_file(Path(f"wandb/offline-run-{when}-{run}/run-{run}.wandb"), wandb_records(run, **more))


def test_an_offline_file_of_wandb_is_read_by_id_by_file_and_by_folder() -> None:
    path = offline()
    for name in ("wandb:abc123", f"wandb:{path}", f"wandb:{path.parent}", "wandb:me/project/abc123"):
        one = opened(name)
        assert points(one, "loss") == [(step, 3 / step) for step in range(1, 41)]
        assert points(one, "val_loss") == [(40, 2.5)] and points(one, "grad.norm") == [(40, 0.5)]
        assert points(one, "loss", "seconds")[0][0] == 0.5 and math.isnan(points(one, "lr")[0][1])
        assert one.config == {"lr": 0.1, "model.width": 64}


def test_records_across_blocks_and_a_torn_end() -> None:
    long = [written.history(step, {"loss": 1.0 / step, "text": "w" * (step * 701 % 70_000)}) for step in range(1, 120)]
    path = written.wandb_file(Path("a.wandb"), long)
    assert path.stat().st_size > 60 * 32768
    expected = [(step, 1 / step) for step in range(1, 120)]
    assert points(opened("wandb:a.wandb"), "loss") == expected
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert points(opened("wandb:a.wandb"), "loss") == expected[:-1]
    path.write_bytes(whole[:40_000] + bytes([whole[40_000] ^ 1]) + whole[40_001:])
    with pytest.raises(DataError, match=r"a\.wandb is damaged: its record at byte 39,084"):
        opened("wandb:a.wandb")


def test_the_step_is_the_metric_that_define_metric_named() -> None:
    metric = written.content(12, written.content(2, "*") + written.content(4, "batches"))
    lines = [written.history(number, {"batches": 10 * number, "loss": 1.0}) for number in range(3)]
    nested = written.history(3, {"phase/data": 7.0}, nested=True)
    written.wandb_file(Path("a.wandb"), [metric, *lines, nested])
    one = opened("wandb:a.wandb")
    assert [x for x, _ in points(one, "loss")] == [0, 10, 20]
    assert points(one, "phase.data") == [(3, 7.0)]


def test_segments_of_a_resumed_run_are_one() -> None:
    offline(steps=10)
    second = [written.history(0, {"_step": step, "train/loss": 9.0, "_runtime": 100.0 + step}) for step in range(8, 13)]
    written.wandb_file(Path("wandb/offline-run-20260102_000000-abc123/run-abc123.wandb"), second)
    one = opened("wandb:abc123")
    assert [y for _, y in points(one, "loss")][6:] == [3 / 7, *[9.0] * 5] and History(one).cuts() == [8]


def test_a_run_of_ours_that_was_sent_to_wandb_comes_first() -> None:
    offline()
    path = made_run(Path("runs/mine"))
    (path / "trackers" / "wandb" / "offline-run-20260101_000000-earlier").mkdir(parents=True)
    (path / "trackers" / "wandb.json").write_text(json.dumps({"offset": 9, "id": "abc123"}))
    assert open_runs(["wandb:abc123"]) == open_runs(["wandb:earlier"]) == [path]


def test_the_service_is_asked_last(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"_step": 1, "_timestamp": 5.0, "train/loss": 2.0}, {"_step": 2, "_timestamp": 6.5, "train/loss": 1.5}]
    asked = []

    class Api:
        def run(self, name: str) -> Any:
            asked.append(name)
            return types.SimpleNamespace(config={"lr": 1, "_wandb": {}}, scan_history=lambda: iter(rows))

    package = types.ModuleType("wandb")
    package.Api = Api  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", package)
    with pytest.raises(UsageError, match="its service asks for a key"):
        open_runs(["wandb:me/p/abc123"])
    monkeypatch.setenv("WANDB_API_KEY", "k")
    one = opened("wandb:me/p/abc123")
    assert asked == ["me/p/abc123"] and one.config == {"lr": 1}
    assert points(one, "loss", "seconds") == [(0.0, 2.0), (1.5, 1.5)]
    monkeypatch.setenv("PYLM_OFFLINE", "1")
    with pytest.raises(UsageError, match=r"neither in runs/ nor in wandb/"):
        open_runs(["wandb:me/p/abc123"])


def test_without_wandb_the_refusal_names_the_places(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert run(["plot", "wandb:nosuch"]) == 2
    error = capsys.readouterr().err
    assert "neither in runs/ nor in wandb/, and W&B is not installed" in error and "pip install wandb" in error


# trackio


def test_a_project_of_trackio_is_its_runs(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    rows = [(name, step, {"train/loss": at / step, "big": "NaN"}) for step in range(1, 61) for name, at in
            (("slow", 3.0), ("fast", 2.0))]  # fmt: skip
    written.trackio_file(Path("kept/proj.db"), rows, {"fast": {"lr": 0.2, "_Created": "now"}, "slow": {"lr": 0.1}})
    monkeypatch.setenv("TRACKIO_DIR", "kept")
    slow, fast = open_runs(["trackio:proj"])
    assert isinstance(slow, Logged) and isinstance(fast, Logged)
    assert points(slow, "loss", "seconds") == [(step - 1, 3 / step) for step in range(1, 61)]
    assert fast.config == {"lr": 0.2} and str(fast.path) == "trackio:proj/fast"
    assert opened("trackio:proj/fast").lines == fast.lines == opened("trackio:proj/fast").lines
    assert run(["compare", "trackio:proj"]) == 0
    out = capsys.readouterr().out
    assert "compared by loss: none of them was evaluated" in out and "lr" in out and "0.2 (fast)" in out
    assert run(["plot", "trackio:prog"]) == 2 and "did you mean proj?" in capsys.readouterr().err
    assert run(["plot", "trackio:proj/fats"]) == 2 and "did you mean fast?" in capsys.readouterr().err
    Path("kept/proj.db").write_bytes(b"no database at all" * 100)
    assert run(["plot", "trackio:proj"]) == 1 and "is no file of trackio" in capsys.readouterr().err


def test_two_runs_of_trackio_with_one_name_are_two() -> None:
    rows = [(name, step, {"loss": at}) for step in (1, 2) for name, at in (("a", 3.0), ("a#2", 2.0))]
    written.trackio_file(Path("proj.db"), rows, {})
    runs = [one for one in open_runs(["trackio:proj.db"]) if isinstance(one, Logged)]
    assert [points(one, "loss") for one in runs] == [[(1, 3.0), (2, 3.0)], [(1, 2.0), (2, 2.0)]]


PEERS = Path(__file__).resolve().parents[2] / ".venv" / "peers-runs" / "bin" / "python"
SEND = """import math, trackio
for name, at in (("slow", 3.0), ("fast", 2.0)):
    trackio.init(project="proj", name=name, config={"lr": at})
    for step in range(1, 6):
        trackio.log({"train/loss": at / step, "odd": math.nan}, step=step)
    trackio.finish()
"""


@pytest.mark.skipif(not PEERS.exists(), reason="trackio is not installed: make peers-runs")
def test_what_trackio_itself_wrote_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "kept"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = subprocess.run([PEERS, "-c", SEND], capture_output=True, text=True, timeout=100)
    if "No module named 'trackio'" in done.stderr:
        pytest.skip("trackio is not installed: make peers-runs")
    assert done.returncode == 0, done.stderr
    slow, fast = open_runs(["trackio:proj"])
    assert isinstance(slow, Logged) and isinstance(fast, Logged) and fast.config == {"lr": 2.0}
    assert points(slow, "loss") == [(step, 3 / step) for step in range(1, 6)] and math.isnan(points(fast, "odd")[0][1])


# tables


@pytest.mark.parametrize("head", ["step", "Step", "global_step", "iter"])
def test_a_table_has_a_column_of_steps(head: str) -> None:
    Path("a.csv").write_text(f"\ufeff{head},train_loss,val_loss,note\n1,3.0,,x\n\n2,nan,2.5,y\n4,2.0,,z\n", "utf-8")
    for name in ("a.csv", "csv:a.csv"):
        one = opened(name)
        assert [x for x, _ in points(one, "loss")] == [1, 2, 4] and math.isnan(points(one, "loss")[1][1])
        assert points(one, "val_loss") == [(2, 2.5)] and "note" not in one.metrics().keys


def test_tables_that_wandb_and_tensorboard_hand_out() -> None:
    Path("w.csv").write_text('"Step","mine - train/loss","mine - _step"\n"1","3.0","1"\n"2","2.5","2"\n')
    assert points(opened("w.csv"), "loss") == [(1, 3.0), (2, 2.5)]
    Path("t.csv").write_text("Wall time,Step,Value\n1700000000.5,1,3.0\n1700000002.5,2,2.5\n")
    assert points(opened("t.csv"), "Value", "seconds") == [(0.0, 3.0), (2.0, 2.5)]


def test_another_column_of_steps_is_named_by_x(capsys: Capture) -> None:
    Path("a.csv").write_text("batch,loss\n10,3.0\n20,2.0\n")
    assert run(["plot", "a.csv", "--out", "a.svg"]) == 2
    error = capsys.readouterr().err
    assert "a.csv has no column of steps" in error and "it has batch, loss; --x COLUMN names it" in error
    assert run(["plot", "a.csv", "--x", "batch", "--out", "a.svg"]) == 0 and Path("a.svg").is_file()
    assert run(["plot", "a.csv", "--x", "bach"]) == 2 and "did you mean batch?" in capsys.readouterr().err
    made_run(Path("runs/a"))
    assert run(["plot", "a.csv", "a", "--x", "batch"]) == 2 and "batch is no axis" in capsys.readouterr().err
    Path("a.csv").write_text("step,loss\n1,3.0\nx,2.0\n")
    assert run(["plot", "a.csv"]) == 1 and "line 3 is of no step" in capsys.readouterr().err


# all of them


def test_runs_of_several_tools_are_drawn_and_compared_together(capsys: Capture) -> None:
    made_run(Path("runs/mine"))
    offline()
    Path("a.csv").write_text("step,val_loss\n1,3.0\n20,2.0\n")
    assert run(["plot", "mine", "wandb:abc123", "a.csv", "--metrics", "train/loss,val_loss", "--out", "a.svg"]) == 0
    text = Path("a.svg").read_text()
    assert "mine training" in text and "wandb:abc123 validation" in text and "a.csv validation" in text
    found = compare(["mine", "wandb:abc123", "a.csv"])
    assert found.metric == "val_loss" and found.finals["val_loss"][1:] == [2.5, 2.0]
    assert found.finals["tokens"] == [2560, None, None] and found.finals["time"][1] == 20
    assert len(found.groups) == 3 and "tokens" not in found.equal
    capsys.readouterr()
    assert run(["compare", "mine", "wandb:abc123", "a.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == ["runs/mine", "wandb:abc123", "a.csv"]


def test_runs_of_another_tool_that_differ_in_their_seed_are_repetitions(capsys: Capture) -> None:
    for seed in range(4):
        offline(f"run{seed}", config={"lr": 0.1 if seed < 2 else 0.2, "seed": seed}, steps=40 + seed)
    found = compare([f"wandb:run{seed}" for seed in range(4)])
    assert [len(group.runs) for group in found.groups] == [2, 2] and set(found.differing) == {"lr", "seed"}


def test_a_path_wins_over_another_tools_name(capsys: Capture) -> None:
    path = made_run(Path("runs/tb:logs"))
    assert open_runs(["tb:logs"]) == open_runs(["runs/tb:logs"]) == open_runs([path]) == [path]
    Path("deep").mkdir()
    Path("deep/a.csv").write_text("step,loss\n1,3.0\n")
    assert points(opened("deep/a.csv"), "loss") == [(1, 3.0)]
    assert run(["plot", "runs/tb:lgos"]) == 2 and "did you mean runs/tb:logs?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tb:nosuch", "nosuch: no such folder"),
        ("tb:empty", "empty holds no event files"),
        ("wandb:", "wandb: names nothing"),
        ("wandb:no/such/x.wandb", "holds no file of W&B"),
        ("wandb:text.wandb", "is no offline file of W&B"),
        ("wandb:empty", "holds no file of W&B"),
        ("wandb:a*b", "names no run"),
        ("wandba:x", "did you mean wandb?"),
        ("csv:nosuch.csv", "no such file"),
        ("csv:empty", "cannot be read"),
        ("text.csv", "text.csv holds no metric yet"),
        ("trackio:nosuch", "there is no project nosuch"),
    ],
)
def test_bad_names_are_a_sentence(name: str, told: str) -> None:
    Path("empty").mkdir()
    Path("text.wandb").write_text("words")
    Path("text.csv").write_text("step,words\n1,a\n")
    with pytest.raises(PylmError) as error:
        open_runs([name])
    assert told in f"{error.value.message}; {error.value.hint}"


def test_a_metric_or_an_axis_that_is_not_there_names_those_that_are(capsys: Capture) -> None:
    offline()
    assert run(["plot", "wandb:abc123", "--metrics", "reward"]) == 2
    assert "it has loss, val_loss, grad.norm, lr" in capsys.readouterr().err
    assert run(["plot", "wandb:abc123", "--x", "tokens"]) == 2
    assert "wandb:abc123 kept no tokens" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--run_ids", "abc123,other"],
        ["--run_ids", "abc123", "other"],
        ["--run-ids", "abc123", "--run-ids", "wandb:other"],
        ["other", "--run_ids=abc123"],
    ],
)
def test_ids_of_wandb_are_taken_as_other_tools_write_them(words: list[str], capsys: Capture) -> None:
    offline()
    offline("other")
    assert run(["compare", *words]) == 0
    head = capsys.readouterr().out.splitlines()[0].split()
    assert sorted(head) == ["wandb:abc123", "wandb:other"]
    assert run(["plot", "--run_id", "abc123"]) == 0 and Path("plot.svg").is_file()
    made_run(Path("runs/abc123"))  # a run of that name here comes first
    assert run(["plot", "--run_id", "abc123"]) == 0 and Path("runs/abc123/loss.svg").is_file()
