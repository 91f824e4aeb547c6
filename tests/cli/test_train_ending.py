"""How `pylm train` ends: complete results, what is kept and said when it cannot go on, nothing left of nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm import checkpoint
from pylm.checkpoint import directory
from pylm.cli import run
from pylm.runs import RunFolder, read_lines
from tests.support.shards import write_shards

SHAPE = ["--n-layers", "1", "--n-heads", "2", "--d-model", "16", "--context-length", "8"]
LINE = ["train", "--data", "ids", *SHAPE, "--batch-tokens", "64", "--log-every", "1", "--learning-rate", "1e-2"]
SHORT = [*LINE, "--max-steps", "6", "--save-every", "2", "--eval-every", "3", "--eval-batches", "2"]
# the program with a signal, a failing write, or whatever else is put before it
WITH = "import os, signal, sys\nfrom pylm.cli import run\n{before}\nsys.exit(run(sys.argv[1:]))\n"
SIGNALS = """
from pylm.training import record
plain = record.watch
def watch(session, result):
    plain(session, result)
    if session.progress.step == {step}:
        session.files.saver.wait()
        [os.kill(os.getpid(), signal.SIGINT) for _ in range({count})]
record.watch = watch
"""

BEFORE = """
from pylm.training import hooks
hooks.evaluator = lambda *given: [os.kill(os.getpid(), signal.SIGINT) for _ in "12"]
"""
WEIGHTS = ("checkpoints/step_6/model.safetensors", "checkpoints/step_6/optimizer.safetensors")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ending")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYLM_CACHE", str(folder / "cache"))
        write_shards(folder / "ids", 60, np.random.default_rng(2), count=4000)
        assert run([*SHORT, "--out", "whole"]) == 0
    return folder


@pytest.fixture(autouse=True)
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("PYLM_CACHE", str(workplace / "cache"))


def program(before: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITH.format(before=before), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def said(capsys: Any, *words: str, code: int) -> str:
    capsys.readouterr()
    assert run(["train", *words]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err and "defect" not in err
    return str(out + err)


def copied(name: str) -> Path:
    shutil.copytree("whole", name)
    return Path(name)


def test_the_result_is_complete_whether_it_ended_now_or_before(capsys: Any) -> None:
    answers = []
    for words in (SHORT[1:], ["--resume", "auto"]):
        capsys.readouterr()
        assert run(["train", *words, "--out", "twice", "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    now, before = answers
    assert before.pop("why") != now.pop("why") and (now.pop("already"), before.pop("already")) == (False, True)
    assert before == now and now["step"] == 6
    # the ids are random, and no tokenizer says what they stand for
    assert {key for key, value in now.items() if value is None} == {"bits_per_byte", "bits_per_byte_with_eot"}
    (last,) = [line for line in read_lines(Path("twice/metrics.jsonl")) if "val_loss" in line and line["step"] == 6]
    assert {key: now[key] for key in ("val_loss", "perplexity", "accuracy")} == {
        key: last[key] for key in ("val_loss", "perplexity", "accuracy")
    }


def test_a_result_is_read_past_lines_that_are_none(capsys: Any) -> None:
    path = copied("torn") / "metrics.jsonl"
    plain = path.read_text()
    path.write_text('{"val_loss": 1}\n"val_loss"\n{"val_loss": ' + "[" * 50_000 + "\n" + plain + '{"val_loss": 9')
    capsys.readouterr()
    for name in ("torn", "whole"):
        assert run(["train", "--resume", "auto", "--out", name, "--json"]) == 0
    torn, whole = capsys.readouterr().out.split("}\n")[:2]
    assert torn.replace('"torn"', '"whole"') == whole and torn.count("null") == 2


def test_a_finished_run_is_mended_when_it_is_asked_for(capsys: Any) -> None:
    path = copied("stale")
    before = sorted(os.listdir(path / "checkpoints"))
    best = (path / "checkpoints/best").read_text()
    for name in ("best", "last"):
        (path / "checkpoints" / name).write_text("step_2\n")
    shutil.copytree(path / "checkpoints/step_4", path / "checkpoints/.partial-removed-2-00")
    (path / "checkpoints/.partial-best-00").write_text("st")
    with RunFolder(path):  # somebody else holds it: nothing is written, and nothing is wrong
        assert "is finished already" in said(capsys, "--resume", "auto", "--out", "stale", code=0)
    assert (path / "checkpoints/best").read_text() == "step_2\n"
    assert "is finished already" in said(capsys, "--resume", "auto", "--out", "stale", code=0)
    assert sorted(os.listdir(path / "checkpoints")) == before
    assert (path / "checkpoints/best").read_text() == best and (path / "checkpoints/last").read_text() == "step_6\n"


def restated(path: Path, change: Any) -> None:
    """Change a checkpoint's state, and its manifest so that nothing looks damaged."""
    import hashlib

    state = json.loads((path / "state.json").read_text())
    change(state)
    text = json.dumps(state)
    (path / "state.json").write_text(text)
    manifest = json.loads((path / "manifest.json").read_text())
    digest = hashlib.blake2b(text.encode(), digest_size=32).hexdigest()
    manifest["files"]["state.json"] = {"size": len(text), "blake2b": digest}
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state: state["choices"].update(threads=1_000_000), "choices.threads is 1000000"),
        (lambda state: state["choices"].update(threads=0), "choices.threads is 0"),
        (lambda state: state["choices"].pop("threads"), "names no choices.threads"),
        (lambda state: state["progress"].pop("sampled"), "names no progress.sampled"),
        (lambda state: state["progress"].update({"new\nthing": 1}), r"this pylm does not know progress.new\nthing"),
        (lambda state: state.pop("length"), "names no length"),
        (lambda state: state.pop("rng"), "names no rng"),
        (lambda state: state["rng"].update(torch="AAAA"), "rng holds no state of a generator"),
        (lambda state: state["rng"].update(torch="?"), "rng holds no state of a generator"),
        (lambda state: state["rng"].update(dropout="x"), "no state of dropout"),
    ],
)
def test_a_state_that_was_rewritten_is_one_sentence(tmp_path: Path, capsys: Any, change: Any, complaint: str) -> None:
    path = shutil.copytree("whole/checkpoints", tmp_path / "x/checkpoints") / "step_6"
    restated(path, change)
    err = said(capsys, "--resume", str(path), "--out", "new", "--max-steps", "8", code=1)
    assert complaint in err and err.count("error:") == 1
    assert not Path("new").exists()


def test_another_machine_is_refused_before_the_weights_are_loaded(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pylm.training import resume

    monkeypatch.setenv("PYLM_KERNELS", "reference")
    monkeypatch.setattr(resume, "restore", None)
    err = said(capsys, "--resume", "whole", "--out", "new", "--max-steps", "8", code=1)
    assert "not be the same to the bit" in err


def test_more_time_is_given_on_top_of_what_lies_behind(capsys: Any) -> None:
    timed = [*LINE, "--max-time", "1s", "--save-every", "null", "--eval-every", "null", "--out", "timed"]
    assert run(timed) == 0
    state = checkpoint.read(checkpoint.find("timed")).state
    spent = state["progress"]["seconds"]
    again = ["--resume", "auto", "--out", "timed"]
    assert "--max-time +1s goes on" in said(capsys, *again, code=0)  # whether time or its steps ended it
    short = said(capsys, *again, "--max-time", f"{spent / 2:.4f}s", code=0)
    assert "counts from the run's start; --max-time +1s, or --max-time " in short
    assert run(["train", *again, "--max-time", "+1s"]) == 0
    after = checkpoint.read(checkpoint.find("timed/last")).state
    assert after["step"] > state["step"] and after["progress"]["seconds"] > spent
    assert after["length"]["seconds"] == pytest.approx(spent + 1)
    assert "not a time" in said(capsys, *again, "--max-time", "+soon", code=2)
    new = [*timed[1:-1], "fresh-time"]
    new[new.index("1s")] = "+0.1s"
    assert run(["train", *new]) == 0  # nothing lies behind


@pytest.mark.parametrize("stopped", [0, 2, 3])
def test_two_signals_leave_at_once_and_say_what_is_kept(stopped: int) -> None:
    out = f"left-{stopped}"
    done = program(SIGNALS.format(step=stopped, count=2) if stopped else BEFORE, *SHORT, "--out", out)
    assert done.returncode == 130
    if stopped == 0:
        assert done.stderr.endswith("\nleft at once; nothing was saved yet\n") and not Path(out).exists()
        return
    kept = "step_2 is kept" if stopped == 3 else "nothing was saved yet: this begins again"
    assert done.stderr.endswith(f"\nleft at once; {kept}\npylm train --resume auto --out {out}\n")
    assert run(["train", "--resume", "auto", "--out", out]) == 0
    assert all(Path(out, file).read_bytes() == Path("whole", file).read_bytes() for file in WEIGHTS)


def no_space(*given: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("target", ["model.safetensors", "metrics.jsonl"])
def test_a_full_disk_names_the_file_what_is_sound_and_the_line_that_goes_on(
    target: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = f"full-{target}"
    where = f"{out}/checkpoints/step_6/{target}" if target == "model.safetensors" else f"{out}/{target}"
    plain = directory.write_tensors

    class Full(FileIO):
        def write(self, data: Any) -> int:
            return no_space() if b'"step": 5' in data else FileIO.write(self, data)

    writer, sync = [0], os.fsync

    def write(path: Path, *given: Any) -> str:
        writer[0] = threading.get_ident() if "step_6" in str(path) else 0
        return plain(path, *given)

    def fsync(handle: int) -> None:  # the lines are made durable by another thread at the same time
        no_space() if threading.get_ident() == writer[0] else sync(handle)

    with monkeypatch.context() as patch:
        if target == "metrics.jsonl":
            patch.setattr("pylm.runs.lines.FileIO", Full)
        else:
            patch.setattr(directory, "write_tensors", write)
            patch.setattr(os, "fsync", fsync)
        err = said(capsys, *SHORT[1:], "--out", out, code=1)
    assert f"error: {where}: no space left on device\n" in err
    assert err.endswith(f"hint: free some space; step_4 is sound: pylm train --resume auto --out {out}\n")
    assert run(["train", "--resume", "auto", "--out", out]) == 0
    lines = [[one for one in read_lines(Path(name, "metrics.jsonl")) if "loss" in one] for name in (out, "whole")]
    assert [one["loss"] for one in lines[0]] == [one["loss"] for one in lines[1]]


@pytest.mark.parametrize(
    ("words", "broken", "code"),
    [
        (["--micro-batch", "3"], None, 2),
        (["--init-from", "whole", "--n-heads", "1"], None, 2),
        ([], KeyboardInterrupt, 130),  # after config.yaml was written
        ([], MemoryError, 1),
        (["--out", "deep/er/x"], KeyboardInterrupt, 130),
    ],
)
def test_what_is_refused_or_aborted_leaves_no_folder(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, words: list[str], broken: Any, code: int
) -> None:
    from pylm.training import hooks

    for name in ("ids", "whole"):
        (tmp_path / name).symlink_to(Path(name).absolute())
    monkeypatch.chdir(tmp_path)

    def evaluator(*given: Any) -> Any:
        raise broken

    if broken is not None:
        monkeypatch.setattr(hooks, "evaluator", evaluator)
    assert run([*SHORT, *words]) == code
    assert sorted(os.listdir(tmp_path)) == ["ids", "whole"]


def test_nobody_watching_is_no_reason_to_stop() -> None:
    line = [sys.executable, "-m", "pylm", *SHORT, "--out", "unwatched"]
    read, write = os.pipe()
    with subprocess.Popen(line, stdout=write, stderr=write) as process:
        os.close(write)
        os.close(read)
    assert process.returncode == 0
    assert checkpoint.steps(Path("unwatched"))[-1] == 6


def test_a_folder_by_another_spelling_is_the_same_run(workplace: Path) -> None:
    copied("spelled")
    assert run(["train", "--resume", "spelled/step_6", "--out", str(workplace / "spelled"), "--max-steps", "7"]) == 0
    assert checkpoint.steps(Path("spelled"))[-1] == 7
