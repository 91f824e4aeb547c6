"""Where the time of a few steps goes, kernel by kernel: a trace for Perfetto, and a table."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from pylm.errors import UsageError
from pylm.training.events import Note

if TYPE_CHECKING:
    from pylm.training.loop import Session

__all__ = ["profiled"]


def profiled(session: Session, steps: int) -> AbstractContextManager[object]:
    """Return what profiles so many steps of a session, after a few, while it is entered.

    Args:
        session: its backend is another while it is profiled.
        steps: that are profiled.
    """
    backend, folder = session.backend, session.files.folder.path / "profile"
    if backend.name != "torch":
        raise UsageError(
            f"steps of torch are profiled, and this run computes with {backend.name}",
            "leave it out; Xcode's Instruments shows what runs on an Apple GPU",
        )
    from pylm.training.torch_backend.profiled import Profiled

    profiling = Profiled(backend, folder, steps, lambda text: session.hooks.on_event(Note(text)))
    session.backend = profiling  # pyright: ignore[reportAttributeAccessIssue]
    return profiling
