"""`pylm.soup`: the same bytes in any order, refusals by the first difference, whole or not at all."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pylm
from pylm.checkpoint import read, verify
from pylm.checkpoint.directory import hash_of
from pylm.errors import CheckpointError, PylmError, UsageError
from tests.soups.small_checkpoints import arrays, checkpoint


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def three() -> list[str]:
    return [checkpoint(Path(name), arrays(seed), step=seed) for seed, name in enumerate("abc", 1)]


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_the_mean_is_a_sound_checkpoint_that_says_what_it_is_of() -> None:
    names = three()
    made = pylm.soup(names, out="out/mean")
    assert verify(Path("out/mean")).state == made.state and made.step == 3 and made.optimizer() == {}
    for name, held in made.weights().items():
        wanted = np.mean([arrays(seed)[name].astype(np.float64) for seed in (1, 2, 3)], axis=0).astype(np.float32)
        found = np.frombuffer(held.data, np.float32).reshape(held.shape)
        assert (np.abs(found - wanted) <= np.spacing(np.abs(wanted))).all(), name
    about = made.state["soup"]
    parents = {each["path"]: each for each in about["parents"]}
    assert about["method"] == "mean" and made.state["tokenizer"] == "1" * 64
    for step, name in enumerate(names, 1):
        assert parents[name] == {"path": name, "step": step, "share": 1 / 3, "identity": read(Path(name)).identity}
    assert [path.name for path in Path("out").iterdir()] == ["mean"]


@pytest.mark.parametrize(
    ("order", "options"),
    [
        ("abc", {"method": "mean"}),
        ("abc", {"method": "weighted", "weights": [1, 2.5, 0.3]}),
        ("abc", {"method": "karcher"}),
        ("abc", {"method": "karcher", "weights": [3, 1, 1]}),
        ("ab", {"method": "slerp"}),
        ("ab", {"method": "slerp", "t": 0.25}),
    ],
)
def test_the_order_does_not_matter(order: str, options: dict[str, Any]) -> None:
    three()
    pylm.soup(list(order), out="one", **options)
    turned = dict(options)
    if "weights" in options:
        turned["weights"] = options["weights"][::-1]
    if "t" in options:
        turned["t"] = 1 - options["t"]
    pylm.soup(list(order)[::-1], out="two", **turned)
    one, two = contents("one"), contents("two")
    if "t" in options:  # which is written down as it was given
        one, two = ({"model.safetensors": each["model.safetensors"]} for each in (one, two))
    assert one == two


def test_slerp_goes_from_the_first_to_the_second() -> None:
    three()
    for t, name in ((0.0, "a"), (1.0, "b")):
        pylm.soup(["a", "b"], out=f"at{t}", method="slerp", t=t)
        assert contents(f"at{t}")["model.safetensors"] == contents(name)["model.safetensors"]


def test_ema_goes_over_the_steps_of_a_run_in_order() -> None:
    for step in (2, 10, 100):
        checkpoint(Path(f"runs/x/checkpoints/step_{step}"), arrays(step), step=step)
    made = pylm.soup("runs/x", out="ema", method="ema", t=0.75)
    wanted = arrays(2)["long"].astype(np.float64)
    for step in (10, 100):
        wanted = 0.75 * wanted + 0.25 * arrays(step)["long"]
    found = np.frombuffer(made.weights()["long"].data, np.float32).reshape(wanted.shape)
    assert np.allclose(found, wanted.astype(np.float32), rtol=2e-7, atol=0) and made.step == 100
    assert made.state["soup"]["t"] == 0.75 and len(made.state["soup"]["parents"]) == 3


def changed(**tensors: Any) -> dict[str, Any]:
    return {name: array for name, array in {**arrays(2), **tensors}.items() if array is not None}


OTHERS: list[tuple[dict[str, Any], tuple[str, str, str]]] = [
    ({"state": {"tokenizer": "2" * 64}}, ("the tokenizer", "111111111111…", "222222222222…")),
    ({"state": {"tokenizer": None}}, ("the tokenizer", "111111111111…", "unknown")),
    ({"rope_theta": 500000.0}, ("rope_theta", "10000.0", "500000.0")),
    ({"tied": False}, ("tied", "True", "False")),
    ({"norm_eps": 1e-6}, ("norm_eps", "1e-05", "1e-06")),
    ({"weights": changed(long=None)}, ("the tensor long", "there", "missing")),
    ({"weights": changed(more=np.ones(2, np.float32))}, ("the tensor more", "missing", "there")),
    ({"weights": changed(one=np.float16(1))}, ("the type of one", "F32", "F16")),
    ({"weights": changed(long=np.ones((100_003, 3), np.float32))}, ("the shape of long", "[3, 100003]", "[100003, 3]")),
    ({"weights": changed(**{"embed.weight": np.ones((11, 8), np.float32)})}, ("vocab_size", "10", "11")),
]


@pytest.mark.parametrize(("other", "named"), OTHERS)
def test_another_model_is_refused_by_the_first_difference(other: dict[str, Any], named: tuple[str, str, str]) -> None:
    checkpoint(Path("a"), arrays(1))
    checkpoint(Path("b"), **{"weights": arrays(2), **other})
    what, mine, theirs = named
    with pytest.raises(CheckpointError) as caught:
        pylm.soup(["a", "b"], out="out")
    assert caught.value.message == f"a and b make no soup: {what} is {mine} in one and {theirs} in the other"
    assert {path.name for path in Path().iterdir()} == {"a", "b"}


def test_another_template_of_chats_is_refused_by_its_hash() -> None:
    checkpoint(Path("a"), arrays(1), texts={"tokenizer_config.json": "{}"})
    checkpoint(Path("b"), arrays(2), texts={"tokenizer_config.json": '{"chat_template": ""}'})
    with pytest.raises(CheckpointError, match=r"a and b make no soup: tokenizer_config\.json is \w{12}… in one and"):
        pylm.soup(["a", "b"], out="out")


def test_counts_that_differ_are_refused() -> None:
    checkpoint(Path("a"), {**arrays(1), "n": np.arange(3)})
    checkpoint(Path("b"), {**arrays(2), "n": np.arange(3) + 1})
    with pytest.raises(CheckpointError, match="make no soup: n, of whole numbers, is"):
        pylm.soup(["a", "b"], out="out")


@pytest.mark.parametrize("method", ["mean", "slerp", "karcher"])
@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "an infinity")])
def test_what_is_not_finite_is_named_and_nothing_is_left(method: str, value: float, word: str) -> None:
    checkpoint(Path("a"), arrays(1))
    weights = arrays(2)
    weights["long"][2, 99_999] = value
    checkpoint(Path("b"), weights)
    with pytest.raises(CheckpointError, match=f"b holds {word} in long"):
        pylm.soup(["a", "b"], out="out", method=method)
    assert {path.name for path in Path().iterdir()} == {"a", "b"}


def test_flipped_bits_are_refused() -> None:
    names, draw = three(), random.Random(1)
    files = [path for path in Path("b").iterdir()]
    for _ in range(60):
        path = draw.choice(files)
        whole = path.read_bytes()
        spot = draw.randrange(len(whole))
        path.write_bytes(whole[:spot] + bytes([whole[spot] ^ 1 << draw.randrange(8)]) + whole[spot + 1 :])
        with pytest.raises(PylmError):
            pylm.soup(names, out="out")
        path.write_bytes(whole)
        assert {each.name for each in Path().iterdir()} == {"a", "b", "c"}, path
    pylm.soup(names, out="out")


def test_what_was_found_sound_is_not_hashed_again_until_somebody_writes_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_CACHE", "cache")
    names, hashed = three(), list[Path]()
    monkeypatch.setattr("pylm.checkpoint.directory.hash_of", lambda path: hashed.append(path) or hash_of(path))
    monkeypatch.setattr("pylm.checkpoint.verified.A_MOMENT", 3600.0)
    pylm.soup(names, out="first")
    assert len(hashed) == 3 * 3
    monkeypatch.setattr("pylm.checkpoint.verified.A_MOMENT", 0.0)
    pylm.soup(names, out="second")
    assert len(hashed) == 2 * 3 * 3  # nothing is remembered of what was written a moment ago
    pylm.soup(names, out="third")
    assert len(hashed) == 2 * 3 * 3
    path = Path("b/model.safetensors")
    times, whole = path.stat(), path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(CheckpointError, match=r"b/model\.safetensors is damaged"):
        pylm.soup(names, out="fourth")


def test_damage_is_told_before_what_comes_of_it() -> None:
    names = three()
    held = read(Path("b")).weights()["norm.weight"].data
    path = Path("b/model.safetensors")
    whole = path.read_bytes()
    spot = whole.index(bytes(held))
    del held
    path.write_bytes(whole[:spot] + np.float32(np.nan).tobytes() + whole[spot + 4 :])
    with pytest.raises(CheckpointError, match=r"b/model\.safetensors is damaged: its BLAKE2b is"):
        pylm.soup(names, out="out")
    assert {path.name for path in Path().iterdir()} == {"a", "b", "c"}


KILLED = """
import os, pylm
def kill(done, total):
    if done > total * {share}:
        os.kill(os.getpid(), 9)
pylm.soup(["a", "b", "c"], out="out", progress=kill)
"""


@pytest.mark.parametrize("share", [0.0, 0.6, 0.99])
def test_a_kill_leaves_nothing_half(share: float) -> None:
    names = three()
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KILLED.format(share=share)], env=environ, check=False)
    assert done.returncode == -signal.SIGKILL and not Path("out").exists()
    assert [path for path in Path().iterdir() if path.name.startswith(".partial-out-")]
    Path(".partial-out-2-1-00000000").mkdir()  # of another soup, whose name begins like ours
    pylm.soup(names, out="out")
    assert {path.name for path in Path().iterdir()} == {"a", "b", "c", "out", ".partial-out-2-1-00000000"}
    verify(Path("out"))


def test_what_is_there_is_never_overwritten() -> None:
    names = three()
    pylm.soup(names, out="out")
    with pytest.raises(CheckpointError, match="out exists already"):
        pylm.soup(names, out="out")


def test_a_soup_goes_into_a_soup_and_keeps_what_all_say() -> None:
    checkpoint(Path("a"), arrays(1), data={"path": "data/x"}, dropout=0.1, texts={"tokenizer.json": "{}"})
    checkpoint(Path("b"), arrays(2), data={"path": "data/x"}, texts={"tokenizer.json": "{}"}, state={"data": "d"})
    made = pylm.soup(["a", "b"], out="ab")
    assert "path: data/x" in made.config() and "dropout" not in made.config() and "data" not in made.state
    assert made.texts() == {"tokenizer.json": "{}"}
    checkpoint(Path("c"), arrays(3), data={"path": "data/y"}, texts={"tokenizer.json": "{}"})
    assert "path" not in pylm.soup(["ab", "c"], out="abc").config()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"method": "men"}, "method is 'men'"),
        ({"weights": [1, 2, 3]}, "weights= is for weighted and karcher, and the method is mean"),
        ({"t": 0.5}, "t= is for slerp and ema, and the method is mean"),
        ({"data": "x"}, "data= is for greedy, and the method is mean"),
        ({"method": "weighted"}, "weighted by what is not said"),
        ({"method": "weighted", "weights": [1, 2]}, "2 weights for 3 checkpoints"),
        ({"method": "weighted", "weights": [1, 2, 0]}, "a weight is 0"),
        ({"method": "weighted", "weights": [1, 2, float("nan")]}, "a weight is nan"),
        ({"method": "slerp"}, "slerp is between two checkpoints, and 3 are named"),
        ({"method": "ema", "t": 0.9}, "ema goes over the checkpoints of one run, and 3 are named"),
        ({"method": "ema", "checkpoints": ["a"]}, "the decay of the moving average is not given"),
        ({"method": "ema", "checkpoints": ["a"], "t": 1.0}, "t is 1"),
        ({"method": "ema", "checkpoints": ["a"], "t": 0.9}, "a is no run, and ema goes over the checkpoints of one"),
        ({"method": "slerp", "checkpoints": ["a", "b"], "t": -0.1}, "t is -0.1"),
        ({"checkpoints": "a"}, "a soup is of two checkpoints or more, and 1 is named"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(call: dict[str, Any], message: str) -> None:
    three()
    with pytest.raises(UsageError) as caught:
        pylm.soup(**{"checkpoints": ["a", "b", "c"], "out": "out", **call})
    assert caught.value.message == message and caught.value.hint
    assert not Path("out").exists()


def test_a_run_of_one_checkpoint_has_no_average() -> None:
    checkpoint(Path("runs/x/checkpoints/step_5"), arrays(1))
    with pytest.raises(CheckpointError, match="runs/x has one checkpoint, step_5"):
        pylm.soup("runs/x", out="out", method="ema", t=0.5)
    with pytest.raises(CheckpointError, match="no checkpoint at nowhere"):
        pylm.soup(["runs/x", "nowhere"], out="out")


@pytest.mark.parametrize("value", [3, {"method": 1}, {"method": "mean", "parents": []},
                                   {"method": "mean", "parents": [{"share": 1}]}])  # fmt: skip
def test_what_a_state_says_of_a_soup_is_checked(value: Any) -> None:
    from pylm.checkpoint.state import check_state

    with pytest.raises(ValueError, match="soup"):
        check_state({"step": 1, "soup": value})


def test_a_manifest_that_is_gone_is_damage() -> None:
    names = three()
    Path("b/manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"b is no checkpoint: it holds no manifest\.json"):
        pylm.soup(names, out="out")
