"""`pylm completion`: what a shell needs to complete commands, options, presets and keys."""

from __future__ import annotations

import re
from pathlib import Path

import click

from pylm.cli.frame import command

# where each shell looks for it
PLACES = {
    "bash": "~/.local/share/bash-completion/completions/pylm",
    "zsh": "a folder of $fpath, as _pylm",
    "fish": "~/.config/fish/completions/pylm.fish",
}

RUNS = Path("runs")
STEP = re.compile(r"step_(\d+)")


def complete_runs(_ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The runs under runs/, newest first, and the checkpoints of one whose name stands there with a slash."""
    first = ["auto"] * (param.name == "resume")
    whole = [name for name in (*first, *_runs()) if name.startswith(incomplete)]
    run, slash, _ = incomplete.rpartition("/")
    if slash and Path(run, "checkpoints").is_dir():
        found = [path.name for path in Path(run, "checkpoints").iterdir()]
        steps = sorted((name for name in found if STEP.fullmatch(name)), key=lambda name: int(name[5:]), reverse=True)
        ends = [name for name in ("best", "last") if name in found]
        whole += [f"{run}/{name}" for name in (*ends, *steps) if f"{run}/{name}".startswith(incomplete)]
    return whole


def _runs() -> list[str]:
    try:
        found = [(path.stat().st_mtime_ns, str(path)) for path in RUNS.iterdir() if (path / "checkpoints").is_dir()]
    except OSError:
        return []
    return [name for _, name in sorted(found, reverse=True)]


@command(example="pylm completion bash > ~/.local/share/bash-completion/completions/pylm")
@click.argument("shell", type=click.Choice(list(PLACES)))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    bash reads it from ~/.local/share/bash-completion/completions/pylm, zsh as _pylm from a folder of $fpath, fish
    from ~/.config/fish/completions/pylm.fish.
    """
    from click.shell_completion import get_completion_class

    from pylm.cli.entry import COMPLETE_VARIABLE, PROGRAM, root

    script = get_completion_class(shell)
    assert script is not None, f"click completes {shell}"
    click.echo(script(root, {}, PROGRAM, COMPLETE_VARIABLE).source())
