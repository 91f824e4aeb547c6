"""The helper behind every comparison, driven with sides whose figures are known."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import machine, report
from benchmarks.compare import Compare, Side, SideFailed


class Rounds:
    """What pytest-benchmark's fixture does with our rounds: prepare, run, again."""

    def pedantic(self, target: Any, setup: Any, rounds: int, iterations: int, warmup_rounds: int) -> None:
        for _ in range(rounds):
            setup()
            target()


# Each side leaves a mark in `marks`, so the order in which the processes ran can be read.
def ours(marks: str) -> dict[str, Any]:
    return leave(marks, "ours", seconds=2.0, result="abc")


def peer(marks: str) -> dict[str, Any]:
    return leave(marks, "peer", seconds=6.0, result="abc")


def wrong(marks: str) -> dict[str, Any]:
    return leave(marks, "wrong", seconds=0.1, result="abd")


def crashing(marks: str) -> dict[str, Any]:
    raise RuntimeError("out of ideas")


def leave(marks: str, name: str, **answer: Any) -> dict[str, Any]:
    with Path(marks).open("a") as file:
        file.write(name + "\n")
    return answer


def comparison(folder: Path) -> tuple[Compare, report.Report]:
    collected = report.Report(folder)
    return Compare(Path(__file__), "made_up", collected, Rounds()), collected


def test_sides_run_in_turn_and_the_ratio_is_theirs(tmp_path: Path) -> None:
    compare, collected = comparison(tmp_path)
    marks = tmp_path / "marks"
    run = compare("case", Side("pytest", ours, "pylm"), [Side("pluggy", peer, "them")], rounds=3, marks=str(marks))
    run.faster(3.5, than="them")
    run.faster(2.5, than="them", figure="seconds")
    run.leaner(2.0, than="them")
    assert marks.read_text().split() == ["ours", "peer"] + 3 * ["peer", "ours"]
    short, met, memory = collected.rows["made_up"]
    assert (met.name, memory.name) == ("case vs them", "case, peak_mb vs them")  # one row a name is kept
    assert (short.ratio, short.verdict, met.verdict) == (3.0, "short", "met")
    written = json.loads((tmp_path / machine.name() / "made_up.json").read_text())
    assert written["rows"][0]["ratio"] == 3.0
    assert written["machine"]["cores"] >= 1
    assert "3.00×" in "\n".join(report.table("made_up", collected.rows["made_up"]))


def test_memory_is_that_of_the_child(tmp_path: Path) -> None:
    compare, _ = comparison(tmp_path)
    ballast = bytearray(400_000_000)  # the parent's memory must not be counted
    ballast[::4096] = b"x" * len(ballast[::4096])
    run = compare("memory", Side("pytest", ours), rounds=1, marks=str(tmp_path / "marks"))
    assert 5 < run.median("pytest", "peak_mb") < 200


def test_a_side_with_another_result_stops_before_anything_is_timed(tmp_path: Path) -> None:
    compare, collected = comparison(tmp_path)
    with pytest.raises(pytest.fail.Exception, match="another result"):
        compare("case", Side("pytest", ours), [Side("pluggy", wrong)], marks=str(tmp_path / "marks"))
    assert (tmp_path / "marks").read_text().split() == ["ours", "wrong"]
    assert not collected.rows


def test_a_peer_that_is_not_installed_is_named_and_unmeasured(tmp_path: Path) -> None:
    compare, collected = comparison(tmp_path)
    peers = [Side("no-such-distribution", peer)]
    run = compare("case", Side("pytest", ours), peers, rounds=1, marks=str(tmp_path / "marks"))
    run.faster(2.0, than="no-such-distribution")
    (row,) = collected.rows["made_up"]
    assert (row.verdict, row.peer, row.peer_version) == ("unmeasured", None, "not installed: make peers")


def test_a_crash_shows_its_own_words(tmp_path: Path) -> None:
    compare, _ = comparison(tmp_path)
    with pytest.raises(SideFailed, match="out of ideas"):
        compare("case", Side("pytest", crashing), rounds=1, marks=str(tmp_path / "marks"))


def test_a_partial_run_keeps_the_other_rows(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        row = report.Row(name, value, None, None, None, None, "", "")
        report.Report(tmp_path).add("subject", row)
    (path,) = tmp_path.glob("*/subject.json")
    assert {row["name"]: row["ours"] for row in json.loads(path.read_text())["rows"]} == {"a": 3.0, "b": 2.0}
