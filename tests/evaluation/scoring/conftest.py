"""One thread for all tests: the models are so small that a second one is only waited for."""

from __future__ import annotations

from tests.generation.conftest import one_thread

__all__ = ["one_thread"]
