"""`pylm runs show`: what a run is, and what it came to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.printing import print_json


@command("show", example="pylm runs show runs/a")
@click.argument("run", required=False, metavar="[RUN]", shell_complete=complete_runs)
@json_option
def show(run: str | None, as_json: bool) -> None:
    """Show a run, the newest where none is named: where it stands, what it reached, where its time went."""
    from pylm.runs.finding import find_runs
    from pylm.runs.summary import summary

    facts = summary(find_runs([run] if run else [])[0])
    if as_json:
        print_json(facts)
    else:
        click.echo("\n".join(f"{name:<12}{text}" for name, text in _lines(facts)))


def _lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what is said of a run, each with its subject."""
    from pylm.config.units import format_bytes, format_count, format_duration

    reason = f": {facts['why']}" if facts["why"] else ""
    yield "run", f"{facts['path']}, {facts['state']}{reason}"
    if facts["step"] is not None:
        yield (
            "taken",
            f"{facts['step']:,} steps, {format_count(facts['tokens'])} tokens, " + format_duration(facts["seconds"]),
        )
    for name, key in (("loss", "loss"), ("val loss", "val_loss"), ("bits a byte", "bits_per_byte")):
        if facts[key] is not None:
            best = f", the best {facts['best_loss']:.4f} at step {facts['best_step']:,}" if key == "val_loss" else ""
            yield name, f"{facts[key]:.4f}{best}"
    if facts.get("tokens_per_second"):
        peak = f", {facts['mfu']:.1%} of matmul peak" if facts["mfu"] else ""
        memory = f", {format_bytes(facts['memory'])} held" if facts["memory"] else ""
        yield "speed", f"{format_count(facts['tokens_per_second'])} tokens/s{peak}{memory}"
    whole = sum(facts.get("phases", {}).values())
    if whole:
        parts = sorted(facts["phases"].items(), key=lambda part: -part[1])
        yield "time", ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in parts)
    if facts.get("resumed_at"):
        yield "resumed", "at step " + ", ".join(f"{step:,.0f}" for step in facts["resumed_at"])
    if facts["device"]:
        yield "machine", f"{facts['backend']} on {facts['device_name'] or facts['device']}, {facts['precision']}"
    if facts["tokenizer"]:
        yield "made of", f"data {(facts['data'] or 'unknown')[:12]}, tokenizer {facts['tokenizer'][:12]}"
    if facts["incidents"]:
        yield "incidents", f"{facts['incidents']:,}: pylm why {facts['path']} shows one"
    yield "checkpoints", ", ".join(f"step_{step}" for step in facts["checkpoints"]) or "none"
