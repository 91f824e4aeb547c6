"""The average that a checkpoint keeps: whole or absent with it, bound to it, and a CHECKPOINT by its names."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from pylm import checkpoint
from pylm.errors import CheckpointError
from tests.checkpoint.test_directory import content


def make(run: Path, step: int, last: bool = True) -> Path:
    """A checkpoint of a run that averages: the average of step n are the weights of step n + 100."""
    given = content(step)
    given["state"] |= {"average": {"kind": "mean", "steps": 2}, "progress": {"step": step}}
    average = content(step + 100)["weights"]
    path = checkpoint.write(run / "checkpoints" / f"step_{step}", **given, average=average)
    if last:
        checkpoint.point(run, "last", step)
    return path


def test_it_is_a_checkpoint_of_its_own_within(tmp_path: Path) -> None:
    path = make(tmp_path / "run", 7)
    whole, average = checkpoint.verify(path), checkpoint.verify(path / "average")
    assert {name: bytes(one.data) for name, one in average.weights().items()} == {
        name: bytes(one.data) for name, one in content(107)["weights"].items()
    }
    assert {name: bytes(one.data) for name, one in whole.weights().items()} == {
        name: bytes(one.data) for name, one in content(7)["weights"].items()
    }
    assert average.optimizer() == {} and average.config() == whole.config() and average.step == 7
    assert average.average() is None and (found := whole.average()) is not None and found.path == path / "average"
    assert (path / "average/tokenizer.json").read_bytes() == (path / "tokenizer.json").read_bytes()
    with pytest.raises(CheckpointError, match="names no progress"):
        average.check_resumable()


def test_a_run_and_its_checkpoints_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("runs/a")
    made = {step: make(run, step) / "average" for step in (3, 12)}
    for name, step in (("runs/a/average", 12), ("runs/a/last/average", 12), ("runs/a/step_3/average", 3),
                       ("runs/a/best/average", 3), ("runs/a/checkpoints/step_3/average", 3), ("average", 12),
                       ("step_3/average", 3)):  # fmt: skip
        checkpoint.point(run, "best", 3)
        assert checkpoint.find(name).resolve() == made[step].resolve(), name


def test_where_there_is_none_it_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint.write(Path("runs/a/checkpoints/step_3"), **content(3))
    for name in ("runs/a/average", "runs/a/step_3/average", "runs/a/checkpoints/step_3/average", "average"):
        with pytest.raises(CheckpointError, match="step_3 holds no average of the weights"):
            checkpoint.find(name)
    with pytest.raises(CheckpointError, match="no checkpoint at runs/b"):
        checkpoint.find("runs/b/average")
    with pytest.raises(CheckpointError, match="has no checkpoint step_5"):
        checkpoint.find("runs/a/step_5/average")
    make(Path("runs/average"), 4)  # a run may be called so
    assert checkpoint.find("runs/average").name == "step_4"
    assert checkpoint.find("runs/average/average") == Path("runs/average/checkpoints/step_4/average")


def test_every_flipped_bit_of_it_is_found_through_the_checkpoint(tmp_path: Path) -> None:
    sound = make(tmp_path / "sound", 3)
    chance = random.Random(9)
    for trial in range(30):
        broken = tmp_path / "broken"
        shutil.copytree(sound, broken)
        files = sorted((broken / "average").iterdir())
        file = files[trial % len(files)]
        data = bytearray(file.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        with pytest.raises(CheckpointError) as caught:
            checkpoint.verify(broken)
        assert str(file) in caught.value.message
        shutil.rmtree(broken)


def test_one_that_is_missing_or_another_checkpoints_is_found_when_opened(tmp_path: Path) -> None:
    first, second = make(tmp_path / "run", 3), make(tmp_path / "run", 4)
    shutil.move(first / "average", tmp_path / "kept")
    with pytest.raises(CheckpointError, match="step_3/average/manifest.json is damaged: it is missing"):
        checkpoint.read(first)
    shutil.copytree(second / "average", first / "average")
    with pytest.raises(CheckpointError, match=r"average/manifest.json is damaged: its BLAKE2b .* state.json says"):
        checkpoint.read(first)
    shutil.rmtree(first / "average")
    shutil.move(tmp_path / "kept", first / "average")
    assert checkpoint.verify(first).step == 3
    shutil.rmtree(second / "average")
    assert checkpoint.newest_sound(tmp_path / "run") == first


@pytest.mark.parametrize("field", [{"kind": "sum"}, {"steps": 0}, {"steps": "2"}, {"manifest": 5}, {"manifest": "ab"}])
def test_what_the_state_says_of_it_is_checked(tmp_path: Path, field: dict[str, Any]) -> None:
    path = make(tmp_path, 3)
    state = json.loads((path / "state.json").read_text())
    state["average"] |= field
    text = json.dumps(state)
    (path / "state.json").write_text(text)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["state.json"]["size"] = len(text)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=f"state.json is damaged: average.{next(iter(field))} is"):
        checkpoint.read(path)


@pytest.mark.parametrize("call", range(1, 20))
def test_a_full_disk_leaves_the_older_one_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    make(tmp_path, 1)
    flush, calls = os.fsync, [0]

    def full(handle: int) -> None:
        calls[0] += 1
        if calls[0] == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(handle)

    monkeypatch.setattr(os, "fsync", full)
    try:
        make(tmp_path, 2, last=False)
    except OSError as error:
        assert error.errno == errno.ENOSPC and ".partial" not in str(error.filename)
    monkeypatch.undo()
    names = {entry.name for entry in (tmp_path / "checkpoints").iterdir()} - {"last"}
    assert names in ({"step_1"}, {"step_1", "step_2"})  # the last flush comes after the rename
    for name in names:
        checkpoint.verify(tmp_path / "checkpoints" / name)
