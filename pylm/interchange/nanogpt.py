"""nanoGPT's `ckpt.pt`: a state_dict in its names, with the arguments of its class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.config.schema import Model as Shape
from pylm.durable import write_text
from pylm.errors import ConfigError
from pylm.interchange.hugging_face import tokenizer_files
from pylm.interchange.state_dicts import NANOGPT, bare, from_state_dict
from pylm.interchange.tensors import cast
from pylm.model.layouts import misfits
from pylm.model.names import Stored, pairs
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.interchange.portable import Portable

__all__ = ["FILE", "from_nanogpt", "refuse", "write_folder"]

FILE = "ckpt.pt"
# What its class has beside GPT-2's layout, whose biases it may leave out
FIXED: dict[str, Any] = {"tied": True, "norm_eps": 1e-5}


def refuse(shape: Shape) -> None:
    """Refuse, by its fields, a shape that nanoGPT's class has not."""
    unfit = [each for each in misfits(shape, "gpt2") if not each.startswith("bias ")]
    unfit += [
        f"{key} {str(value).lower()}" for key, wanted in FIXED.items() if (value := getattr(shape, key)) != wanted
    ]
    if shape.d_model and shape.d_ff != 4 * shape.d_model:
        unfit.append(f"d_ff {shape.d_ff}")
    if unfit:
        raise ConfigError(
            f"nanoGPT's class has no {' and '.join(unfit)}",
            f"the preset gpt2-124m makes what it has; {param('to', 'hf')} serves other layouts",
        )


def write_folder(folder: Path, model: Portable, dtype: str | None, written: Callable[[int], object]) -> None:
    """Fill a folder with ckpt.pt and the tokenizer's files."""
    from pylm.interchange.torch_file import save

    shape = model.shape
    tensors = cast({theirs: model.weights[ours] for ours, theirs in _names(shape)}, dtype, written)
    arguments = {
        "n_layer": shape.n_layers, "n_head": shape.n_heads, "n_embd": shape.d_model, "vocab_size": shape.vocab_size,
        "block_size": shape.context_length, "bias": shape.bias, "dropout": shape.dropout,
    }  # fmt: skip
    progress = model.about.get("progress", {})
    best = progress.get("best_loss")
    beside = {
        "model_args": arguments,
        "iter_num": model.about.get("step", 0),
        "best_val_loss": 1e9 if best is None else best,
    }
    save(folder / FILE, tensors, beside, twice={"lm_head.weight": "transformer.wte.weight"})
    for name, text in tokenizer_files(model):
        write_text(folder / name, text)


def from_nanogpt(tensors: Mapping[str, Stored], arguments: Mapping[str, Any]) -> tuple[Shape, dict[str, Stored]]:
    """Return the shape and the tensors by our names.

    Args:
        tensors: the state_dict's.
        arguments: `model_args`, of which the tensors say all but the number of heads.
    """
    return from_state_dict(NANOGPT, bare(tensors), arguments)


def _names(shape: Shape) -> Iterator[tuple[str, str]]:
    """Yield our name and nanoGPT's of each tensor; its matrices are kept as ours are."""
    for ours, theirs in pairs("gpt2", shape):
        yield ours, f"transformer.{theirs.removesuffix('ᵀ')}"
