"""nanoGPT's `ckpt.pt`: a state_dict in its names, with the arguments of its class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.config.schema import Model as Shape
from pylm.config.shape import complete
from pylm.durable import write_text
from pylm.errors import CheckpointError, ConfigError
from pylm.interchange.hugging_face import tokenizer_files
from pylm.interchange.tensors import cast
from pylm.model.layouts import misfits
from pylm.model.names import Stored, pairs
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.interchange.portable import Portable

__all__ = ["FILE", "from_nanogpt", "is_nanogpt", "refuse", "write_folder"]

FILE = "ckpt.pt"
# What its class has beside GPT-2's layout, whose biases it may leave out
FIXED: dict[str, Any] = {"tied": True, "norm_eps": 1e-5}
COMPILED = "_orig_mod."  # what torch.compile puts before every name


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


def is_nanogpt(names: Mapping[str, Any]) -> bool:
    """Say whether tensors have the names of nanoGPT's class."""
    return any(name.removeprefix(COMPILED) == "transformer.wte.weight" for name in names)


def from_nanogpt(tensors: Mapping[str, Stored], arguments: Mapping[str, Any]) -> tuple[Shape, dict[str, Stored]]:
    """Return the shape and the tensors by our names.

    Args:
        tensors: the state_dict's.
        arguments: `model_args`, of which the tensors say all but the number of heads.
    """
    held = {name.removeprefix(COMPILED): tensor for name, tensor in tensors.items() if not name.endswith(".attn.bias")}
    heads = arguments.get("n_head")
    if type(heads) is not int or heads < 1:
        raise CheckpointError("its model_args name no n_head", "the number of heads stands in no tensor: put it there")
    vocabulary, width = held["transformer.wte.weight"].shape
    if width % heads:
        raise CheckpointError(f"its model_args say n_head {heads}, and its width {width} is no multiple of that")
    layers = 1 + max((int(name.split(".")[2]) for name in held if name.startswith("transformer.h.")), default=-1)
    shape = complete(
        Shape.model_validate({
            "n_layers": layers, "n_heads": heads, "d_model": width, "norm": "layernorm", "mlp": "gelu",
            "position": "learned", "bias": "transformer.ln_f.bias" in held, "tied": True,
            "context_length": _get(held, "transformer.wpe.weight").shape[0],
            "d_ff": _get(held, "transformer.h.0.mlp.c_fc.weight").shape[0],
        }),
        vocabulary,
    )  # fmt: skip
    made = {ours: _get(held, theirs) for ours, theirs in _names(shape)}
    known = {theirs for _, theirs in _names(shape)} | {"lm_head.weight"}
    if strange := sorted(held.keys() - known):
        raise CheckpointError(f"it holds {strange[0]}, which nanoGPT's class does not have")
    head = held.get("lm_head.weight")
    if head is not None and bytes(head.data) != bytes(made["embed.weight"].data):
        raise CheckpointError("its lm_head is another matrix than its embedding, and nanoGPT's class has one for both")
    return shape, made


def _get(held: Mapping[str, Stored], name: str) -> Stored:
    if name not in held:
        raise CheckpointError(f"it lacks {name}, which nanoGPT's class has")
    return held[name]


def _names(shape: Shape) -> Iterator[tuple[str, str]]:
    """Yield our name and nanoGPT's of each tensor; its matrices are kept as ours are."""
    for ours, theirs in pairs("gpt2", shape):
        yield ours, f"transformer.{theirs.removesuffix('ᵀ')}"
