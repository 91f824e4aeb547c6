"""A recipe that is run: each step once, the same after kills, a sentence where a step fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pylm.cli import run as command
from pylm.errors import DataError, PylmError
from pylm.recipes import events
from pylm.recipes.run import run
from pylm.recipes.show import show
from tests.support.alone import stand_alone

TEXT = " ".join(f"word{number * 7919 % 1000} and {number}" for number in range(500))
TEXTS = """
steps:
  web: {command: data stories, options: {size: 60K, strangers: 0.5}}
  good: {command: data stories, options: {size: 60K, seed: 2}}
  tok: {command: tokenizer train, arguments: [$web, $good], options: {vocab-size: 300}}
  shards: {command: tokenize, arguments: [$good], options: {tokenizer: $tok}}
"""
TRAINED = Path(__file__).with_name("trained.yaml").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_alone(tmp_path, monkeypatch)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a recipe of texts that ran."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "mine.yaml").write_text(TEXTS)
    with pytest.MonkeyPatch.context() as patch:
        stand_alone(folder, patch)
        heard: list[events.Event] = []
        assert len(run("mine.yaml", out="made", on_event=heard.append)) == 4
    assert ran(heard) == ["web", "good", "tok", "shards"]
    return folder / "made"


@pytest.fixture
def made(made_once: Path, alone: None) -> str:
    """The same as a folder `made` of each test's own: moved, as somebody may."""
    shutil.copytree(made_once, "made")
    return "made"


def written(text: str, name: str = "mine.yaml") -> str:
    Path(name).write_text(text)
    return name


def ran(heard: list[events.Event]) -> list[str]:
    return [each.step for each in heard if isinstance(each, events.Began)]


def identities(folder: str) -> dict[str, str]:
    records = {path.parent.name: json.loads(path.read_text()) for path in Path(folder).glob("steps/*/done.json")}
    return {name.rpartition("-")[0]: record["identity"] for name, record in records.items()}


def killed_when(ready: Callable[[], bool]) -> None:
    """Start the recipe in a process of its own, and kill that, and nothing else, once something is there."""
    line = [sys.executable, "-m", "pylm", "recipe", "run", "mine.yaml", "--out", "killed"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not ready():
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()


def there(pattern: str, without: str = "") -> Callable[[], bool]:
    """Say whether a file is there, and another is not."""

    def ready() -> bool:
        return any(not without or not (path.parent / without).exists() for path in Path("killed").glob(pattern))

    return ready


def test_killed_anywhere_it_comes_to_the_same_and_runs_nothing_twice(made: str) -> None:
    written(TRAINED)
    os.rename(made, "whole")
    run("mine.yaml", out="whole")
    killed_when(there("steps/tok-*/step.json", without="done.json"))
    killed_when(there("steps/base-*/out/checkpoints/step_4"))
    done = {path: path.stat().st_mtime_ns for path in Path("killed").glob("steps/*/done.json")}
    killed_when(there("steps/base-*/done.json"))
    heard: list[events.Event] = []
    standings = run("mine.yaml", out="killed", on_event=heard.append)
    assert [each.state for each in standings] == ["stands"] * 6
    assert identities("killed") == identities("whole") and len(identities("whole")) == 6
    assert set(ran(heard)) <= {"soup"}
    assert {path: path.stat().st_mtime_ns for path in done} == done and len(done) == 4
    first, second = (next(Path(folder).glob("steps/soup-*/out/model.safetensors")) for folder in ("whole", "killed"))
    assert first.read_bytes() == second.read_bytes()


def test_what_stands_is_not_run_again_and_what_changed_is(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    file, heard = written(TEXTS), list[events.Event]()
    Path("elsewhere").mkdir()
    os.rename(made, "elsewhere/made")
    run(file, out="elsewhere/made", on_event=heard.append)
    assert ran(heard) == [] and [type(each) for each in heard] == [events.Stood] * 4
    changed = written(TEXTS.replace("size: 60K, strangers: 0.5", "size: 61K, strangers: 0.5"))
    assert command(["recipe", "why", changed, "web", "--out", "elsewhere/made"]) == 0
    assert capsys.readouterr().out == "web would run again: size was 60K, and is 61K\n"
    assert command(["recipe", "why", changed, "tok", "--out", "elsewhere/made"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "tok waits for web"
    run(changed, out="elsewhere/made", on_event=heard.append)
    assert ran(heard) == ["web", "tok", "shards"]


def test_an_input_is_known_by_what_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.txt").write_text(TEXT)
    file = written("steps:\n  tok: {command: tokenizer train, arguments: my.txt, options: {vocab-size: 270}}\n")
    run(file, out="made")
    Path("my.txt").write_text(TEXT)
    assert [each.state for each in show(file, out="made")] == ["stands"]
    Path("my.txt").write_text(TEXT + "and one")
    assert command(["recipe", "why", file, "tok", "--out", "made"]) == 0
    assert "tok would run again: what my.txt (argument 1) holds is another: " in capsys.readouterr().out


def test_a_step_that_fails_is_one_sentence_and_the_rest_stands(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(TEXTS.replace("tokenizer: $tok", "tokenizer: $tok, val: 0.1, column: x, limit: 3parrots"))
    assert command(["recipe", "run", file, "--out", made]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error", "hint"))]
    assert len(said) == 2 and said[0].startswith("error: the step shards failed: ") and "3parrots" in said[0]
    assert said[1].endswith("log.txt")
    assert [each.state for each in show(file, out=made)] == ["stands", "stands", "stands", "half done"]


def test_an_output_that_somebody_changed_is_no_step(made: str) -> None:
    file = written(TEXTS)
    (shard,) = Path("made").glob("steps/shards-*/out/train_00000.bin")
    shard.write_bytes(shard.read_bytes()[:-2])
    with pytest.raises(DataError, match="is not as the step shards left it") as error:
        run(file, out=made)
    assert "remove made/steps/shards-" in str(error.value.hint)


def test_two_at_a_time_are_refused(holder: int) -> None:
    with pytest.raises(PylmError, match=f"made is in use by process {holder}"):
        run(written(TEXTS), out="made")


@pytest.fixture
def holder() -> Iterator[int]:
    """A process that holds the folder."""
    code = "import time; from pathlib import Path; from pylm.recipes.folder import held\n"
    code += "with held(Path('made')): print(1, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        yield process.pid
        process.kill()


def test_no_key_of_the_environment_and_no_file_beside_changes_a_step(
    made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(TEXTS)
    monkeypatch.setenv("PYLM_DATA__VAL_SHARE", "0.4")
    Path("pylm.yaml").write_text("data: {val_share: 0.3}\n")
    run(file, out="keyed")
    assert identities("keyed") == identities(made)


def test_a_tuning_and_an_export_are_steps() -> None:
    Path("pairs.jsonl").write_text('{"prompt": "say a", "completion": " a"}\n' * 20)
    small = "micro-batch: 4, max-steps: 2, sample-every: 'null', compile: 'false', device: cpu"
    written(f"""
steps:
  text: {{command: data stories, options: {{size: 20K}}}}
  base:
    command: train
    arguments: [$text]
    options: {{n-layers: 1, n-heads: 2, d-model: 16, context-length: 32, vocab-size: 300, batch-tokens: 128, {small}}}
  tuned: {{command: finetune, options: {{checkpoint: $base, dataset: pairs.jsonl, method: lora, val: 0, {small}}}}}
  theirs: {{command: export, arguments: [$tuned], options: {{to: hf, certify: false}}}}
""")
    run("mine.yaml", out="made")
    (tuned,), (theirs,) = (list(Path("made").glob(f"steps/{step}-*")) for step in ("tuned", "theirs"))
    assert json.loads((tuned / "done.json").read_text())["result"]["steps"] == 2
    assert (theirs / "out/config.json").exists() and (theirs / "out/model.safetensors").exists()
    Path("pairs.jsonl").write_text('{"prompt": "say b", "completion": " b"}\n' * 20)
    states = {each.instance.name: each.state for each in show("mine.yaml", out="made")}
    assert states == {"text": "stands", "base": "stands", "tuned": "to run", "theirs": "waits"}
