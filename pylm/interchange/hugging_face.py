"""A folder in Hugging Face's layout, as transformers, vLLM, llama.cpp's converter and mlx-lm read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.checkpoint import write_tensors
from pylm.checkpoint.tensors import ITEM_BYTES
from pylm.durable import write_text
from pylm.errors import ConfigError
from pylm.interchange.tensors import Cast, bytes_of, cast
from pylm.model.layouts import config_of, generation_config_of, layout_of, misfits
from pylm.model.names import OWN, Tensor, to_hugging_face
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.config.schema import Model as Shape
    from pylm.interchange.portable import Portable

__all__ = ["SHARD", "readable", "refuse_for_mlx", "refuse_for_nanochat", "write_folder"]

SHARD = 5_000_000_000  # bytes of a file, as transformers 4 splits them
# What mlx-lm's classes leave out of the layouts: it reads the rest as transformers does
MLX: dict[str, dict[str, tuple[Any, ...]]] = {
    "gpt2": {"tied": (True,)},
    "llama": {},
    "qwen3": {"attention_bias": (None,)},
    "qwen2": {},
    "mistral": {"window": (None,)},
    "nanochat": {"tied": (False,), "attention_bias": (None,), "logit_softcap": (15.0,), "norm_eps": (1e-5,),
                 "rope_scaling": (None,)},
}  # fmt: skip


def write_folder(
    folder: Path, model: Portable, dtype: str | None, written: Callable[[int], object], to: str = "hf"
) -> None:
    """Fill a folder.

    Args:
        folder: there, and empty.
        model: what is written.
        dtype: safetensors' word for the type of the weights; None keeps each as it is.
        written: called with the bytes of weights that were written.
        to: hf, or mlx: what mlx-lm calls otherwise gets its names.
    """
    own = to == "mlx" and layout_of(model.shape) == "nanochat"
    tensors, _ = to_hugging_face(model.weights, model.shape, names=OWN if own else None)
    config = config_of(model.shape, model.ends or None, dtype or model.dtype)
    _write_weights(folder, cast(tensors, dtype, written))
    write_text(folder / "config.json", _json(config))
    write_text(folder / "generation_config.json", _json(generation_config_of(config)))
    for name, data in tokenizer_files(model):
        write_text(folder / name, data)


def _write_weights(folder: Path, tensors: Mapping[str, Cast]) -> None:
    """Write one file, or several and their index."""
    parts = list(_split(tensors))
    if len(parts) == 1:
        write_tensors(folder / "model.safetensors", parts[0], {"format": "pt"}, hashed=False)
        return
    where: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        name = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        write_tensors(folder / name, part, {"format": "pt"}, hashed=False)
        where |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": bytes_of(tensors)}, "weight_map": where}
    write_text(folder / "model.safetensors.index.json", _json(index))


def _split(tensors: Mapping[str, Cast]) -> Iterator[dict[str, Cast]]:
    part: dict[str, Cast] = {}
    for name, tensor in tensors.items():
        if part and bytes_of(part) + bytes_of({name: tensor}) > SHARD:
            yield part
            part = {}
        part[name] = tensor
    yield part


def tokenizer_files(model: Portable) -> Iterator[tuple[str, str]]:
    """Yield the names and contents of the tokenizer's files, with what transformers asks of their configuration."""
    if model.tokenizer is None:
        return
    for name, data in model.tokenizer.files().items():
        if name == "tokenizer_config.json":
            config = json.loads(data)
            config["model_max_length"] = model.shape.context_length
            # ours begins no text; transformers' classes of models do where nothing is said
            config = {"add_bos_token": False, "add_eos_token": False, **config}
            yield name, _json(config)
        elif name == "tokenizer.json":
            yield name, data.decode()
    if template := model.tokenizer.chat_template:
        yield "chat_template.jinja", template


def readable(model: Portable) -> Portable:
    """Return a model in a layout whose tokenizer others read as it is.

    transformers 5, and mlx-lm by it, reads every Qwen2 with Qwen2's own pre-tokenizer and NFC, whatever tokenizer.json
    says: other ids. With a bias of zeros behind attention it is a Llama, which computes the same.
    """
    shape, words = model.shape, model.tokenizer
    if layout_of(shape) != "qwen2" or words is None or not words.native:
        return model
    assert shape.n_layers and shape.d_model
    like = model.weights["blocks.0.attention.qkv.bias"].dtype
    zeros = Tensor(like, (shape.d_model,), memoryview(bytes(ITEM_BYTES[like] * shape.d_model)))
    biases = {f"blocks.{layer}.attention.out.bias": zeros for layer in range(shape.n_layers)}
    as_llama = shape.model_copy(update={"attention_bias": "all"})
    return replace(model, shape=as_llama, weights={**model.weights, **biases})


def refuse_for_nanochat(shape: Shape) -> None:
    """Refuse, by its fields, a shape that nanochat's class has not."""
    if unfit := list(misfits(shape, "nanochat")):
        raise ConfigError(
            f"nanochat's class has no {' and '.join(unfit)}",
            f"the preset speed-portable makes what it has; {param('to', 'hf')} serves other layouts",
        )


def refuse_for_mlx(shape: Shape) -> None:
    """Refuse, by its fields, a shape that mlx-lm's class of the layout has not."""
    layout = layout_of(shape)
    unfit = [
        f"{field} {str(value).lower()}"
        for field, served in MLX[layout].items()
        if (value := getattr(shape, field)) not in served
    ]
    assert shape.d_model and shape.n_heads and shape.head_dim
    if layout == "gpt2" and shape.d_ff != 4 * shape.d_model:
        unfit.append(f"d_ff {shape.d_ff}")
    if layout in ("qwen2", "nanochat") and shape.head_dim * shape.n_heads != shape.d_model:
        unfit.append(f"head_dim {shape.head_dim}")
    if unfit:
        raise ConfigError(
            f"mlx-lm's {layout} has no {' and '.join(unfit)}",
            f"{param('to', 'hf')} is read by transformers; the presets tiny and llama-25m make what mlx-lm reads",
        )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
