"""The retune script on a CPU: every call it times runs, what is faster lands in the table, what is wrong never."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import proof
import pytest
import torch

from pylm_kernels import dispatch
from pylm_kernels.triton_runtime import launch

PATH = Path(__file__).parent.parent / "retune.py"
SPEC = importlib.util.spec_from_file_location("retune", PATH)
assert SPEC is not None and SPEC.loader is not None
retune = importlib.util.module_from_spec(SPEC)
sys.modules["retune"] = retune
SPEC.loader.exec_module(retune)
if proof.DEVICE != "cpu":
    pytest.skip("on a GPU the script itself is the test", allow_module_level=True)


class Toy(retune.Bench):  # type: ignore[name-defined, misc]
    """Small problems on a CPU, and a clock that likes one configuration."""

    device = "cpu"

    def __init__(self, kernel: str = "", likes: tuple[str, int] = ("", 0)) -> None:
        self.kernel, self.likes = kernel, likes

    def at_most(self, count: int) -> int:
        return min(count, 24)

    def heads(self, q: int, kv: int) -> tuple[int, int, int]:
        return 1, q // kv, 1

    def seconds(self, run: Callable[[], Any]) -> float:
        rows = launch._table()[self.kernel]["interpreter"] if self.kernel else {"": {}}
        return 1e-3 if self.likes[1] and self.likes in next(iter(rows.values())).items() else 2e-3


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    before = copy.deepcopy(launch._table())
    yield
    launch._table().clear()
    launch._table().update(before)
    launch._entry.cache_clear()


@pytest.mark.parametrize("tuned", retune.TUNED, ids=lambda tuned: f"{tuned.kernel}-{tuned.size}")
def test_every_row_can_be_tuned(tuned: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Two candidates of each: the first of every value, and the last."""
    assert str(tuned.size) in launch._table()[tuned.kernel]["default"]
    known = set(launch._table()[tuned.kernel]["default"][str(tuned.size)])
    assert set(tuned.grid) <= known | {"num_stages"}, "an option that the kernel's rows do not have"
    ends = {name: [values[0]] for name, values in tuned.grid.items()}
    retune.tune(tuned._replace(grid=ends), Toy(), "interpreter")
    assert "0 did not run, 0 were wrong" in capsys.readouterr().out


def test_the_faster_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(retune, "TUNED", [t for t in retune.TUNED if t.kernel == "qk_norm_rope" and t.size == 64])
    retune.main(["qk_norm"], Toy("qk_norm_rope", ("ROWS", 16)), tmp_path, "A-GPU")
    found = json.loads((tmp_path / "configurations.json").read_text())
    assert found["qk_norm_rope"]["interpreter"]["1"]["ROWS"] == 16
    committed = json.loads((retune.TABLES / "configurations.json").read_text())
    assert found.keys() == committed.keys()
    assert found["qk_norm_rope"]["default"] == committed["qk_norm_rope"]["default"]
    assert not (tmp_path / "preferences.json").exists()


def test_a_table_written_again_is_the_committed_one() -> None:
    path = retune.TABLES / "configurations.json"
    assert retune.written(json.loads(path.read_text())) == path.read_text()


def test_a_wrong_candidate_is_out(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(retune, "apart", lambda found, exact: float("inf"))
    tuned = next(t for t in retune.TUNED if t.kernel == "cross_entropy")
    retune.tune(tuned._replace(grid={"BLOCK": [32]}), Toy("cross_entropy", ("BLOCK", 32)), "interpreter")
    assert launch._table()["cross_entropy"]["interpreter"] == {"1": {"BLOCK": 64}}
    assert "1 were wrong" in capsys.readouterr().out


def test_how_far_two_results_are_apart() -> None:
    one = torch.ones(4)
    assert retune.apart((one,), (one,)) == 0.0
    assert retune.apart((one * 1.1,), (one,)) == pytest.approx(0.1)
    assert retune.apart((one * float("nan"),), (one,)) == float("inf")


@pytest.mark.parametrize(
    ("speeds", "order"),
    [
        ([1, 2, 1, 2], ["triton", "sdpa"]),
        ([2, 1, 2, 1], ["sdpa", "triton"]),
        ([1, 2, 2, 1], ["triton<=64", "sdpa", "triton"]),
    ],
)
def test_which_attention_is_preferred(speeds: list[float], order: list[str], monkeypatch: Any) -> None:
    left = list(speeds)
    toy = Toy()
    monkeypatch.setattr(toy, "seconds", lambda run: (run(), left.pop(0))[1])
    assert retune.prefer(toy) == order


@pytest.fixture
def forgetful() -> Iterator[None]:
    """What was chosen while a table was replaced is forgotten, whatever becomes of the test."""
    yield
    dispatch.candidates.cache_clear()  # type: ignore[attr-defined]


def test_the_preferred_backend_runs(forgetful: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A committed order holds on its device, up to the width that it names."""
    dispatch.load()
    table = {"cpu": {"rope_attention": ["reference-like<=8", "sdpa"]}}
    monkeypatch.setattr(dispatch, "_measured", lambda: table)
    monkeypatch.setattr(dispatch, "_registered", {op: dict(have) for op, have in dispatch._registered.items()})
    dispatch.register("rope_attention", "reference-like", print, print)
    facts = {
        "scale": 1.0,
        "head_dim": 8,
        "softcap": False,
        "sinks": False,
        "rows_without_keys": False,
        "causal": True,
        "cross": False,
    }
    assert dispatch.choose("rope_attention", None, torch.ones(1), facts) == ("reference-like", "")
    assert dispatch.choose("rope_attention", None, torch.ones(1), facts | {"head_dim": 16}) == ("sdpa", "")
    assert dispatch.choose("rope_attention", None, torch.ones(1), facts | {"head_dim": 16, "sinks": True})[0] != "sdpa"
    line = next(c for c in dispatch.backends() if c.operation == "rope_attention" and c.device == "cpu")
    assert line.backend == "reference-like<=8"
