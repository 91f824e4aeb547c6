"""A program that starts soon: what is imported is no garbage, so nobody needs to look through it again and again."""

from __future__ import annotations

import gc

__all__ = ["begin", "settle"]

USUAL = gc.get_threshold()
# Importing torch makes half a million objects, and looking through them took a third of its time
RARELY = 200_000


def begin() -> None:
    """Look for garbage rarely."""
    gc.set_threshold(RARELY, *USUAL[1:])


def settle() -> None:
    """Before work that takes long: look for garbage as usual, but never again in what is there by now."""
    gc.freeze()
    gc.set_threshold(*USUAL)
