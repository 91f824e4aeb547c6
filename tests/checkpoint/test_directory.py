"""A checkpoint is there whole or not at all: kills, full disks, flipped bits and cut files."""

import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm import checkpoint
from pylm.checkpoint import Tensor
from pylm.errors import CheckpointError


def content(step: int) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    weights = {f"w{i}": Tensor.of("F32", (50, 40), rng.standard_normal((50, 40), np.float32)) for i in range(3)}
    return {
        "weights": weights,
        "optimizer": {f"{name}.m": tensor for name, tensor in weights.items()},
        "state": {"step": step, "loader": {"seed": 1, "step": step}, "rng": "00ff"},
        "config": f"train:\n  max_steps: {step}\n",
        "texts": {"tokenizer.json": '{"model": "…"}'},
    }


def make(run: Path, step: int) -> Path:
    return checkpoint.write(run / "checkpoints" / f"step_{step}", **content(step))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = make(tmp_path, 7)
    read = checkpoint.verify(path)
    wanted = content(7)
    assert (read.step, read.state, read.config()) == (7, wanted["state"], wanted["config"])
    for name, tensor in wanted["weights"].items():
        assert bytes(read.weights()[name].data) == bytes(tensor.data)
        assert bytes(read.optimizer()[f"{name}.m"].data) == bytes(tensor.data)
    assert (path / "tokenizer.json").read_text(encoding="utf-8") == '{"model": "…"}'
    assert [entry.name for entry in path.parent.iterdir()] == ["step_7"]


def test_a_checkpoint_is_never_overwritten(tmp_path: Path) -> None:
    make(tmp_path, 7)
    with pytest.raises(CheckpointError, match="exists already"):
        make(tmp_path, 7)


@pytest.mark.parametrize("call", range(1, 10))
def test_a_full_disk_leaves_the_older_one_and_nothing_else(
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
        make(tmp_path, 2)
    except OSError as error:
        assert error.errno == errno.ENOSPC
        assert call <= 8
    monkeypatch.undo()
    names = {entry.name for entry in (tmp_path / "checkpoints").iterdir()}
    assert names in ({"step_1"}, {"step_1", "step_2"})  # the last flush comes after the rename
    for name in names:
        checkpoint.verify(tmp_path / "checkpoints" / name)


WRITER = """
import sys
from pathlib import Path
from tests.checkpoint.test_directory import make
from pylm import checkpoint
run = Path(sys.argv[1])
for step in range(1, 10_000):
    make(run, step)
    checkpoint.point(run, "last", step)
    checkpoint.retain(run, 2)
    print(step, flush=True)
"""


def test_a_kill_at_any_moment_loses_nothing_that_was_complete(tmp_path: Path) -> None:
    rng = random.Random(3)
    root = Path(__file__).resolve().parents[2]
    for trial in range(8):
        run = tmp_path / str(trial)
        environment = {**os.environ, "PYTHONPATH": str(root)}
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(run)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.random() * 0.1)
        child.send_signal(signal.SIGKILL)
        printed = child.communicate()[0].split()
        complete = int(printed[-1]) if printed else 1
        newest = checkpoint.newest_sound(run)
        assert newest is not None
        assert checkpoint.verify(newest).step >= complete
        assert all(checkpoint.verify(run / "checkpoints" / f"step_{step}") for step in checkpoint.steps(run))
        assert checkpoint.read(checkpoint.find(str(run))).step >= complete
        checkpoint.retain(run, 1)  # and what the killed writer left is swept up
        assert not list((run / "checkpoints").glob(".partial-*"))


def test_every_flipped_bit_is_found_and_its_file_named(tmp_path: Path) -> None:
    sound = make(tmp_path / "sound", 3)
    rng = random.Random(9)
    files = [path.name for path in sound.iterdir() if path.name != "manifest.json"]
    for trial in range(60):
        name = files[trial % len(files)]
        broken = tmp_path / "broken"
        shutil.copytree(sound, broken)
        data = bytearray((broken / name).read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (broken / name).write_bytes(data)
        with pytest.raises(CheckpointError) as caught:
            checkpoint.verify(broken)
        assert str(broken / name) in caught.value.message
        shutil.rmtree(broken)


def test_cut_missing_and_foreign_files_are_found_when_opened(tmp_path: Path) -> None:
    path = make(tmp_path, 3)
    weights = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(weights[:-1])
    with pytest.raises(CheckpointError, match=f"has {len(weights) - 1} bytes, the manifest says {len(weights)}"):
        checkpoint.read(path)
    (path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="model.safetensors is damaged: it is missing"):
        checkpoint.read(path)
    manifest = path / "manifest.json"
    for text, complaint in (
        ("{", "does not parse"),
        ('{"version": 9, "files": {}}', "is of version 9"),
        ('{"version": 1, "files": {"../x": {"size": 1, "blake2b": ""}}}', r"names the file '\.\./x'"),
        ('{"version": 1, "files": {}}', "names no model.safetensors"),
    ):
        manifest.write_text(text)
        with pytest.raises(CheckpointError, match=complaint):
            checkpoint.read(path)


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system what a handle is of")
def test_a_loss_of_power_takes_no_name_that_was_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file and every folder that got a new name is flushed, before and after the rename."""
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def flushed(handle: int) -> None:
        done.append(os.path.relpath(os.readlink(f"/proc/self/fd/{handle}"), tmp_path))
        fsync(handle)

    def renamed(source: Any, target: Any) -> None:
        done.append(f"-> {os.path.relpath(target, tmp_path)}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "rename", renamed)
    path = make(tmp_path / "run", 1)
    names = [re.sub(r"\.partial-step_1-[0-9a-f-]+", "PARTIAL", name) for name in done]
    at = names.index("-> run/checkpoints/step_1")
    assert names[:2] == [".", "run"] and names[at - 1] == "run/checkpoints/PARTIAL"
    assert set(names[2 : at - 1]) == {f"run/checkpoints/PARTIAL/{file.name}" for file in path.iterdir()}
    assert names[at + 1 :] == ["run/checkpoints"]
