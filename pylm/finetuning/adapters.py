"""`pylm.finetuning.adapters.write`: an adapter merged with its base, or in the form that others load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.checkpoint import Adapted, Checkpoint, Tensor, find, open_weights, read, verify, write_tensors
from pylm.checkpoint import write as write_checkpoint
from pylm.checkpoint.directory import written_whole
from pylm.config.cascade import dump
from pylm.config.schema import Config
from pylm.durable import write_text
from pylm.errors import CheckpointError, UsageError
from pylm.model import adapter_forms, lora, names
from pylm.model.adapted import opened_adapter
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.config.schema import Model as Shape
    from pylm.model.names import Stored

__all__ = ["FORMS", "write"]

FORMS = ("merged", *adapter_forms.FORMS)
FILES = {"peft": "adapter_model.safetensors", "mlx": "adapters.safetensors"}
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def write(checkpoint: str, out: Path, to: str = "merged") -> Path:
    """Write an adapter in another form, and return the folder.

    ::

        pylm.finetuning.adapters.write("runs/tuned", Path("merged"))            # a checkpoint of all weights
        pylm.finetuning.adapters.write("runs/tuned", Path("peft"), to="peft")   # PeftModel.from_pretrained reads it

    Args:
        checkpoint: A CHECKPOINT that is an adapter: ours, or a folder of PEFT's or mlx-lm's form.
        out: The folder to make.
        to: merged, peft or mlx.
    """
    if to not in FORMS:
        raise UsageError(f"{param('to', to)} is no form of an adapter", f"choose {', '.join(FORMS)}")
    folder = find(checkpoint)
    opened = open_weights(folder)
    if not isinstance(opened, Adapted):
        raise CheckpointError(
            f"{folder} holds all weights of a model, and is no adapter", f"{param('method', 'lora')} trains one"
        )
    if out.exists():
        raise CheckpointError(f"{out} exists already", "nothing is ever overwritten: remove it first")
    if (folder / "manifest.json").exists():
        verify(folder)
    if to == "merged":
        return _merged(opened, out)
    shape, _ = names.read(opened.base)
    tensors, scale, _ = opened_adapter(opened, shape)
    file, config = adapter_forms.written(to, tensors, scale, shape, str(opened.base.path.resolve()))
    with written_whole(out) as partial:
        write_tensors(partial / FILES[to], _of(file), {"format": "pt" if to == "peft" else "mlx"})
        write_text(partial / "adapter_config.json", json.dumps(config, indent=2) + "\n")
    return out


def _of(tensors: Mapping[str, Stored]) -> dict[str, Tensor]:
    return {name: Tensor.of(one.dtype, one.shape, one.data) for name, one in tensors.items()}


def _merged(opened: Adapted, out: Path) -> Path:
    """Write the base with the adapter added as a checkpoint; what it changes is rounded once, to the base's type."""
    shape, weights = names.read(opened)
    _, base = names.read(opened.base)
    rounded = {name: lora.narrowed(one, base[name].dtype) for name, one in weights.items()}
    own = read(opened.path) if (opened.path / "manifest.json").exists() else None
    state: dict[str, Any] = {"version": 1, "step": 0 if own is None else own.step}
    state["merged"] = {
        "adapter": opened.identity,
        "base": opened.base.identity,
        "path": str(opened.base.path.resolve()),
    }
    if own is not None:
        state |= {name: own.state[name] for name in ("tokenizer", "data") if name in own.state}
    config, texts = _beside(opened, own, shape)
    return write_checkpoint(out, weights=_of(rounded), optimizer={}, state=state, config=config, texts=texts)


def _beside(opened: Adapted, own: Checkpoint | None, shape: Shape) -> tuple[str, Mapping[str, str]]:
    """Return the configuration and the tokenizer's files: the adapter's, where it has them, else its base's."""
    base = opened.base.path
    texts = {} if own is None else own.texts()
    if not texts:
        texts = {name: (base / name).read_text(encoding="utf-8") for name in TOKENIZER if (base / name).exists()}
    if own is not None:
        return own.config(), texts
    if (base / "config.yaml").exists():
        return (base / "config.yaml").read_text(encoding="utf-8"), texts
    return dump(
        Config(model=shape.model_copy(update={"vocab_size": None})),
        [f"model.{key}" for key in type(shape).model_fields],
    ), texts
