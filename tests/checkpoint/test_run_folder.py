"""Which checkpoint a name means, and which ones stay."""

import json
import os
from pathlib import Path

import pytest

from pylm import checkpoint
from pylm.errors import CheckpointError
from tests.checkpoint.test_directory import make


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs: `old` (steps 1, 2, 3; best 2, last 3) and `new` (step 10, nothing pointed at), and one without any."""
    folder = tmp_path / "runs"
    for step in (1, 2, 3):
        os.utime(make(folder / "old", step), (step, step))
    checkpoint.point(folder / "old", "best", 2)
    checkpoint.point(folder / "old", "last", 3)
    make(folder / "new", 10)
    (folder / "unborn").mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "run", "step"),
    [
        ("{runs}/old", "old", 2),
        ("{runs}/old/best", "old", 2),
        ("{runs}/old/last", "old", 3),
        ("{runs}/old/step_1", "old", 1),
        ("{runs}/old/checkpoints/step_1", "old", 1),
        ("{runs}/new", "new", 10),
        ("step_10", "new", 10),
        (None, "new", 10),
    ],
)
def test_one_grammar(runs: Path, name: str | None, run: str, step: int) -> None:
    found = checkpoint.find(name.format(runs=runs) if name else None, runs)
    assert found == runs / run / "checkpoints" / f"step_{step}"


@pytest.mark.parametrize(
    ("name", "complaint", "hint"),
    [
        ("{runs}/old/step_9", "old has no checkpoint step_9", "it has step_1, step_2, step_3"),
        ("best", "new has no checkpoint best", "it has step_10"),
        ("{runs}/odl", "no checkpoint at", "did you mean {runs}/old"),
        ("{runs}/unborn", "holds no checkpoint", None),
        ("elsewhere", "no checkpoint at elsewhere", "there is {runs}/new, {runs}/old"),
    ],
)
def test_a_name_that_means_nothing(runs: Path, name: str, complaint: str, hint: str | None) -> None:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.find(name.format(runs=runs), runs)
    assert complaint in caught.value.message
    assert (caught.value.hint or "").startswith(hint.format(runs=runs) if hint else "")


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run with a checkpoint under"):
        checkpoint.find(None, tmp_path / "runs")


def test_best_last_and_the_newest_stay(runs: Path) -> None:
    for step in (4, 5, 6):
        make(runs / "old", step)
    assert checkpoint.retain(runs / "old", 2) == [1, 4]
    assert checkpoint.steps(runs / "old") == [2, 3, 5, 6]


def test_nothing_goes_while_the_newest_is_damaged(runs: Path) -> None:
    weights = runs / "old" / "checkpoints" / "step_3" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="step_3/model.safetensors is damaged"):
        checkpoint.retain(runs / "old", 1)
    assert checkpoint.steps(runs / "old") == [1, 2, 3]
    newest = checkpoint.newest_sound(runs / "old")
    assert newest is not None and newest.name == "step_2"


@pytest.mark.parametrize(
    "junk", ["", "step_", "step_x", "step_9", "step_" + "9" * 5000, "\0", "step_02", "step_2\nstep_3"]
)
def test_a_file_that_names_no_checkpoint_is_no_name(runs: Path, junk: str) -> None:
    (runs / "new" / "checkpoints" / "best").write_text(junk)
    assert checkpoint.find(str(runs / "new")).name == "step_10"


def test_folders_that_are_no_steps_are_none(runs: Path) -> None:
    for name in ("step_07", "step_٣", "step_", "step_1x", "step_" + "9" * 200, "step_5\n"):
        (runs / "new" / "checkpoints" / name).mkdir()
    assert checkpoint.steps(runs / "new") == [10]


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a\0b", "\ud800", "", ".."])
def test_an_index_names_files_beside_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(CheckpointError, match="which is not beside it") as caught:
        checkpoint.open_weights(tmp_path).weights()
    caught.value.message.encode()


def test_a_checkpoint_that_retention_removes_meanwhile_is_no_error(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pylm.checkpoint.run_folder.steps", lambda run: [9, 10] if run.name == "new" else steps(run))
    steps = checkpoint.steps
    assert checkpoint.newest_run(runs).name == "new"
