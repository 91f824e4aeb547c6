"""What a recipe came to, as the lines and tables of `pylm recipe`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pylm.cli.frame.table import table
from pylm.config.units import counted, format_bytes, format_count, format_duration

if TYPE_CHECKING:
    from pylm.recipes.plan import Planned
    from pylm.recipes.standing import Standing

__all__ = ["planned_lines", "result_words", "table_of"]


def result_words(seconds: float, result: Mapping[str, Any]) -> str:
    """Return a step's result in a line."""
    return f"in {format_duration(seconds)}: {_came_to(result)}"


def table_of(standings: Sequence[Standing]) -> Iterator[str]:
    """Yield the steps with what they came to, then what each evaluation found, the first one the measure of all."""
    yield from table([("step", "state", "time", "came to"), *map(_row, standings)], to_the_left=(0, 1, 3))
    for each in standings:
        if "evaluations" in each.result:
            yield ""
            yield from _judged(each)


def planned_lines(planned: Planned) -> Iterator[str]:
    """Yield what would run, and what is known of what it takes."""
    rows = [("step", "command", "state", "time", "disk")]
    for each in planned.steps:
        state = f"waits for {', '.join(each.waits_for)}" if each.waits_for else each.unknown or each.state
        state = f"does not fit: {each.why_not[0]}" if each.why_not else state
        time = "" if each.seconds is None else format_duration(each.seconds)
        rows.append((each.name, each.command, state, time, "" if each.disk is None else format_bytes(each.disk)))
    yield from table(rows, to_the_left=(0, 1, 2))
    running = [each for each in planned.steps if each.state != "stands"]
    untold = [each for each in running if each.command == "train" and each.seconds is None]
    if not running:
        yield f"all of it stands in {planned.folder}"
        return
    yield f"{counted(len(running), 'step')} of {len(planned.steps)} would run in {planned.folder}"
    if planned.seconds:
        yield f"the trainings that can be told take {format_duration(planned.seconds)}, {format_bytes(planned.disk)}"
    if untold:
        yield f"trainings that can be told once their data stands: {len(untold)}"


def _row(one: Standing) -> tuple[str, ...]:
    state = f"waits for {', '.join(one.waits_for)}" if one.waits_for else one.state
    if one.state != "stands":
        return one.instance.name, state, "", ""
    return one.instance.name, state, format_duration(one.done["seconds"]), _came_to(one.result)


def _came_to(result: Mapping[str, Any]) -> str:
    if "evaluations" in result:
        return counted(len(result["evaluations"]), "checkpoint") + " judged"
    if "steps" in result:
        loss = result["val_loss"]
        return f"{result['steps']:,} steps" + ("" if loss is None else f", validation loss {loss:.4f}")
    if "parents" in result:
        return f"{result['method']} of {counted(len(result['parents']), 'checkpoint')}"
    if "train_tokens" in result:
        return f"{format_count(result['train_tokens'])} tokens"
    return format_bytes(result["bytes"])


def _judged(one: Standing) -> Iterator[str]:
    """Yield an evaluation's table: a row a checkpoint by the step that made it, and how far it is from the first."""
    found, apart = one.result["evaluations"], [[], *one.result["compared"]]
    names = one.record["read_as"][: len(found)]
    rows: list[tuple[str, ...]] = [(one.instance.name, "loss", "bits/byte", f"against {names[0]}", "95 %", "")]
    for name, each, differences in zip(names, found, apart, strict=True):
        loss = next((other for other in differences if other["metric"] == "loss"), None)
        by = ("", "", "") if loss is None else (
            f"{loss['value']:+.4f}", f"{loss['low']:+.4f} to {loss['high']:+.4f}", loss["verdict"])  # fmt: skip
        rows.append((name, _number(each["loss"]), _number(each["bits_per_byte"]), *by))
    yield from table(rows, to_the_left=(0, 5))
    first = found[0]
    yield f"{first['tokens']:,} tokens of {counted(first['documents'], 'document')}; differences are paired by document"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
