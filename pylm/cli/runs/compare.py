"""`pylm compare`: runs side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.printing import print_json

if TYPE_CHECKING:
    from pylm.runs.compare import Comparison, Verdict
    from pylm.runs.paired import Paired

EXAMPLE = """pylm compare runs/a runs/b
pylm compare runs/base-* runs/new-*
pylm compare runs/a wandb:ID tb:logs trackio:PROJECT losses.csv"""
NAMES = {"val_loss": "val loss", "bits_per_byte": "bits a byte", "loss": "loss"}


@command("compare", example=EXAMPLE)
@click.argument("runs", nargs=-1, metavar="RUN…", shell_complete=complete_runs)
@click.option("--run-ids", "ids", multiple=True, metavar="A,B", show_default=False,
              help="Runs by the ids that they have at W&B: wandb:A wandb:B in short.")  # fmt: skip
@json_option
def compare(runs: tuple[str, ...], ids: tuple[str, ...], as_json: bool) -> None:
    """Set runs side by side: what each reached, at its end and where all had spent the same, and what differs in them.

    Runs that differ in their seed alone are repetitions of one: they have a mean and a deviation, and Welch's test
    says whether two means differ by more than chance. Where tokenizers differ, bits per byte are compared, not losses.
    Runs that pylm eval has judged by the same documents are compared by pairs of these too.
    """
    from pylm.runs.compare import compare as compared
    from pylm.runs.readers.opening import names_of

    found = compared(names_of(runs, ids))
    if as_json:
        print_json(found.as_dict())
    else:
        click.echo("\n".join(_lines(found)))


def _lines(found: Comparison) -> Iterator[str]:
    from pylm.cli.frame.table import table

    yield from table([("", *(str(run) for run in found.runs)), *_rows(found)])
    if remarks := [*_remarks(found)]:
        yield from ("", *remarks)
    if found.differing:
        yield ""
        rows = [(key, *(f"{one.value} ({one.origin})" for one in values)) for key, values in found.differing.items()]
        yield from table([("", *(str(run) for run in found.runs)), *rows], to_the_left=range(len(found.runs) + 1))


def _remarks(found: Comparison) -> Iterator[str]:
    """Yield what is said of the numbers: by which the runs are compared, and how far they are from the first."""
    if found.why:
        yield f"compared by {NAMES[found.metric]}: {found.why}"
    for group in found.groups:
        if group.deviation is not None:
            names, seeds = ", ".join(run.name for run in group.runs), len(group.values)
            yield f"{names}: {NAMES[found.metric]} {group.mean:.4f} ± {group.deviation:.4f} over {seeds} seeds"
    if lacking := [run.name for group in found.groups if group.mean is None for run in group.runs]:
        yield f"{', '.join(lacking)}: no {NAMES[found.metric]} to compare"
    yield from (_verdict(found, verdict) for verdict in found.verdicts)
    yield from (_paired(found.runs[0].name, one) for one in found.paired)


def _rows(found: Comparison) -> Iterator[tuple[str, ...]]:
    """Yield the rows of numbers: the ends of the runs, equal places, scores."""
    from pylm.config.units import format_count, format_duration

    spelled = {"steps": "{:,.0f}".format, "tokens": format_count, "time": format_duration,
               "flops": "{:.3g} FLOPs".format}  # fmt: skip
    for key, values in found.finals.items():
        form = spelled.get(key, "{:.4f}".format)
        if any(value is not None for value in values):
            yield (NAMES.get(key, key), *("-" if value is None else form(value) for value in values))
    for x, equal in found.equal.items():
        place = f"{spelled[x](equal.place)}{' tokens' if x == 'tokens' else ''}"
        yield (f"{NAMES[found.metric]} at {place}", *("-" if one is None else f"{one:.4f}" for one in equal.values))
    if found.soups:
        yield ("soup of", *(", ".join(map(_parent, found.soups.get(run, []))) or "-" for run in found.runs))
    for (task, metric), scores in found.scores.items():
        shown = ("-" if one is None else f"{one[0]:.4f}" + (f" ± {one[1]:.4f}" if one[1] else "") for one in scores)
        yield (f"{task} {metric}", *shown)


def _parent(one: dict[str, Any]) -> str:
    """Return a parent of a soup, with its share where each has one."""
    return f"{one['path']}" + ("" if one.get("share") is None else f" {one['share']:.3g}")


def _verdict(found: Comparison, verdict: Verdict) -> str:
    from pylm.runs.compare import SURE

    first, other = found.groups[0].runs[0].name, found.groups[verdict.group].runs[0].name
    said = f"{other} is {verdict.difference:+.4f} from {first}"
    if verdict.p is None:
        return f"{said}; with a run a side nobody knows whether that is chance: train each with other seeds"
    size = "" if verdict.cohen is None else f", {abs(verdict.cohen):.1f} deviations"
    said = f"{said}{size}; by chance alone with p = {verdict.p:.2g} (Welch)"
    have = min(len(found.groups[number].values) for number in (0, verdict.group))
    if verdict.p < SURE:
        return said
    if verdict.seeds is None:
        return f"{said}; were it to stay so, 200 seeds a side would not tell"
    return f"{said}; were it to stay so, {max(verdict.seeds - have, 1)} seeds more a side would tell (p < {SURE})"


def _paired(first: str, one: Paired) -> str:
    unit = {"loss": "nats", "bits_per_byte": "bits a byte"}[one.metric]
    return (
        f"{one.run.name} is {one.difference:+.4f} {unit} from {first} on the same {one.documents:,} documents of "
        f"{one.data}, with 95 % from {one.low:+.4f} to {one.high:+.4f}; by chance alone with p = {one.p:.2g} (paired)"
    )
