"""Where the base of an adapter lies: where it was, or wherever a checkpoint of the same weights is found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pylm.checkpoint.directory import read
from pylm.checkpoint.opened import Weights, holds_weights, open_weights
from pylm.checkpoint.run_folder import CHECKPOINTS, find, steps
from pylm.checkpoint.state import parse
from pylm.errors import CheckpointError

__all__ = ["BASE", "base_of"]

BASE = "PYLM_BASE"  # the environment's name of a base, for who knows better


def base_of(folder: Path) -> Weights:
    """Return the weights that an adapter is for.

    What PYLM_BASE names wins; then where the base was when the adapter was made; then any checkpoint of the same
    weights in the runs beside it. It is an error where none of them has the weights that the adapter was trained on.
    """
    where, wanted = _told(folder)
    if named := os.environ.get(BASE):
        base = open_weights(find(named))
        return _checked(folder, base, wanted)
    if where is not None and holds_weights(where):
        base = open_weights(where)
        if wanted is None or base.identity == wanted:
            return base
    if wanted is not None and (found := next(_alike(folder, wanted), None)) is not None:
        return open_weights(found)
    if where is not None and holds_weights(where):
        return _checked(folder, open_weights(where), wanted)
    told = "says nowhere what it is for" if where is None else f"is for {where}, which is not there"
    known = "" if wanted is None else f" (its weights: {wanted[:12]}…)"
    raise CheckpointError(f"the adapter {folder} {told}{known}", f"name its base: {BASE}=CHECKPOINT")


def _told(folder: Path) -> tuple[Path | None, str | None]:
    """Return what an adapter says of its base: a place, and the hash of the weights where it knows it."""
    if (folder / "manifest.json").exists():
        base = read(folder).state["adapter"]["base"]
        return Path(base["path"]), base["weights"]
    try:
        config = parse(folder / "adapter_config.json")
    except ValueError as error:
        raise CheckpointError(f"{folder / 'adapter_config.json'}: {error}") from None
    name, wanted = config.get("base_model_name_or_path", config.get("model")), config.get("pylm_base_weights")
    if not isinstance(name, str):
        return None, None
    place = Path(name)
    beside = folder / place  # a relative place may count from the adapter, or from here
    place = beside if not place.is_absolute() and not place.exists() and beside.exists() else place
    return place, wanted if isinstance(wanted, str) else None


def _checked(folder: Path, base: Weights, wanted: str | None) -> Weights:
    if wanted is not None and base.identity != wanted:
        raise CheckpointError(
            f"the adapter {folder} is for the weights {wanted[:12]}…, {base.path} holds {base.identity[:12]}…",
            f"name the base that it was trained on: {BASE}=CHECKPOINT",
        )
    return base


def _alike(folder: Path, wanted: str) -> Iterator[Path]:
    """Yield the checkpoints of these weights among the runs beside the adapter's, and those under runs/."""
    places = dict.fromkeys(place.resolve() for place in (*_runs_around(folder), Path("runs")))
    for place in places:
        for run in sorted(place.iterdir()) if place.is_dir() else ():
            for step in reversed(steps(run)):
                checkpoint = run / CHECKPOINTS / f"step_{step}"
                try:
                    if checkpoint.resolve() != folder.resolve() and read(checkpoint).identity == wanted:
                        yield checkpoint
                except CheckpointError:
                    continue


def _runs_around(folder: Path) -> Iterator[Path]:
    """Yield the folder of the runs that an adapter's checkpoint is in."""
    where = folder.resolve()
    if where.parent.name == CHECKPOINTS:
        yield where.parent.parent.parent
