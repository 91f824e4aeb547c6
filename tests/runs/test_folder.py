"""A run's folder: durable names, one holder, nothing left of nothing, nothing written where the folder is no more."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from pylm.errors import DataError, PylmError
from pylm.runs import Lines, RunFolder, read_lines


def test_what_was_refused_leaves_no_folder_and_no_folder_above_it(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "runs" / "x") as run:
        run.write("config.yaml", "train: {}\n")
        run.environment({"argv": []})
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "runs" / "other").mkdir(parents=True)
    with RunFolder(tmp_path / "runs" / "x") as run:
        run.write("config.yaml", "train: {}\n")
    assert os.listdir(tmp_path / "runs") == ["other"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear")
    with RunFolder(tmp_path / "mine"):
        pass
    assert "notes.txt" in os.listdir(tmp_path / "mine")


@pytest.mark.parametrize("kept", ["metrics.jsonl", "checkpoints/step_1/state.json", "mine.txt"])
def test_what_was_trained_stays(tmp_path: Path, kept: str) -> None:
    with RunFolder(tmp_path / "x") as run:
        run.write("config.yaml", "train: {}\n")
        (tmp_path / "x" / kept).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / kept).write_text('{"step": 1}\n')
    assert (tmp_path / "x" / kept).exists() and (tmp_path / "x" / "config.yaml").exists()


def test_an_empty_file_of_lines_is_nothing_trained(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "x"):
        (tmp_path / "x" / "metrics.jsonl").touch()
    assert not (tmp_path / "x").exists()


def test_a_lock_whose_file_went_with_its_folder_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other holder removes the folder between our open and our lock, and a third one makes it anew."""
    import fcntl

    path, plain, others = tmp_path / "x", fcntl.flock, []

    def late(handle: int, how: int) -> None:
        if not others:
            shutil.rmtree(path)
            others.append(None)
            others.append(RunFolder(path))
        plain(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(PylmError, match="in use by process"):
        RunFolder(path)
    others[1].close()


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system what a handle is of")
def test_names_are_flushed_after_what_they_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order in which a loss of power cannot take a name's content, or a name."""
    done: list[tuple[str, str]] = []
    fsync, replace, mkdir = os.fsync, os.replace, os.mkdir

    def flushed(handle: int) -> None:
        done.append(("fsync", Path(os.readlink(f"/proc/self/fd/{handle}")).name))
        fsync(handle)

    def replaced(source: Any, target: Any) -> None:
        done.append(("replace", Path(target).name))
        replace(source, target)

    def made(path: Any, *mode: Any) -> None:
        done.append(("mkdir", Path(path).name))
        mkdir(path, *mode)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(os, "mkdir", made)
    with RunFolder(tmp_path / "runs" / "x") as run:
        assert done == [("mkdir", "runs"), ("fsync", tmp_path.name), ("mkdir", "x"), ("fsync", "runs")]
        for name, write in (("config.yaml", lambda: run.write("config.yaml", "")), ("environment.json", None)):
            done.clear()
            run.environment({}) if write is None else write()
            assert done == [("fsync", f".{name}.partial"), ("replace", name), ("fsync", "x")]
        run.metrics.append({"step": 1})
        done.clear()
        run.flush()
        assert done == [("fsync", "metrics.jsonl"), ("fsync", "x")]
        run.metrics.append({"step": 2})
        done.clear()
        run.cut_back(1)
        assert done == [("fsync", ".metrics.jsonl.partial"), ("replace", "metrics.jsonl"), ("fsync", "x")]


def test_what_a_killed_process_was_writing_is_swept_up(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for name in (".config.yaml.partial", ".metrics.jsonl.partial", ".environment.json.partial"):
        (tmp_path / "x" / name).write_text("half")
    with RunFolder(tmp_path / "x"):
        assert os.listdir(tmp_path / "x") == [".lock"]


@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
def test_a_folder_that_is_no_longer_there_is_noticed(tmp_path: Path, how: str) -> None:
    path = tmp_path / "x"
    with RunFolder(path) as run:
        run.check()
        run.metrics.append({"step": 1})
        if how == "removed":
            shutil.rmtree(path)
        else:
            path.rename(tmp_path / "y")
        if how == "replaced":
            path.mkdir()
        with pytest.raises(PylmError, match="x was removed or moved while the run was writing there"):
            run.check()


def test_lines_go_on_in_a_new_file_where_somebody_removed_theirs(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "m.jsonl")
    lines.append({"step": 1})
    (tmp_path / "m.jsonl").unlink()
    lines.append({"step": 2})
    assert read_lines(tmp_path / "m.jsonl") == [{"step": 2}]
    lines.close()


def test_a_full_disk_names_the_file_and_a_torn_line_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines(tmp_path / "m.jsonl")
    lines.append({"step": 1})
    plain, left = FileIO.write, [5]

    class Full(FileIO):
        def write(self, data: Any) -> int:
            if not left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            left[0] = 0
            return plain(self, data[:5])

    lines.close()
    monkeypatch.setattr("pylm.runs.lines.FileIO", Full)
    with pytest.raises(OSError, match="No space left") as caught:
        lines.append({"step": 2})
    assert caught.value.filename == str(tmp_path / "m.jsonl")
    lines.close()  # and nothing is tried once more
    assert lines.cut_back(9) == 1 and read_lines(tmp_path / "m.jsonl") == [{"step": 1}]


def test_text_in_a_line_may_hold_what_unicode_calls_the_end_of_a_line(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "m.jsonl")
    records = [{"step": 1, "text": "a\u2028b\x85c\x0bd\re"}, {"step": 2, "text": "\n"}]
    for record in records:
        lines.append(record)
    assert read_lines(tmp_path / "m.jsonl") == records
    assert lines.cut_back(1) == 1 and read_lines(tmp_path / "m.jsonl") == records[:1]


def test_a_line_that_is_nested_without_end_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"step": 1, "x": ' + "[" * 100_000 + "\n")
    with pytest.raises(DataError, match="m.jsonl: line 1 is no record"):
        read_lines(tmp_path / "m.jsonl")
