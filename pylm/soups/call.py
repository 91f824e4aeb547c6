"""`pylm.soup`: checkpoints of one model in, their average out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.checkpoint import find, steps
from pylm.checkpoint.directory import sweep
from pylm.errors import CheckpointError, UsageError, did_you_mean
from pylm.soups.adapters import is_factor, refuse_on_sphere
from pylm.soups.methods import decayed, fixed, karcher, slerp
from pylm.soups.parents import Parent, checking, in_order, opened, refuse_unlike
from pylm.soups.written import write_soup
from pylm.wording import call, param

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint

__all__ = ["METHODS", "soup"]

METHODS = ("mean", "weighted", "greedy", "slerp", "ema", "karcher")
# Which method a parameter is of
TAKES = {"weights": ("weighted", "karcher"), "t": ("slerp", "ema"), "data": ("greedy",)}
Path_ = str | os.PathLike[str]
Progress = Callable[[int, "int | None"], object]


def soup(
    checkpoints: Path_ | Sequence[Path_],
    *,
    out: Path_,
    method: str = "mean",
    weights: Sequence[float] | None = None,
    t: float | None = None,
    data: Path_ | None = None,
    progress: Progress = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> Checkpoint:
    """Return one checkpoint made of several: an average of their weights.

    ::

        pylm.soup(["runs/a", "runs/b", "runs/c"], out="runs/soup")
        pylm.soup(["runs/a", "runs/b"], out="runs/soup", method="greedy").state["soup"]

    They are of one model and one tokenizer, or adapters of one base, which make an adapter. Their order does not
    matter: the same bytes come out. No optimizer is in it: `pylm.train(init_from=…)` starts a new run from it.

    Args:
        checkpoints: Each a CHECKPOINT: a run, one of its steps, a folder of weights. For ema one run, whose checkpoints
            are averaged.
        out: The folder to make.
        method: mean; weighted; greedy, which takes those that make the average better; slerp, between two on the
            sphere; karcher, the mean on the sphere; ema, a run's exponential moving average.
        weights: How much of each, for weighted and karcher: parts, whatever they add up to.
        t: For slerp how far from the first to the second, 0.5 if not given; for ema the decay from one checkpoint to
            the next.
        data: For greedy, what judges: a folder of shards, or a file of text. The validation split of the runs if not
            given.
        progress: Called with the bytes that are written, and how many there will be.
        say: Told what a user wants to read.
    """
    names = _names(checkpoints)
    t = 0.5 if method == "slerp" and t is None else t
    _refuse(names, method, weights, t, data)
    place = Path(out)
    if place.exists():
        raise CheckpointError(f"{place} exists already", "a checkpoint is never overwritten: remove it first")
    named = _steps_of(names[0]) if method == "ema" else names
    sweep(place)
    given = opened(named)
    with checking(given) as sound:
        refuse_unlike(given)
        refuse_on_sphere(method, given)
        made: dict[str, Any] = {"method": method} if t is None else {"method": method, "t": t}
        if method == "greedy":
            from pylm.soups.greedy import choose

            sound()
            chosen = choose(given, place, None if data is None else os.fspath(data), say)
            made |= {"candidates": chosen.scores, **chosen.report}
            given = chosen.taken
        shares = _shares(method, len(given), weights, t)
        mixed = in_order(zip(given, shares, strict=True))
        parents = [parent for parent, _ in mixed]

        def told() -> dict[str, Any]:
            """Name the parents by their hashes, which may be in the making while they are summed."""
            return made | {"parents": [{"path": parent.name, "step": parent.step, "identity": parent.identity,
                                        "share": share} for parent, share in mixed]}  # fmt: skip

        coefficients = {"slerp": slerp, "karcher": karcher}.get(method, fixed)([share for _, share in mixed])
        return write_soup(place, parents, coefficients, told, _counted(parents, progress), sound)


def _names(checkpoints: Path_ | Sequence[Path_]) -> list[str]:
    if isinstance(checkpoints, str | os.PathLike):
        return [os.fspath(checkpoints)]
    return [os.fspath(each) for each in checkpoints]


def _refuse(names: Sequence[str], method: str, weights: Sequence[float] | None, t: float | None, data: Any) -> None:
    """Refuse, in one sentence, what cannot be, before anything is read."""
    if method not in METHODS:
        raise UsageError(f"method is {method!r}", did_you_mean(method, METHODS) or f"choose {', '.join(METHODS)}")
    for name, value in (("weights", weights), ("t", t), ("data", data)):
        if value is not None and method not in TAKES[name]:
            for_ = " and ".join(TAKES[name])
            raise UsageError(f"{param(name)} is for {for_}, and the method is {method}", "leave one of them out")
    _refuse_number(names, method)
    if method == "weighted" and weights is None:
        raise UsageError("weighted by what is not said", param("weights", ",".join(["1"] * len(names))))
    if weights is not None:
        _refuse_weights(weights, len(names))
    if method == "ema" and t is None:
        raise UsageError("the decay of the moving average is not given", param("t", 0.9))
    if t is not None and not (0 <= t <= 1 and (method == "slerp" or t < 1)):
        raise UsageError(f"t is {t:g}", f"give {'0 to 1' if method == 'slerp' else 'a decay from 0 on and below 1'}")


def _refuse_number(names: Sequence[str], method: str) -> None:
    count = len(names)
    if method == "ema" and count != 1:
        raise UsageError(f"ema goes over the checkpoints of one run, and {_are(count)} named", "name one run")
    if method == "slerp" and count != 2:
        raise UsageError(f"slerp is between two checkpoints, and {_are(count)} named", param("method", "karcher"))
    if method not in ("ema", "slerp") and count < 2:
        raise UsageError(f"a soup is of two checkpoints or more, and {_are(count)} named", "name another")


def _refuse_weights(weights: Sequence[float], count: int) -> None:
    if len(weights) != count:
        raise UsageError(f"{len(weights)} weights for {count} checkpoints", "give one for each, in their order")
    for weight in weights:
        if not 0 < weight < math.inf:
            raise UsageError(f"a weight is {weight:g}", "give numbers above 0, and leave out what is not to be in it")


def _are(count: int) -> str:
    return f"{count} is" if count == 1 else f"{count} are"


def _steps_of(name: str) -> list[str]:
    """Return the checkpoints of a run, the oldest first."""
    found = steps(Path(name))
    if not found:
        find(name)  # says what is wrong with a name that means nothing
        raise UsageError(f"{name} is no run, and ema goes over the checkpoints of one", "name the run's folder")
    if len(found) == 1:
        raise CheckpointError(
            f"{name} has one checkpoint, step_{found[0]}: there is nothing to average",
            f"{call('train', 'SOURCE', keep_last=10)} keeps more",
        )
    return [f"{name}/step_{step}" for step in found]


def _shares(method: str, count: int, weights: Sequence[float] | None, t: float | None) -> list[float]:
    """Return how much of each is in it; they add up to 1."""
    if method == "slerp":
        assert t is not None
        return [1 - t, t]
    if method == "ema":
        assert t is not None
        return decayed(count, t)
    parts = [1.0] * count if weights is None else weights
    whole = math.fsum(parts)
    return [part / whole for part in parts]


def _counted(parents: Sequence[Parent], progress: Progress) -> Callable[[int], object]:
    """Return what counts the bytes that are written."""
    first, *others = parents
    total, done = sum(len(tensor.data) for tensor in first.weights.values()), 0
    if first.is_adapter:
        total += sum(len(parent.weights[name].data) for parent in others for name in parent.weights if is_factor(name))

    def count(written: int) -> None:
        nonlocal done
        done += written
        progress(done, total)

    return count
