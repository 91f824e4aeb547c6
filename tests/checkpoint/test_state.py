"""What a damaged or hostile state.json or manifest.json may bring about: one sentence that names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pylm import checkpoint
from pylm.errors import CheckpointError
from tests.checkpoint.test_directory import content

STATE: dict[str, Any] = {
    "version": 1,
    "step": 7,
    "tokenizer": "ab" * 32,
    "data": "cd" * 32,
    "progress": {
        "step": 7, "tokens": 700, "seconds": 1.5, "evaluated": 6, "sampled": 0, "asked": 3, "best_loss": 2.5,
        "best_step": 6,
        "since_best": 0, "bad_steps": 0, "mean": 3.0, "deviation": 0.1, "finished": None,
    },
    "loader": {"seed": 1, "step": 7, "batch_size": 4},
    "length": {"steps": 9, "why": "max_steps 9", "seconds": None, "limit": None},
    "decisions": {"segments": [[0, 0.0, 9], [3, 0.3, 8]], "look": 5, "looked": 1.5},
    "choices": {
        "backend": "torch", "torch": "2.9.0", "device": "cpu", "device_name": "a processor", "threads": 2,
        "kernels": {"rope_attention": "sdpa"}, "cpu_variant": "avx2", "precision": "fp32", "micro_batch": 4,
        "compile": False, "compile_why": "it was switched off", "seconds_per_step": 0.1, "matmul_flops": 1e9,
    },
    "rng": {"torch": "AAAA", "dropout": "1:2"},
}  # fmt: skip


def rewritten(run: Path, text: str) -> Path:
    """A checkpoint whose state.json holds a text, and whose manifest agrees: what damage alone does not give."""
    path = checkpoint.write(run / "checkpoints/step_7", **{**content(7), "state": STATE})
    (path / "state.json").write_text(text, encoding="utf-8")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["state.json"]["size"] = len(text.encode())
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def changed(name: str, value: Any) -> str:
    """The state with one value by its dotted name; without it where the value is ...."""
    state = json.loads(json.dumps(STATE))
    *outer, last = name.split(".")
    held = state
    for key in outer:
        held = held[key]
    if value is ...:
        del held[last]
    else:
        held[last] = value
    return json.dumps(state)


def test_a_state_as_it_is_written_is_read(tmp_path: Path) -> None:
    read = checkpoint.read(rewritten(tmp_path, json.dumps(STATE)))
    read.check_resumable()
    assert read.state == STATE


WRONG: dict[str, list[Any]] = {
    "step": [-1, 1.5, "7", None, True, 2**60, [7]],
    "rng": [7, [], {"torch": 5}],
    "progress": [[], 3, None, "x"],
    "progress.step": [8, -1, "7"],
    "progress.evaluated": [None, "6", 1.0],
    "progress.asked": [None, -1, "3"],
    "progress.best_loss": ["2", float("inf"), float("nan")],
    "progress.best_step": [1.5, "6"],
    "progress.mean": [None, float("-inf")],
    "progress.finished": [7, {}],
    "progress.seconds": [-1, float("inf"), "1"],
    "loader.batch_size": [0, "4"],
    "length": [None, 7],
    "length.steps": [0, 1.5, None],
    "length.seconds": ["9", float("nan")],
    "length.limit": [0, "9", 1.5],
    "decisions": [[], None],
    "decisions.segments": [
        *(None, {}, [3], [[0, 0.0]], [[0, 0.0, "9"]], [[0.0, 0.0, 9]], [[0, -0.1, 9]], [[0, 1.0, 9]], [[4, 0.0, 4]]),
        *([[0, "0", 9]], [[-1, 0.0, 9]], [[3, 0.0, 9], [3, 0.1, 9]], [[3, 0.0, 9], [2, 0.1, 9]], [[0, 0.0, 2**60]]),
    ],
    "decisions.look": [-1, None, "5"],
    "decisions.looked": [-1.0, None],
    "choices": [[], "x", None],
    "choices.threads": [0, -1, 4097, 30000, 10**6, 2**70, 2.0, "2", True, None, [2]],
    "choices.micro_batch": [0, "4", None],
    "choices.compile": [1, "true"],
    "choices.kernels": [{"rope_attention": 5}, []],
    "choices.precision": ["fp8", 32],
    "choices.backend": ["jax", None],
    "choices.matmul_flops": [float("inf"), "1e9"],
    "choices.seconds_per_step": [-0.1, None],
}


@pytest.mark.parametrize("name", WRONG)
def test_every_value_of_a_state_is_checked_before_it_is_used(tmp_path: Path, name: str) -> None:
    for number, value in enumerate(WRONG[name]):
        path = rewritten(tmp_path / str(number), changed(name, value))
        with pytest.raises(CheckpointError) as caught:
            checkpoint.read(path)
        assert caught.value.message.startswith(f"{path}/state.json is damaged: ")
        assert name in caught.value.message and len(caught.value.message) < len(str(path)) + 120


LACKING = [
    *("progress", "length", "choices", "rng", "progress.sampled", "progress.evaluated", "progress.bad_steps"),
    *(
        "decisions.segments",
        "decisions.look",
        "decisions.looked",
        "length.steps",
        "choices.threads",
        "choices.compile",
        "choices.micro_batch",
        "choices.precision",
    ),
]


@pytest.mark.parametrize("name", LACKING)
def test_a_run_does_not_go_on_from_half_a_state(tmp_path: Path, name: str) -> None:
    read = checkpoint.read(rewritten(tmp_path, changed(name, ...)))
    with pytest.raises(CheckpointError, match=f"state.json is damaged: it names no {name}"):
        read.check_resumable()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"step": 7, "x": ' + "[" * 100_000, "nested too deep"),
        ('{"step": 7, "x": ' + '{"x": ' * 100_000, "nested too deep"),
        ("[7]", "holds no object"),
        ("null", "holds no object"),
        ("{", "does not parse"),
        ("", "does not parse"),
        ('{"step": ' + "9" * 5000 + "}", "does not parse"),
        ("{}", "names no step"),
    ],
)
def test_a_state_that_is_no_state(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(CheckpointError, match=f"state.json is damaged: .*{complaint}"):
        checkpoint.read(rewritten(tmp_path, text))


def entry(size: Any = 1, digest: Any = "0" * 64) -> dict[str, Any]:
    return {"size": size, "blake2b": digest}


def manifest_of(edit: Callable[[dict[str, Any]], None]) -> str:
    manifest: dict[str, Any] = {
        "version": 1,
        "files": {"model.safetensors": entry(), "state.json": entry(), "config.yaml": entry()},
    }
    edit(manifest)
    return json.dumps(manifest)


def of(name: str, value: Any) -> str:
    return manifest_of(lambda manifest: manifest["files"].update({name: value}))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"version": 1, "files": ' + "[" * 100_000, "nested too deep"),
        (of("state.json", entry(float("inf"))), "the size of state.json is inf"),
        (of("state.json", entry(float("nan"))), "the size of state.json is nan"),
        (of("state.json", entry(-1)), "the size of state.json is -1"),
        (of("state.json", entry(1e3)), "the size of state.json is 1000.0"),
        (of("state.json", entry(2**63)), "the size of state.json is 9223372036854775808"),
        (of("state.json", entry(True)), "the size of state.json is True"),
        (of("state.json", entry(1, "0")), "the hash of state.json is '0'"),
        (of("state.json", entry(1, None)), "the hash of state.json is None"),
        (of("state.json", 5), "of state.json it says 5"),
        (of("a\0b", entry()), r"names the file 'a\x00b'"),
        (of("\ud800", entry()), r"names the file '\ud800'"),
        (of("", entry()), "names the file ''"),
        (of("..", entry()), "names the file '..'"),
        (of("/etc/passwd", entry()), "names the file '/etc/passwd'"),
        (of("..\\x", entry()), "names the file '.."),
        (of("x" * 300, entry()), "names the file 'xxxx"),
        (of("manifest.json", entry()), "names the file 'manifest.json'"),
        (manifest_of(lambda manifest: manifest.pop("version")), "names no version"),
        (manifest_of(lambda manifest: manifest.pop("files")), "names no files"),
        (manifest_of(lambda manifest: manifest.update(files=[])), "names no files"),
        (manifest_of(lambda manifest: manifest["files"].pop("config.yaml")), "names no config.yaml"),
        (manifest_of(lambda manifest: manifest.update(version="\ud800")), "is of version"),
        (json.dumps([1]), "holds no object"),
    ],
)
def test_every_value_of_a_manifest_is_checked_before_it_is_used(tmp_path: Path, text: str, complaint: str) -> None:
    path = checkpoint.write(tmp_path / "checkpoints/step_7", **content(7))
    (path / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.verify(path)
    assert complaint in caught.value.message and str(path) in caught.value.message
    caught.value.message.encode()  # it can be printed
