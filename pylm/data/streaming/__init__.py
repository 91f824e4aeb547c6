"""Documents from wherever they lie, one after another: what `pylm.data.source` gives."""

from __future__ import annotations

from pylm.data.streaming.document import Document
from pylm.data.streaming.iteration import Source
from pylm.data.streaming.stream_of import source

__all__ = ["Document", "Source", "source"]
