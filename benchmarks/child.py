"""One side of a comparison in a process of its own: `python child.py FILE FUNCTION ARGUMENTS`.

Calls FUNCTION of FILE with the JSON ARGUMENTS and prints, as the last line of stdout, what it returned with the peak
memory and the CPU time of this process added.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any


def main(path: str, function: str, arguments: str) -> None:
    if cores := os.environ.get("PYLM_BENCHMARK_CORES"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    root = Path(__file__).resolve().parent.parent
    sys.path.insert(0, str(root))
    spec = importlib.util.spec_from_file_location("side", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules["side"] = module
    spec.loader.exec_module(module)
    answer: dict[str, Any] = getattr(module, function)(**json.loads(arguments))
    refuse_quick_builds()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    answer.setdefault("peak_mb", peak_mb())
    answer["cpu_seconds"] = usage.ru_utime + usage.ru_stime
    print("\n" + json.dumps(answer), flush=True)


def refuse_quick_builds() -> None:
    """A figure of a development build is no figure."""
    for name in ("pylm._rust", "pylm._native"):
        module = sys.modules.get(name)
        if module is not None and (profile := module.build_info()["profile"]) != "release":
            sys.exit(f"error: {name} is a {profile} build\nhint: make bench builds the release one first")


def peak_mb() -> float:
    """The peak resident memory of this process; ru_maxrss would inherit the parent's across exec on Linux."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


if __name__ == "__main__":
    main(*sys.argv[1:])
