"""Raw text to a trained language model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from pylm import data
    from pylm.data.prepare import prepare
    from pylm.evaluation.evaluate import evaluate
    from pylm.finetuning.call import finetune
    from pylm.generation.generate import generate
    from pylm.interchange.incoming import import_
    from pylm.interchange.outgoing import export
    from pylm.runs import Run
    from pylm.soups.call import soup
    from pylm.tokenizer import Tokenizer
    from pylm.training.call import train
    from pylm.training.estimate.call import plan

    __version__: str

__all__ = [
    "Run",
    "Tokenizer",
    "__version__",
    "data",
    "evaluate",
    "export",
    "finetune",
    "generate",
    "import_",
    "plan",
    "prepare",
    "soup",
    "train",
]

# name: the module that holds it, imported on first use, so that `import pylm` costs nothing
_HOMES = {
    "Run": "pylm.runs",
    "Tokenizer": "pylm.tokenizer",
    "evaluate": "pylm.evaluation.evaluate",
    "export": "pylm.interchange.outgoing",
    "finetune": "pylm.finetuning.call",
    "generate": "pylm.generation.generate",
    "import_": "pylm.interchange.incoming",
    "plan": "pylm.training.estimate.call",
    "prepare": "pylm.data.prepare",
    "soup": "pylm.soups.call",
    "train": "pylm.training.call",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "data":
        return import_module("pylm.data")
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("pylm")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'pylm' has no attribute {name!r}")
    globals()[name] = value
    return value


def tokenizer_of_hub(name: str, offline: bool | None) -> Path:
    """Return the folder of a tokenizer of the Hub, for `Tokenizer.load`, whose room may not fetch."""
    from pylm.data.getting.models import tokenizer_folder

    return tokenizer_folder(name, offline)


def __dir__() -> list[str]:
    return sorted(__all__)
