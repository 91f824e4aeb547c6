"""The command line: one file a command, and whatever is heavy imported inside the command's function."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main", "run"]


def main() -> None:
    """Run the command line and leave with its exit code."""
    from pylm.cli.frame import starting

    starting.begin()
    starting.let_all_be_printed()
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code; nothing but the code escapes."""
    try:
        # imported here, so that a Ctrl-C while click loads ends as one does later
        from pylm.cli.frame.entry import run as run_command

        return run_command(args)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
