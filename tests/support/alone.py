"""A folder of its own for a test, with nothing of this machine's set-up in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

__all__ = ["stand_alone"]


def stand_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder, forget what the environment says to pylm, keep caches within, and use one thread."""
    monkeypatch.chdir(folder)
    for name in list(os.environ):
        if name.startswith("PYLM_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYLM_CACHE", str(folder / "cache"))
    torch.set_num_threads(1)
