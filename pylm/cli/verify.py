"""`pylm verify`: whether a run's checkpoints are as they were written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pylm.cli.frame.command import command, json_option
from pylm.cli.frame.completion import complete_runs
from pylm.cli.frame.printing import print_json


@command("verify", example="pylm verify runs/x")
@click.argument("run", metavar="RUN", shell_complete=complete_runs)
@json_option
def verify(run: str, as_json: bool) -> None:
    """Hash every file of a run's checkpoints, or of one checkpoint, and name what is damaged.

    Leaves with 3 where something is, and says which checkpoint is the newest sound one.
    """
    from pylm.errors import CheckError

    verdicts = _look(run)
    damaged = [entry for entry in verdicts if entry["damage"]]
    if as_json:
        print_json({"checkpoints": verdicts, "newest_sound": _newest(verdicts)})
    else:
        for entry in verdicts:
            click.echo(f"{entry['path']}: {entry['damage'] or 'sound'}{_soup(entry.get('soup'))}")
    if damaged:
        newest = _newest(verdicts)
        count = "1 checkpoint is" if len(damaged) == 1 else f"{len(damaged)} checkpoints are"
        hint = f"go on from the newest sound one: pylm train --resume {newest}" if newest else "none is sound"
        raise CheckError(f"{count} damaged", hint)


def _look(run: str) -> list[dict[str, Any]]:
    from pylm import checkpoint
    from pylm.errors import CheckpointError

    folder = Path(run)
    steps = checkpoint.steps(folder)
    paths = [folder / "checkpoints" / f"step_{step}" for step in steps] or [checkpoint.find(run)]
    verdicts = []
    for path in paths:
        damage = soup = None
        try:
            soup = checkpoint.verify(path).state.get("soup")
        except CheckpointError as error:
            damage = error.message.removeprefix(f"{path}/")
        verdicts.append({"path": str(path), "damage": damage, **({} if soup is None else {"soup": soup})})
    return verdicts


def _soup(made: dict[str, Any] | None) -> str:
    """Return what a checkpoint was made of, where it is a soup."""
    return "" if made is None else f", {made['method']} of {', '.join(each['path'] for each in made['parents'])}"


def _newest(found: list[dict[str, Any]]) -> str | None:
    sound = [str(entry["path"]) for entry in found if not entry["damage"]]
    return sound[-1] if sound else None
