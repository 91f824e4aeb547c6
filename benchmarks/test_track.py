"""Track 0: raw text in, wall time, bits per byte of text that was held back; ours and the peers by docs/track.md.

What a peer needs is in `--checkouts DIR` (nanochat, nanoGPT) or comes by `make peers-train` (litgpt); `--before DIR`
names a built tree of this project at an earlier commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import corpora
from benchmarks.compare import Compare, Run, Side
from benchmarks.track import field

BEST_PEER, BEFORE = 0.78, 0.80  # of their bits, at most, in 300 s
BESIDE = 240  # seconds that a side may take outside of the clock, to import and to score


def ours(train: str, held: str, seconds: float, seed: int, **given: Any) -> dict[str, Any]:
    return field.ours(train, held, seconds, seed)


def before(train: str, held: str, seconds: float, seed: int, earlier: str, **given: Any) -> dict[str, Any]:
    return field.ours(train, held, seconds, seed, python=f"{earlier}/.venv/bin/python")


def peer(name: str, seconds: float, earlier: str | None, **given: Any) -> dict[str, Any]:
    return field.run(name, seconds=seconds, shape=field.shape_of(name, seconds), **given)


def nanochat(**given: Any) -> dict[str, Any]:
    return peer("nanochat", **given)


def nanogpt_tokens(**given: Any) -> dict[str, Any]:
    return peer("nanoGPT, tokens", **given)


def nanogpt_characters(**given: Any) -> dict[str, Any]:
    return peer("nanoGPT, characters", **given)


def litgpt(**given: Any) -> dict[str, Any]:
    return peer("litgpt", **given)


def plain_torch(**given: Any) -> dict[str, Any]:
    return peer("plain torch", **given)


FUNCTIONS = {
    "nanochat": nanochat,
    "nanoGPT, tokens": nanogpt_tokens,
    "nanoGPT, characters": nanogpt_characters,
    "litgpt": litgpt,
    "plain torch": plain_torch,
}
ABSENT = {
    "litgpt": "not installed: make peers-train",
    "plain torch": "not installed: make setup",
    "an earlier commit": "no tree: --before DIR",
}


class Track:
    """Sides in turn on one text, one seed after another."""

    def __init__(self, compare: Compare, options: pytest.Config, text: Path, folder: Path) -> None:
        """Cut the text, and see who is here."""
        from pylm.track.held_out import cut

        folder.mkdir(parents=True)
        self.train, self.held = cut(text, folder)
        self.compare = compare
        self.checkouts, self.earlier = options.getoption("--checkouts"), options.getoption("--before")
        self.ours = Side("pylm", ours)
        self.peers = field.sides(self.checkouts, FUNCTIONS)
        self.before = field.FromCheckout("pylm", before, "an earlier commit", folder=self.earlier)

    def run(self, name: str, sides: Sequence[Side], seconds: float, seeds: int) -> Run:
        """Race them: who comes first changes from seed to seed."""
        versions = {side.name: side.version() for side in sides}
        present = [side for side in sides if versions[side.name] is not None]
        missing = {side.name: ABSENT.get(side.name, "no checkout: --checkouts DIR") for side in sides}
        samples: dict[str, list[dict[str, Any]]] = {side.name: [] for side in present}
        given: dict[str, Any] = {"checkouts": str(self.checkouts), "earlier": str(self.earlier)}
        given |= {"train": str(self.train), "held": str(self.held), "seconds": seconds}

        def race() -> None:
            for seed in range(seeds):
                turn = seed % len(present)
                for side in (*present[turn:], *present[:turn]):
                    sample = self.compare.once(side, timeout=2 * seconds + BESIDE, seed=seed, **given)
                    print(name, side.name, {key: sample[key] for key in ("bits_per_byte", "seconds", "tokens")})
                    samples[side.name].append(sample)

        self.compare.benchmark.pedantic(race, rounds=1, iterations=1)
        absent = {label: why for label, why in missing.items() if versions[label] is None}
        found = {label: version for label, version in versions.items() if version is not None}
        return Run(name, samples, absent, found, lambda row: self.compare.report.add("track", row))


@pytest.fixture
def texts(text: corpora.Texts) -> dict[str, Path]:
    return {"prose": text.prose, "multilingual": text.multilingual}


def rows(run: Run, sides: Sequence[Side], best: float | None, earlier: float | None) -> None:
    """A row for each; the bar is of the best peer and of the earlier commit."""
    here = [side.name for side in sides if side.name in run.samples and side.name in field.PEERS]
    strongest = run.best(here, "bits_per_byte") if here else None
    for side in sides[1:]:
        bar = earlier if side.name == "an earlier commit" else best if side.name == strongest else None
        run.leaner(bar, than=side.name, figure="bits_per_byte", unit="bits/byte")


def test_a_minute_of_prose(
    compare: Compare, pytestconfig: pytest.Config, texts: dict[str, Path], tmp_path: Path
) -> None:
    track = Track(compare, pytestconfig, texts["prose"], tmp_path / "prose")
    sides = [track.ours, *track.peers, track.before]
    rows(track.run("prose, 60 s", sides, 60, 1), sides, None, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prose", "multilingual"])
def test_five_minutes(
    compare: Compare, pytestconfig: pytest.Config, texts: dict[str, Path], tmp_path: Path, name: str
) -> None:
    track = Track(compare, pytestconfig, texts[name], tmp_path / name)
    sides = [track.ours, *track.peers, track.before]
    seeds = pytestconfig.getoption("--seeds")
    rows(track.run(f"{name}, 300 s", sides, 300, seeds), sides, BEST_PEER, BEFORE)


@pytest.mark.slow
def test_half_an_hour(compare: Compare, pytestconfig: pytest.Config, texts: dict[str, Path], tmp_path: Path) -> None:
    track = Track(compare, pytestconfig, texts["prose"], tmp_path / "prose")
    sides = [track.ours, *(side for side in track.peers if side.name == "nanochat")]
    rows(track.run("prose, 1,800 s", sides, 1800, 1), sides, None, None)
