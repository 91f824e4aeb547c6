"""What cleaning removed and why, as one page: `report.html` of `report.json`."""

from __future__ import annotations

from pylm.data.cleaning.report.content import FORMAT, read
from pylm.data.cleaning.report.page import write

__all__ = ["FORMAT", "read", "write"]
