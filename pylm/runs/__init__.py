"""The folder of a run: its lock, its metrics, its incidents, and what is shown while it goes."""

from pylm.runs.folder import RunFolder
from pylm.runs.lines import Lines, read_lines
from pylm.runs.run import Run
from pylm.runs.stop import SignalStop, Stop
from pylm.runs.view import View

__all__ = ["Lines", "Run", "RunFolder", "SignalStop", "Stop", "View", "read_lines"]
