"""A small model with random weights and a tokenizer of bytes and some merges: enough for everything but sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pylm._rust import Bpe
from pylm.checkpoint import Tensor, write
from pylm.config.cascade import dump
from pylm.config.schema import Config
from pylm.config.schema import Model as Shape
from pylm.config.shape import complete
from pylm.model.torch import Model
from pylm.tokenizer import Tokenizer

END = "<|endoftext|>"
CONTEXT = 48


def small_tokenizer(*specials: str) -> Tokenizer:
    """All bytes, three merges, an end of text and other specials: 260 ids and more."""
    merges = [(ord(a) - 33, ord(b) - 33) for a, b in ("th", "at", "on")]
    return Tokenizer.from_tokenizer_json(Bpe.from_merges(merges, "gpt2", [END, *specials]).to_tokenizer_json())


def small_model(vocab_size: int, seed: int = 1, **shape: Any) -> Model:
    """Weights large enough that its choices are its own and not the draw's."""
    fields = {"n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "d_model": 64, "context_length": CONTEXT, **shape}
    generator = torch.Generator().manual_seed(seed)
    model = Model(complete(Shape.model_validate(fields), vocab_size), generator=generator)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


def stored(model: Model) -> dict[str, Tensor]:
    """The weights of a model as a file holds them."""
    return {
        name: Tensor.of("F32", tuple(weight.shape), weight.contiguous().numpy())
        for name, weight in model.weights().items()
    }


def stored_in(dtype: torch.dtype, model: Model) -> dict[str, Tensor]:
    """The same in bf16 or fp16, as most files hold them; the model's own weights are rounded to it."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype))
    name_of = {torch.bfloat16: "BF16", torch.float16: "F16"}[dtype]
    return {
        name: Tensor.of(name_of, tuple(weight.shape), weight.to(dtype).contiguous().view(torch.int16).numpy())
        for name, weight in model.weights().items()
    }


def write_run(folder: Path, model: Model, tokenizer: Tokenizer, step: int = 5) -> Path:
    """A run with one checkpoint of a model, as training leaves it."""
    (folder / "checkpoints").mkdir(parents=True)
    keys = [f"model.{key}" for key in type(model.shape).model_fields]
    return write(
        folder / "checkpoints" / f"step_{step}",
        weights=stored(model),
        optimizer={},
        state={"step": step},
        config=dump(Config(model=model.shape), keys),
        texts={name: data.decode() for name, data in tokenizer.files().items()},
    )
