"""When a request is made again: what may pass, how long to wait for it, and when to give up."""

from __future__ import annotations

import re
from collections.abc import Callable

from pylm.config.units import format_duration
from pylm.data.fetching.answers import Headers
from pylm.errors import DataError

__all__ = ["PASSING", "Passing", "Patience", "asked_to_wait"]

PASSING = {408, 429, 500, 502, 503, 504}  # answers that another time may be others
WAITS = (1.0, 2.0, 4.0, 8.0)
LONGEST = 900.0  # the Hub counts requests by five minutes; who asks for more than this is not waited for

ENDLESS = 1e9  # seconds; a longer number may be infinite


class Passing(Exception):
    """A failure that may pass; `wait` is what the other side asks for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        """`reason` ends the sentence that is said where it does not pass."""
        super().__init__(reason)
        self.reason, self.wait = reason, wait


class Patience:
    """How often one thing may fail: five times in a row, with 1, 2, 4 and 8 seconds between."""

    def __init__(self, name: str, sleep: Callable[[float], None]) -> None:
        """`name` is what is said to have failed in the end."""
        self.name, self.sleep = name, sleep
        self.failures = 0
        self.has_progressed = False

    def progressed(self) -> None:
        """Forget earlier failures: something came."""
        self.failures, self.has_progressed = 0, True

    def failed(self, failure: Passing) -> None:
        """Wait before the next time, or give up; a connection that ended in the middle is made again at once."""
        if self.has_progressed and failure.wait is None:
            self.has_progressed = False
            return
        self.has_progressed = False
        if self.failures == len(WAITS) or (failure.wait or 0) > LONGEST:
            raise DataError(f"{self.name} could not be fetched: {failure.reason}", self._hint(failure)) from None
        self.sleep(WAITS[self.failures] if failure.wait is None else failure.wait)
        self.failures += 1

    def _hint(self, failure: Passing) -> str:
        if failure.wait is not None:
            return f"try again in {format_duration(failure.wait)}: what is here already is kept"
        return "try again later: what is here already is kept"


def asked_to_wait(headers: Headers) -> float | None:
    """Return for how many seconds an answer asks to be left alone: RateLimit's `t` and one more, else Retry-After."""
    limit = re.search(r"\bt\s*=\s*(\d+)", headers.get("RateLimit") or "")
    if limit:
        return min(float(limit[1]), ENDLESS) + 1
    after = (headers.get("Retry-After") or "").strip()
    return min(float(after), ENDLESS) if re.fullmatch(r"\d+(\.\d+)?", after) else None
