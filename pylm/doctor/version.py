"""`pylm --version`: the two distributions, the native builds and the CPU variant that runs here."""

from __future__ import annotations

import importlib
import platform
from importlib.metadata import PackageNotFoundError, version


def version_lines() -> list[str]:
    """Return one line for each thing whose version matters in a report."""
    return [
        f"pylm {_version('pylm')}",
        f"pylm-kernels {_version('pylm-kernels')}",
        f"rust {_build('pylm._rust', 'profile', 'target')}",
        f"c++ {_build('pylm._native', 'profile', 'compiler')}{_cpu()}",
        f"python {platform.python_version()} {platform.machine()}-{platform.system().lower()}",
    ]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def _build(module: str, *keys: str) -> str:
    try:
        info: dict[str, str] = importlib.import_module(module).build_info()
    except ImportError as error:
        return f"not built ({error})"
    return ", ".join(info[key] for key in keys)


def _cpu() -> str:
    try:
        from pylm import _native
    except ImportError:
        return ""
    return f", cpu variant {_native.cpu_info()['variant']}"
