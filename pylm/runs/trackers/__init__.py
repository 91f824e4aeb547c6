"""Runs sent on to trackers while they are trained, or once they stand: by a process beside, which no step waits for."""

from pylm.runs.trackers.services import SERVICES, check, service_of
from pylm.runs.trackers.sink import CRASHED, FINISHED, STOPPED
from pylm.runs.trackers.tracking import Told, Tracking, track

__all__ = ["CRASHED", "FINISHED", "SERVICES", "STOPPED", "Told", "Tracking", "check", "service_of", "track"]
