"""Small runs that go out and come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from pylm.interchange import certificate
from tests.support.alone import stand_alone


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_alone(tmp_path, monkeypatch)
    monkeypatch.setattr(certificate, "MOST", 0)  # what tests compare they ask for
