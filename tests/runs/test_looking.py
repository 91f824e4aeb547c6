"""`pylm runs ls | show | diff | rm`: where runs stand, by their files alone, and nothing removed that is not a run."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from pylm.cli import run
from pylm.runs import RunFolder
from pylm.runs.history import History
from pylm.runs.listing import list_runs, standing
from tests.runs.made import line_of, made_run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_ls_says_where_each_run_stands(capsys: Capture) -> None:
    made_run(Path("runs/first"), 40)
    made_run(Path("runs/second"), 20, lift=1)
    Path("runs/notes").mkdir()
    for name, time in (("first", 2000), ("second", 1000)):
        os.utime(f"runs/{name}/metrics.jsonl", (time, time))
    checkpoint = Path("runs/first/checkpoints/step_40")
    checkpoint.mkdir(parents=True)
    (checkpoint.parent / "last").write_text("step_40\n")
    (checkpoint / "state.json").write_text(json.dumps({"progress": {"finished": 'all "40" steps'}}, indent=1))
    assert run(["runs", "ls"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:5] for row in rows[1:]] == [
        ["second", "stopped", "20", "1.28k", "3.3251"],
        ["first", "finished", "40", "2.56k", "2.0352"],
    ]
    with RunFolder(Path("runs/second")):
        states = {one.path.name: (one.state, one.why, one.val_loss) for one in list_runs(Path("runs"))}
    assert states["second"][0] == "training"
    assert states["first"] == ("finished", 'all "40" steps', pytest.approx(2.1352, abs=1e-4))
    assert run(["runs", "ls", "--json"]) == 0
    assert [one["step"] for one in json.loads(capsys.readouterr().out)["runs"]] == [20, 40]


@pytest.mark.parametrize("end", ['{"step": 2, "lo', '{"step": 2, "loss": tor}\n', "[" * 99_999 + '"loss"\n'])
def test_a_last_line_that_is_half_written_or_damaged_stops_no_listing(end: str) -> None:
    path = made_run(Path("runs/a"), lines=[line_of(1, 3.5)])
    with (path / "metrics.jsonl").open("a") as file:
        file.write(end)
    assert standing(path).loss in (3.5, None)


def test_bad_names_are_answered_with_the_nearest(capsys: Capture) -> None:
    made_run(Path("runs/first"))
    Path("empty").mkdir()
    Path("runs/no-run").mkdir()
    for words, sentence, hint in [
        (["runs", "show", "frist"], "there is no run frist", "did you mean first?"),
        (["runs", "show", "runs/frist"], "there is no run runs/frist", "did you mean runs/first?"),
        (["runs", "show", "empty"], "empty is no run", "pylm runs ls"),
        (["runs", "show", "no-run"], "runs/no-run is no run", "pylm runs ls"),
        (["runs", "ls", "nowhere"], "nowhere: no such folder", "runs/"),
        (["runs", "ls", "empty"], "there is no run in empty", "pylm train my.txt"),
    ]:
        assert run(words) == 2
        error = capsys.readouterr().err
        assert sentence in error and hint in error and error.count("\n") == 2


def test_show_says_what_a_run_came_to(capsys: Capture) -> None:
    made_run(Path("runs/a"))
    assert run(["runs", "show"]) == 0
    out = capsys.readouterr().out
    assert "runs/a, stopped" in out and "40 steps, 2.56k tokens" in out and "the best 2.1352 at step 40" in out
    assert "time        backward 57%, forward 29%, data 14%" in out
    assert run(["runs", "show", "a", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["phases"] == {"data": 10.0, "forward": 20.0, "backward": 40.0} and facts["best_step"] == 40


def test_diff_names_keys_values_and_where_they_came_from(capsys: Capture) -> None:
    made_run(Path("runs/a"), origins={"train.max_steps": "--max-steps"})
    made_run(Path("runs/b"), 20, config={"model": {"n_layers": 3}})
    assert run(["runs", "diff", "a", "b"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines()[1:]}
    assert rows.keys() == {"model.n_layers", "train.max_steps"} and rows["model.n_layers"].endswith(
        "(default) 3 (given)"
    )
    assert rows["train.max_steps"] == "40 (--max-steps) 20 (given)"
    assert run(["runs", "diff", "a", "a"]) == 0 and "have the same" in capsys.readouterr().out


def test_rm_asks_and_removes_runs_alone(capsys: Capture) -> None:
    for name in "abc":
        made_run(Path("runs", name))
    assert run(["runs", "rm", "a"]) == 2 and "say so with --yes" in capsys.readouterr().err
    Path("runs/b/thesis.txt").touch()
    assert run(["runs", "rm", "a", "b", "--yes"]) == 2  # and nothing is removed where one is refused
    assert "what pylm did not make: thesis.txt" in capsys.readouterr().err and Path("runs/a").exists()
    with RunFolder(Path("runs/c")):
        assert run(["runs", "rm", "c", "--yes"]) == 2
        assert f"in use by process {os.getpid()}" in capsys.readouterr().err
    Path("link").symlink_to("runs/a")
    assert run(["runs", "rm", "link", "--yes"]) == 2 and "is a link" in capsys.readouterr().err
    Path("data").mkdir()
    Path("data/metrics.jsonl").touch()
    assert run(["runs", "rm", "data", "--yes"]) == 2 and "pylm did not make it" in capsys.readouterr().err
    assert run(["runs", "rm", "a", "c", "--yes"]) == 0
    assert sorted(os.listdir("runs")) == ["b"] and Path("data").exists()


def test_a_resume_keeps_what_it_takes_back(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a", lines=[line_of(step, step / 2) for step in range(1, 7)])
    with RunFolder(path) as folder:
        assert folder.cut_back(4) == 2
        folder.metrics.append(line_of(5, 9.0))
    with RunFolder(path) as folder:
        folder.cut_back(5)
    history = History(path)
    assert history.cuts() == [4, 5] and history.cuts("tokens") == [256, 320]
    assert history.curve("loss", columns=9).y == [0.5, 1.0, 1.5, 2.0, 9.0]
    assert [(curve.x, curve.y) for curve in history.taken_back("loss", "tokens", 9)] == [([320, 384], [2.5, 3.0])]


def test_a_value_of_the_runs_own_file_keeps_the_origin_that_it_had(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with RunFolder(path) as folder:
        folder.environment({"origins": {"train.max_steps": "--max-steps", "train.seed": "mine.yaml:3"}})
        (path / "metrics.jsonl").write_text("{}\n")
        own = {key: f"{path}/config.yaml:7" for key in ("train.max_steps", "train.seed")}
        folder.environment({"origins": {**own, "train.seed": "--seed"}})
        noted = json.loads((path / "environment.json").read_text())
    assert noted["origins"] == {"train.max_steps": "--max-steps", "train.seed": "--seed"}


def test_looking_takes_no_lock_from_whoever_trains(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a")
    standing(path)
    with (path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
