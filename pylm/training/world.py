"""The processes that train one model together, and which of them this one is: as torchrun says it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pylm.errors import UsageError

__all__ = ["ALONE", "World"]

# torchrun's names of what a World has
NAMES = {"rank": "RANK", "size": "WORLD_SIZE", "local_rank": "LOCAL_RANK", "local_size": "LOCAL_WORLD_SIZE"}


@dataclass(frozen=True)
class World:
    """One process among those that share each step; alone unless said otherwise."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those on this machine
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that speaks, writes and decides for all."""
        return self.rank == 0

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] = os.environ) -> World:
        """Return what a launcher such as torchrun says; this process alone where none does."""
        texts = {key: environ[name] for key, name in NAMES.items() if name in environ}
        if "rank" not in texts and "size" not in texts:
            return cls()
        if missing := [name for key, name in NAMES.items() if key not in texts]:
            said = " and ".join(name for key, name in NAMES.items() if key in texts)
            raise UsageError(f"the environment has {said}, and no {' or '.join(missing)}", _hint(next(iter(texts))))
        try:
            world = cls(**{key: int(text) for key, text in texts.items()})
        except ValueError:
            wrong = next(key for key, text in texts.items() if not text.strip().isdecimal())
            raise UsageError(f"{NAMES[wrong]} is {texts[wrong]!r} in the environment", _hint(wrong)) from None
        if not (0 <= world.rank < world.size and 0 <= world.local_rank < world.local_size <= world.size):
            given = ", ".join(f"{name} {texts[key]}" for key, name in NAMES.items())
            raise UsageError(f"the environment names no process of a world: {given}", _hint("rank"))
        return world


ALONE = World()


def _hint(key: str) -> str:
    return f"torchrun sets all four; without it, unset {NAMES[key]}"
