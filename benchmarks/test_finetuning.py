"""Tuning: labels, packing, adapters and what a tuned model is worth. The rows lie in finetuning/."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

# what several files share, where neither rows nor sides stand
MATERIAL = ("material",)

for _file in pkgutil.iter_modules([str(Path(__file__).with_name("finetuning"))]):
    if _file.name not in MATERIAL and not _file.name.endswith("_sides"):
        _module = importlib.import_module(f"benchmarks.finetuning.{_file.name}")
        # its rows and sides, and the fixtures that they ask for: a side is found by its name in this file
        _own = {name: one for name, one in vars(_module).items() if getattr(one, "__module__", "") == _module.__name__}
        assert not (_twice := _own.keys() & globals().keys()), f"two files of rows have {sorted(_twice)}"
        globals().update(_own)
