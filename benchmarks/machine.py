"""What this machine is: recorded with every figure."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

# what the native code dispatches on, as the kernel names them
FEATURES = (
    "avx2",
    "avx512f",
    "avx512vbmi2",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
    "bf16",
)
PACKAGES = ("pylm", "pylm-kernels", "torch", "triton", "mlx", "numpy", "tokenizers", "tiktoken")


@functools.cache
def describe() -> dict[str, Any]:
    """CPU, cores, features, memory, system and, where there is one, the GPU."""
    fields = cpu_fields()
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    found: dict[str, Any] = {
        "cpu": fields.get("model name", platform.processor() or platform.machine()),
        "family": fields.get("cpu family"),
        "model": fields.get("model"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "features": [feature for feature in FEATURES if feature in flags],
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
    }
    if hasattr(os, "sysconf"):
        found["memory_gb"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    return found


def cpu_fields() -> dict[str, str]:
    """The first processor's fields of /proc/cpuinfo, its name on a Mac; empty where neither is."""
    path = Path("/proc/cpuinfo")
    if platform.system() == "Darwin":  # "Apple M3 Max"; platform knows no more than "arm"
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return {"model name": subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()}
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def name() -> str:
    """The folder of this machine's results: CPU, family and model, cores."""
    about = describe()
    parts = [
        str(about["cpu"]),
        *(f"{key[0]}{about[key]}" for key in ("family", "model") if about[key]),
        f"{about['cores']}c",
    ]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


@functools.cache
def versions() -> dict[str, str]:
    """Installed versions of what the figures depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
