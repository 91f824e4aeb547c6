"""The command line: one file a command, and whatever is heavy imported inside the command's function."""

from pylm.cli.entry import main, run

__all__ = ["main", "run"]
