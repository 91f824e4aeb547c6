"""What report.json says, read and held against what a page needs of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pylm.errors import DataError
from pylm.wording import call

__all__ = ["FORMAT", "REPORT", "damaged", "read"]

FORMAT = "pylm-clean-report-1"
REPORT = "report.json"
# what every report has; the other keys are there where their step ran
NEEDED: dict[str, type | tuple[type, ...]] = {
    "documents": int,
    "bytes": int,
    "kept": dict,
    "stages": list,
    "sources": list,
    "languages": list,
    "reasons": list,
    "measures": list,
}


def read(folder: str | Path) -> dict[str, Any]:
    """Return the report of a folder that was cleaned."""
    path = Path(folder, REPORT)
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        where = "holds no report" if Path(folder).is_dir() else "is no folder"
        raise DataError(f"{folder} {where}", "name the folder that pylm data clean wrote: it has report.json") from None
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"it is no JSON: {error}") from None
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        raise DataError(f"{path} is no report of this pylm's", "clean again, or use the pylm that wrote it")
    for key, kind in NEEDED.items():
        if not isinstance(report.get(key), kind):
            raise damaged(path, f"it has no {key!r}" if key not in report else f"{key!r} is {report[key]!r:.40}")
    return report


def damaged(path: Path, what: str) -> DataError:
    """Return the error that says what is wrong with a report."""
    return DataError(
        f"{path} is damaged: {what}", f"clean again: {call('data clean', 'SOURCE', out='DIR', force=True)}"
    )
