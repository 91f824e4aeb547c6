"""Cleaning: rules, duplicates, languages and test items, each against who does the same. The rows lie in clean/."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

for _file in pkgutil.iter_modules([str(Path(__file__).with_name("clean"))]):
    if not _file.name.endswith("_sides"):
        _module = importlib.import_module(f"benchmarks.clean.{_file.name}")
        # its rows, and the fixtures that they ask for
        _own = (one for one in vars(_module).items() if getattr(one[1], "__module__", "") == _module.__name__)
        globals().update(_own)
