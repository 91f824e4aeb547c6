"""The rows of track 0: a bar for the best peer, `unmeasured` for one that is not here, turns that change."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import test_track as track
from benchmarks.compare import Side
from benchmarks.report import Row
from benchmarks.track import field

BITS = {"pylm": 1.2, "nanochat": 1.5, "nanoGPT, tokens": 2.0}


class Compared:
    """Stands for the fixture: a sample of each side by its name."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.rows: list[Row] = []
        self.report = SimpleNamespace(add=lambda subject, row: self.rows.append(row))
        self.benchmark = SimpleNamespace(pedantic=lambda race, rounds, iterations: race())

    def once(self, side: Side, *, timeout: float, seed: int, **given: Any) -> dict[str, Any]:
        self.order.append(side.name)
        return {"bits_per_byte": BITS[side.name] + 0.01 * seed, "seconds": given["seconds"], "tokens": 1}


def raced(monkeypatch: pytest.MonkeyPatch, folder: Path, present: list[str], seeds: int) -> Compared:
    nowhere = {name: (package, str(folder / "nowhere")) for name, (package, _) in field.INSTALLED.items()}
    monkeypatch.setattr(field, "INSTALLED", nowhere)
    text = folder / "text.txt"
    text.write_text("a line of some words\n" * 20_000)
    options: Any = SimpleNamespace(getoption=lambda name: None)
    compared: Any = Compared()
    runner = track.Track(compared, options, text, folder / "cut")
    peers = [Side("pytest", track.ours, side.name) if side.name in present else side for side in runner.peers]
    sides = [runner.ours, *peers, runner.before]
    track.rows(runner.run("prose, 300 s", sides, 300, seeds), sides, track.BEST_PEER, track.BEFORE)
    found: Compared = compared
    return found


def test_who_is_not_here_is_unmeasured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compared = raced(monkeypatch, tmp_path, [], 1)
    assert [(row.verdict, row.peer) for row in compared.rows] == [("unmeasured", None)] * 6
    assert {row.peer_version for row in compared.rows} == {
        "no checkout: --checkouts DIR", "not installed: make peers-train", "not installed: make setup",
        "no tree: --before DIR"}  # fmt: skip


def test_the_bar_is_the_best_peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compared = raced(monkeypatch, tmp_path, ["nanochat", "nanoGPT, tokens"], 3)
    best, other, *absent = compared.rows
    assert best.name.endswith("vs nanochat") and best.bar == "≤ 0.78×" and best.verdict == "short"
    assert best.ratio == pytest.approx(1.21 / 1.51) and best.ours == pytest.approx(1.21)
    assert other.bar == other.verdict == "" and other.ratio == pytest.approx(1.21 / 2.01)
    assert [row.bar for row in absent] == ["", "", "", "≤ 0.8×"]
    assert compared.order[:3] == ["pylm", "nanochat", "nanoGPT, tokens"]
    assert compared.order[3:6] == ["nanochat", "nanoGPT, tokens", "pylm"] and len(compared.order) == 9
