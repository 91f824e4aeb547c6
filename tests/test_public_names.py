"""The public functions are what their names say, whatever was imported before: no module carries one's name."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from types import ModuleType

import pylm
import pylm.data

OPTIONAL = (
    *("torch", "mlx", "triton", "ray", "matplotlib", "sentencepiece", "tokenizers", "gguf", "mlx_lm", "llama_cpp"),
    *("transformers", "huggingface_hub"),
)


def import_every_module() -> None:
    for found in pkgutil.walk_packages(pylm.__path__, "pylm."):
        if found.name == "pylm.__main__":
            continue
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            assert error.name and error.name.split(".")[0] in OPTIONAL, error


def test_no_module_hides_a_public_name() -> None:
    import_every_module()
    for package in (pylm, pylm.data):
        assert len(set(package.__all__)) == len(package.__all__)
        for name in package.__all__:
            value = getattr(package, name)
            is_room = package is pylm and name == "data"
            assert isinstance(value, ModuleType) == is_room, f"{package.__name__}.{name} is {value!r}"


def test_importing_pylm_costs_nothing() -> None:
    code = "import sys, pylm; print([name for name in ('numpy', 'torch', 'pydantic', 'click') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
