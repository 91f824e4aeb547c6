"""Runs side by side: what each reached, whether that is more than chance, and what was different about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pylm.errors import UsageError
from pylm.runs.differing import Value, configuration, differing, environment
from pylm.runs.documents import Documents, read_documents
from pylm.runs.history import AXES, History
from pylm.runs.paired import Paired, paired
from pylm.runs.readers.logged import Logged
from pylm.runs.readers.opening import open_runs
from pylm.runs.summary import evaluations, identity

__all__ = ["SURE", "Comparison", "Equal", "Group", "Verdict", "compare"]

SEEDS = ("train.seed", "seed")  # runs that differ in it alone are repetitions of one
SURE = 0.01  # what a recipe's records ask for
MOST_SEEDS = 200


class Group(NamedTuple):
    """Runs that are the same but for their seeds, and what they reached."""

    runs: list[Path]
    values: list[float]  # of each seed: a run that is repeated with its own seed, or copied, tells of no chance
    mean: float | None
    deviation: float | None  # of one run; None of a single one


class Verdict(NamedTuple):
    """How far a group is from the first one."""

    group: int
    difference: float
    p: float | None  # that chance alone makes such a difference; None where a side has one run
    cohen: float | None  # the difference in deviations
    seeds: int | None  # that each side needs in all for p < 0.01, were means and deviations to stay


class Equal(NamedTuple):
    """The metric where all runs had spent the same."""

    place: float
    values: list[float | None]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; what a run does not have is None."""

    runs: list[Path]
    metric: str
    why: str | None  # it is this metric
    finals: dict[str, list[float | None]]
    equal: dict[str, Equal]
    groups: list[Group]
    verdicts: list[Verdict]
    paired: list[Paired]
    scores: dict[tuple[str, str], list[tuple[float, float | None] | None]]  # of `pylm eval`, each with its error
    soups: dict[Path, list[dict[str, Any]]]
    differing: dict[str, list[Value]]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for programs."""
        scores = [
            {"task": task, "metric": metric, "values": [one and {"value": one[0], "stderr": one[1]} for one in values]}
            for (task, metric), values in self.scores.items()
        ]
        groups = [{**group._asdict(), "runs": list(map(str, group.runs))} for group in self.groups]
        return {
            "runs": list(map(str, self.runs)), "metric": self.metric, "why": self.why, "finals": self.finals,
            "equal": {x: equal._asdict() for x, equal in self.equal.items()}, "groups": groups,
            "verdicts": [verdict._asdict() for verdict in self.verdicts], "scores": scores,
            "paired": [{**one._asdict(), "run": str(one.run)} for one in self.paired],
            "soups": {str(run): parents for run, parents in self.soups.items()},
            "differences": {key: [one._asdict() for one in values] for key, values in self.differing.items()},
        }  # fmt: skip


def compare(runs: Sequence[str | Path]) -> Comparison:
    """Compare runs, by bits per byte where their tokenizers differ and by the validation loss else.

    Args:
        runs: Two or more, by folder or name, or of other tools: `wandb:ID`, `tb:DIR`, `trackio:PROJECT`, a CSV file.
            Those that differ in their seed alone count as repetitions of one.
    """
    sides = [_Side.of(one) for one in open_runs(runs)]
    if len(sides) < 2:
        raise UsageError("a comparison takes two runs or more", "such as pylm compare runs/a runs/b")
    histories = [side.history for side in sides]
    finals: dict[str, list[float | None]] = {
        key: [None if one is None else one.last(key) for one in histories]
        for key in ("val_loss", "bits_per_byte", "loss")
    }
    for x in ("steps", "tokens", "time"):
        finals[x] = [None if one is None or not one.has_axis(x) else one.end(x) for one in histories]
    metric, why = _metric(sides, finals)
    groups = _groups(sides, finals[metric])
    return Comparison(
        [side.path for side in sides], metric, why, finals, _equal(sides, metric), groups, _verdicts(groups),
        paired([(side.path, side.documents) for side in sides]),
        _scores(sides), {side.path: side.identity["soup"]["parents"] for side in sides if side.identity.get("soup")},
        differing([side.config for side in sides]),
    )  # fmt: skip


class _Side(NamedTuple):
    """A run that is compared; one of another tool has what that tool keeps."""

    path: Path
    history: History | None
    identity: dict[str, Any]
    config: dict[str, Value]
    scores: dict[tuple[str, str], dict[str, Any]]
    documents: list[Documents]

    @classmethod
    def of(cls, run: Path | Logged) -> _Side:
        if isinstance(run, Logged):
            config = {key: Value(value, run.path.name) for key, value in (run.config or {}).items()}
            return cls(run.path, History(run), {}, config, {}, [])
        history = History(run) if (run / "metrics.jsonl").is_file() else None
        return cls(run, history, identity(run), configuration(run), evaluations(run), read_documents(run))


def _metric(sides: Sequence[_Side], finals: dict[str, list[float | None]]) -> tuple[str, str | None]:
    """Return what is compared, and why where it is not the validation loss: nats of other tokens do not compare."""
    tokenizers = {side.identity.get("tokenizer") for side in sides} - {None}
    if len(tokenizers) > 1:
        return "bits_per_byte", "their tokenizers differ, and a loss is of a token"
    if not any(value is not None for value in finals["val_loss"]):
        return "loss", "none of them was evaluated"
    return "val_loss", None


def _groups(sides: Sequence[_Side], values: Sequence[float | None]) -> list[Group]:
    """Return the runs that differ in their seed alone together, in the order of the first of each."""
    together: dict[tuple[str, ...], list[tuple[_Side, float | None]]] = {}
    for side, value in zip(sides, values, strict=True):
        same = repr(sorted((key, repr(each.value)) for key, each in side.config.items() if key not in SEEDS))
        # a soup has the configuration of its parents, and is none of them; without one nobody knows what is the same
        alone = str(side.path) if side.identity.get("soup") or not side.config else ""
        together.setdefault((same, str(side.identity.get("data")), alone), []).append((side, value))
    return [_group([side.path for side, _ in pairs], _by_seed(pairs)) for pairs in together.values()]


def _by_seed(pairs: Sequence[tuple[_Side, float | None]]) -> list[float]:
    """Return what was reached with each seed, the mean where several runs have it."""
    reached: dict[str, list[float]] = {}
    for side, value in pairs:
        seeds = [repr(side.config[key].value) for key in SEEDS if key in side.config]
        if value is not None:
            reached.setdefault(seeds[0] if seeds else str(side.path), []).append(value)
    return [math.fsum(values) / len(values) for values in reached.values()]


def _group(runs: list[Path], values: list[float]) -> Group:
    if not values:
        return Group(runs, values, None, None)
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    return Group(runs, values, mean, math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else None)


def _verdicts(groups: Sequence[Group]) -> list[Verdict]:
    """Return how far each group is from the first, of those that reached anything."""
    from pylm.statistics import welch

    first, *others = groups
    verdicts = []
    for number, other in enumerate(others, 1):
        if first.mean is None or other.mean is None:
            continue
        apart = other.mean - first.mean
        if first.deviation is None or other.deviation is None:
            verdicts.append(Verdict(number, apart, None, None, None))
            continue
        pooled = math.sqrt((first.deviation**2 + other.deviation**2) / 2)
        cohen = apart / pooled if pooled else None
        p, seeds = welch(first.values, other.values), _seeds(apart, first.deviation, other.deviation)
        verdicts.append(Verdict(number, apart, p, cohen, seeds))
    return verdicts


def _seeds(apart: float, one: float, other: float) -> int | None:
    """Return how many runs a side the same difference takes to be sure of; None where 200 are too few."""
    from pylm.statistics import welch

    for count in range(2, MOST_SEEDS + 1):
        if welch(_spread(0, one, count), _spread(apart, other, count)) < SURE:
            return count
    return None


def _spread(mean: float, deviation: float, count: int) -> list[float]:
    """Return so many numbers with this mean and deviation."""
    half = count // 2
    away = deviation * math.sqrt((count - 1) / (2 * half))
    return [mean + away] * half + [mean - away] * half + [mean] * (count % 2)


def _equal(sides: Sequence[_Side], metric: str) -> dict[str, Equal]:
    """Return the metric at the most tokens, seconds and FLOPs that every run has spent by its last evaluation."""
    spent = [side.history for side in sides if side.history is not None and metric in side.history.keys]
    equal = {}
    for x in ("tokens", "time", "flops"):
        if len(spent) < 2 or not all(one.has_axis(x) for one in spent):
            continue
        if x == "flops" and not all("flops_per_token" in environment(side.path) for side in sides):
            continue
        scales = {one.run: one.scale(x) for one in spent}
        place = min((one.metrics.range(metric, AXES[x]) or (0.0, 0.0))[1] * scales[one.run] for one in spent)
        found = [one.metrics.at(metric, AXES[x], [place / scales[one.run]])[0] if one in spent else math.nan
                 for one in (side.history for side in sides)]  # fmt: skip
        equal[x] = Equal(place, [one if math.isfinite(one) else None for one in found])
    return equal


def _scores(sides: Sequence[_Side]) -> dict[tuple[str, str], list[tuple[float, float | None] | None]]:
    """Return what `pylm eval` found last of each run, by task and metric."""
    names = dict.fromkeys(name for side in sides for name in side.scores)
    return {
        name: [(side.scores[name]["value"], side.scores[name].get("stderr")) if name in side.scores else None
               for side in sides]
        for name in names
    }  # fmt: skip
