"""What the exit codes of ranks come to: one code of all, or a new start."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from pylm.wording import param

__all__ = ["GOES_ON", "LOST", "can_start_again", "code_of_all", "ended_by"]

LOST = 69  # EX_UNAVAILABLE: a rank that could not go on because another was gone
GOES_ON = f"with {param('resume', 'auto')} the same line goes on from the last checkpoint"  # what to do then


def can_start_again(codes: Mapping[int, int]) -> bool:
    """Say whether ranks were only killed or lost one another: what left with a sentence would leave with it again."""
    failed = [code for code in codes.values() if code]
    return bool(failed) and all(code < 0 or code == LOST for code in failed)


def code_of_all(codes: Mapping[int, int]) -> int:
    """Return the code that all leave with: the one that says most, and of several the lowest rank's."""
    said = [code for _, code in sorted(codes.items()) if code > 0 and code != LOST]
    return said[0] if said else int(any(codes.values()))


def ended_by(codes: Mapping[int, int]) -> str:
    """Return the words for who failed first: a rank that was killed before those that lost it."""
    rank, code = min(((rank, code) for rank, code in codes.items() if code), key=lambda one: (one[1] >= 0, one[0]))
    if code == LOST:
        return f"rank {rank} lost the others"
    return f"rank {rank} was ended by {signal.Signals(-code).name}" if code < 0 else f"rank {rank} left with {code}"
