"""What a shell completes beside options: the runs of this folder and their checkpoints, the names of datasets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["complete_datasets", "complete_runs", "complete_sources"]

RUNS = Path("runs")
STEP = re.compile(r"step_(\d+)")


def complete_runs(_ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the runs under runs/, newest first, and the checkpoints of one whose name stands there with a slash."""
    first = ["auto"] * (param.name == "resume")
    matching = [name for name in (*first, *_runs()) if name.startswith(incomplete)]
    run, slash, _ = incomplete.rpartition("/")
    if slash and Path(run, "checkpoints").is_dir():
        inside = [path.name for path in Path(run, "checkpoints").iterdir()]
        steps = sorted((name for name in inside if STEP.fullmatch(name)), key=lambda name: int(name[5:]), reverse=True)
        ends = [name for name in ("best", "last") if name in inside]
        matching += [f"{run}/{name}" for name in (*ends, *steps) if f"{run}/{name}".startswith(incomplete)]
    return matching


def complete_datasets(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of datasets, and of one that stands there whole its slices and configurations."""
    from pylm.data.catalogue import dataset, is_known, names

    matching = [name for name in names() if name.startswith(incomplete)]
    base = re.sub(r"(_\d*[MB]?|:\w*)$", "", incomplete)
    if is_known(base):
        known = dataset(base)
        slices = [f"{base}_{size}" for size in ("10M", "100M", "1B") if known.kind not in ("evaluation", "rules")]
        configs = [f"{known.name}:{config}" for config in known.configs]
        matching += [name for name in (*slices, *configs) if name.startswith(incomplete) and name != incomplete]
    return matching


def complete_sources(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return what completes a SOURCE: files, and the names of datasets."""
    from click.shell_completion import CompletionItem

    names = complete_datasets(ctx, param, incomplete) if incomplete else []
    return [CompletionItem(incomplete, type="file"), *map(CompletionItem, names)]


def _runs() -> list[str]:
    try:
        dated = [(path.stat().st_mtime_ns, str(path)) for path in RUNS.iterdir() if (path / "checkpoints").is_dir()]
    except OSError:
        return []
    return [name for _, name in sorted(dated, reverse=True)]
