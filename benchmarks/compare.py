"""The one helper behind every comparison: sides in turn, each round in a fresh process, agreement before time.

A side is a function in the benchmark's own file that measures and returns `{"seconds": …, "result": …}`; everything
else that it returns is kept. It runs in a child process (child.py), so what it imports belongs inside the function:

    def ours(path: str) -> dict[str, object]: ...
    def gigatoken(path: str) -> dict[str, object]: ...

    def test_prose(compare, text):
        peers = [Side("gigatoken", gigatoken)]
        run = compare("prose, 1 thread", Side("pylm", ours), peers, threads=1, path=str(text.prose))
        run.faster(3.0, than="gigatoken")
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from benchmarks.report import Report, Row

CHILD = Path(__file__).with_name("child.py")
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TOKENIZERS_PARALLELISM_THREADS",
)


@dataclasses.dataclass(frozen=True)
class Side:
    """One competitor: the distribution that it measures (its version is recorded) and the function that measures it."""

    package: str
    function: Callable[..., dict[str, Any]]
    label: str = ""
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    python: str = sys.executable
    agrees: bool = True  # its result must equal ours; False where the row says that it does not

    @property
    def name(self) -> str:
        """What the tables call it."""
        return self.label or self.package

    def version(self) -> str | None:
        """The installed version, None where it is not installed."""
        if self.python != sys.executable:
            asked = subprocess.run(
                [self.python, "-c", f"import importlib.metadata as m; print(m.version({self.package!r}))"],
                capture_output=True,
                text=True,
                check=False,
            )
            return asked.stdout.strip() or None
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None


class SideFailed(Exception):
    """A side ended with an error; the message carries the end of what it printed."""


class Run:
    """What the rounds measured; each claim drawn from it becomes a row."""

    def __init__(
        self,
        name: str,
        samples: dict[str, list[dict[str, Any]]],
        missing: dict[str, str],
        versions: dict[str, str],
        add: Callable[[Row], None],
    ) -> None:
        """Keep the samples by side, `ours` first."""
        self.name = name
        self.samples = samples
        self.missing = missing
        self.versions = versions
        self._add = add
        self.ours = next(iter(samples))

    def median(self, side: str, figure: str = "seconds") -> float:
        """The median of one figure of one side."""
        return statistics.median(float(sample[figure]) for sample in self.samples[side])

    def best(self, sides: Sequence[str] | None = None, figure: str = "seconds") -> str:
        """The peer with the lowest median among those that ran."""
        ran = [side for side in (sides or list(self.samples)) if side in self.samples and side != self.ours]
        if not ran:
            raise SideFailed(f"{self.name}: no peer ran")
        return min(ran, key=lambda side: self.median(side, figure))

    def faster(self, bar: float | None, than: str, figure: str = "seconds", unit: str = "s") -> None:
        """A row: `than` takes at least `bar` times what we take, by the median of the rounds' own ratios."""
        self._ratio(bar, than, figure, unit, lambda ours, peer: peer / ours, f"≥ {bar:g}×" if bar else "")

    def leaner(self, bar: float | None, than: str, figure: str = "peak_mb", unit: str = "MB") -> None:
        """A row: we take at most `bar` times what `than` takes."""
        self._ratio(
            bar, than, figure, unit, lambda ours, peer: ours / peer, f"≤ {bar:.3g}×" if bar else "", at_most=True
        )

    def at_most(self, limit: float, figure: str = "peak_mb", unit: str = "MB") -> None:
        """A row without a peer: the median of our own figure stays within `limit`."""
        value = self.median(self.ours, figure)
        self._add(
            Row(
                f"{self.name}: {figure}",
                value,
                None,
                None,
                None,
                None,
                f"≤ {limit:g} {unit}",
                "met" if value <= limit else "short",
                unit,
            )
        )

    def at_least(self, limit: float, figure: str, unit: str) -> None:
        """A row without a peer: the median of our own figure reaches `limit`."""
        value = self.median(self.ours, figure)
        self._add(
            Row(
                f"{self.name}: {figure}",
                value,
                None,
                None,
                None,
                None,
                f"≥ {limit:g} {unit}",
                "met" if value >= limit else "short",
                unit,
            )
        )

    def _ratio(
        self,
        bar: float | None,
        than: str,
        figure: str,
        unit: str,
        ratio: Callable[[float, float], float],
        words: str,
        at_most: bool = False,
    ) -> None:
        name = f"{self.name}{'' if figure == 'seconds' else f', {figure}'} vs {than}"
        if than in self.missing:
            self._add(
                Row(
                    name,
                    self.median(self.ours, figure),
                    None,
                    self.missing[than],
                    None,
                    None,
                    words,
                    "unmeasured",
                    unit,
                )
            )
            return
        pairs = zip(self.samples[self.ours], self.samples[than], strict=True)
        ratios = sorted(ratio(float(ours[figure]), float(peer[figure])) for ours, peer in pairs)
        middle = statistics.median(ratios)
        verdict = "" if bar is None else "met" if (middle <= bar if at_most else middle >= bar) else "short"
        row = Row(
            name,
            self.median(self.ours, figure),
            self.median(than, figure),
            self.versions[than],
            middle,
            (ratios[0], ratios[-1]),
            words,
            verdict,
            unit,
        )
        self._add(row)


class Compare:
    """Callable given by the `compare` fixture."""

    def __init__(self, path: Path, subject: str, report: Report, benchmark: Any) -> None:
        """`path` is the benchmark's file, in which the sides' functions stand."""
        self.path = path
        self.subject = subject
        self.report = report
        self.benchmark = benchmark

    def __call__(
        self,
        name: str,
        ours: Side,
        peers: Sequence[Side] = (),
        *,
        rounds: int = 5,
        threads: int | None = None,
        agree: Callable[[Any, Any], bool] = lambda ours, peer: bool(ours == peer),
        timeout: float = 600,
        **arguments: Any,
    ) -> Run:
        """Run every side once to see that the results agree, then `rounds` times in turn.

        Args:
            name: what the rows are called.
            ours: the side that is ours.
            peers: the others; one that is not installed is reported with the line that installs it.
            rounds: how many counted rounds.
            threads: pin the processes to that many cores and tell every thread pool.
            agree: compares the `result` of our side with a peer's; False fails the benchmark before anything is timed.
            timeout: seconds that one run of one side may take.
            **arguments: passed to every side's function; JSON.
        """
        missing: dict[str, str] = {}
        versions: dict[str, str] = {}
        present: list[Side] = []
        for side in (ours, *peers):
            version = side.version()
            if version is None:
                missing[side.name] = "not installed: make peers"
            else:
                versions[side.name] = version
                present.append(side)
        if not present or present[0] is not ours:
            pytest.skip(f"{ours.package} is not installed: make setup")
        first = {side.name: self._run(side, threads, timeout, arguments) for side in present}
        for side in present[1:]:
            if side.agrees and not agree(first[ours.name].get("result"), first[side.name].get("result")):
                pytest.fail(f"{name}: {side.name} computed another result than {ours.name}: nothing was timed")
        samples: dict[str, list[dict[str, Any]]] = {side.name: [] for side in present}

        def run_peers() -> None:
            for side in present[1:]:
                samples[side.name].append(self._run(side, threads, timeout, arguments))

        def run_ours() -> None:
            samples[ours.name].append(self._run(ours, threads, timeout, arguments))

        self.benchmark.pedantic(run_ours, setup=run_peers, rounds=rounds, iterations=1, warmup_rounds=0)
        for label, reason in missing.items():
            print(f"{name}: {label} {reason}")
        return Run(name, samples, missing, versions, lambda row: self.report.add(self.subject, row))

    def unmeasured(self, name: str, reason: str, bar: str) -> NoReturn:
        """A row for what this machine cannot measure, and no more of the benchmark."""
        self.report.add(self.subject, Row(name, None, None, None, None, None, bar, "unmeasured"))
        pytest.skip(reason)

    def fastest(self, sides: Sequence[Side], count: int, *, threads: int | None = None, **arguments: Any) -> list[Side]:
        """Try each side once, and return those few whose rounds are worth their time; the absent are not among them."""
        present = [side for side in sides if side.version() is not None]
        tried = {side.name: self._run(side, threads, 600, arguments)["seconds"] for side in present}
        print(", ".join(f"{name} {seconds:.3g} s" for name, seconds in tried.items()))
        kept = sorted(tried, key=lambda name: float(tried[name]))[:count]
        return [side for side in sides if side.name in kept]

    def once(self, side: Side, *, threads: int | None = None, timeout: float = 600, **arguments: Any) -> dict[str, Any]:
        """Run a side once, and return what it measured."""
        return self._run(side, threads, timeout, arguments)

    def _run(self, side: Side, threads: int | None, timeout: float, arguments: Mapping[str, Any]) -> dict[str, Any]:
        environment = {**os.environ, **side.environment}
        if threads is not None:
            environment.update({variable: str(threads) for variable in THREADS})
            if hasattr(os, "sched_getaffinity"):
                cores = sorted(os.sched_getaffinity(0))[-threads:]  # the first core serves the machine's interrupts
                environment["PYLM_BENCHMARK_CORES"] = ",".join(map(str, cores))
        command = [side.python, str(CHILD), str(self.path), side.function.__name__, json.dumps(dict(arguments))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode != 0:
            raise SideFailed(f"{side.name} ended with status {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return answer
