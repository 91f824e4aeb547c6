"""`pylm completion`: what a shell needs to complete commands, options, presets and keys."""

from __future__ import annotations

import click

from pylm.cli.frame.command import command

# where each shell looks for it
PLACES = {
    "bash": "~/.local/share/bash-completion/completions/pylm",
    "zsh": "a folder of $fpath, as _pylm",
    "fish": "~/.config/fish/completions/pylm.fish",
}


@command(example="pylm completion bash > ~/.local/share/bash-completion/completions/pylm")
@click.argument("shell", type=click.Choice(list(PLACES)))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    bash reads it from ~/.local/share/bash-completion/completions/pylm, zsh as _pylm from a folder of $fpath, fish
    from ~/.config/fish/completions/pylm.fish.
    """
    from click.shell_completion import get_completion_class

    from pylm.cli.frame.entry import COMPLETE_VARIABLE, PROGRAM, root

    script = get_completion_class(shell)
    assert script is not None, f"click completes {shell}"
    click.echo(script(root, {}, PROGRAM, COMPLETE_VARIABLE).source())
