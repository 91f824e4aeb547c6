"""Which activations dropout drops: a function of a seed, a pass, a place in the model and a place in the tensor.

Every backend computes the same function, so a run drops the same wherever it goes on, and a block that is computed
again drops the same again. The generator is SplitMix64 (Steele, Lea and Flood, 2014) read as a counter: word i of a key
is the mixture of key + (i + 1) · γ, and gives four consecutive elements 16 bits each, the lowest first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pylm.errors import CheckpointError

__all__ = ["GAMMA", "LANES", "MULTIPLIERS", "Masks", "mixed", "threshold"]

GAMMA = 0x9E3779B97F4A7C15
MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
LANES = 4  # elements of a word
WORD = (1 << 64) - 1


def mixed(z: Any, multipliers: tuple[Any, Any], shifted: Callable[[Any, int], Any]) -> Any:
    """Return SplitMix64's mixture of 64-bit words, whatever holds them.

    Args:
        z: words, whose products wrap.
        multipliers: MULTIPLIERS in a type that z is multiplied by.
        shifted: z moved to the right by so many bits, zeros moving in.
    """
    z = (z ^ shifted(z, 30)) * multipliers[0]
    z = (z ^ shifted(z, 27)) * multipliers[1]
    return z ^ shifted(z, 31)


def threshold(share: float) -> tuple[int, float]:
    """Return the least signed 16-bit number that stays, and the factor of what stays; shares are kept to 1/65,536."""
    dropped = min(round(share * 65536), 65535)
    return dropped - 32768, 65536 / (65536 - dropped)


class Masks:
    """A counter that gives the keys of a run's passes; its state is its seed and how many there were."""

    def __init__(self, seed: int) -> None:
        """Begin before the first pass."""
        self.seed, self.passes = seed, 0

    def keys(self, places: int) -> list[int]:
        """Count a pass, and return a key for each of so many places in the model."""
        first = _mixed(_mixed(self.seed) + self.passes * GAMMA)
        self.passes += 1
        return [_mixed(first + (place + 1) * GAMMA) for place in range(places)]

    @property
    def state(self) -> str:
        """Return what `load` takes."""
        return f"{self.seed}:{self.passes}"

    def load(self, state: str) -> None:
        """Go on from a state."""
        try:
            seed, passes = (int(part) for part in state.split(":"))
        except ValueError:
            raise CheckpointError(f"{state[:40]!r} is no state of dropout: a seed and how many passes") from None
        self.seed, self.passes = seed, passes


def _mixed(word: int) -> int:
    """Return `mixed` of one Python integer: only the low 64 bits of a product are kept, and of the sum before it."""
    one, other = MULTIPLIERS
    z = word & WORD
    z = (z ^ z >> 30) * one & WORD
    z = (z ^ z >> 27) * other & WORD
    return z ^ z >> 31
