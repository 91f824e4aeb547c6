"""What is free here: memory, as the system and this process's groups limit it, and the disk of a run's folder."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Room", "free_disk", "free_memory", "resident"]

GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Room:
    """Bytes that a run may take; None where nobody can tell."""

    memory: int | None  # what this process holds already is free to it
    disk: int
    inodes: int | None
    place: str  # the folder whose disk it is


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def free_memory(processes: int = 1) -> int | None:
    """Return what each of so many processes like this one may hold: what is available, as far as its groups allow."""
    available = _available()
    if available is None:
        return None
    return resident() + max(min([available, *_left_in_groups()]), 0) // processes


def free_disk(folder: Path) -> tuple[int, int | None, str]:
    """Return bytes and files that the folder's disk takes yet, and the nearest parent of it that exists."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    stat = os.statvfs(place)
    return shutil.disk_usage(place).free, stat.f_favail if stat.f_files else None, str(place)


def _available() -> int | None:
    """Return the memory that the system can give without swapping."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else None
    except OSError:
        pass
    try:  # no Linux: half of what there is may be others'
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (OSError, ValueError):
        return None


def _left_in_groups() -> Iterator[int]:
    """Return what each control group that limits this process has left; what it can drop of files counts as left."""
    for folder in _groups():
        limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
        if limit is not None and used is not None:
            yield limit - used + _droppable(folder / "memory.stat", "inactive_file")
    old = GROUPS / "memory"
    limit, used = _number(old / "memory.limit_in_bytes"), _number(old / "memory.usage_in_bytes")
    if limit is not None and used is not None:
        yield limit - used + _droppable(old / "memory.stat", "total_inactive_file")


def _groups() -> Iterator[Path]:
    """Return the folder of this process's group, and those above it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("0::"):
            folder = GROUPS / line[3:].lstrip("/")
            yield from (each for each in (folder, *folder.parents) if each == GROUPS or GROUPS in each.parents)


def _number(path: Path) -> int | None:
    """Return the number in a file; None where there is none, or `max`."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _droppable(path: Path, name: str) -> int:
    try:
        found = re.search(rf"^{name} (\d+)$", path.read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0
