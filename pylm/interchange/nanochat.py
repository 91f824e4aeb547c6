"""nanochat's own checkpoints: `model_000123.pt`, a state_dict in its names, and `meta_000123.json` beside it.

Its files say nothing of the base of RoPE, of the soft cap and of epsilon, which changed with the class. What a file
holds tells the version: those without value embeddings have a base of 10,000, a cap of 15 and the epsilon of fp32.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pylm.config.schema import Model as Shape
from pylm.errors import CheckpointError
from pylm.model.layouts import shape_of
from pylm.model.names import OWN, Stored, Tensor, from_hugging_face, pairs, plain

__all__ = ["FILE", "from_nanochat", "is_nanochat", "meta_of"]

FILE = re.compile(r"model_(\d+)\.pt")
EPSILON = 2.0**-23  # torch's of fp32, which its norms take
# What newer versions of its class have, and no model of ours
NEWER = {
    "value_embeds": "value embeddings behind gates",
    "smear": "smeared embeddings",
    "backout": "a stream that is taken back",
}
LAMBDAS = ("resid_lambdas", "x0_lambdas")


def is_nanochat(held: Mapping[str, Stored]) -> bool:
    """Say whether tensors have the names of nanochat's class."""
    return "transformer.h.0.attn.c_q.weight" in held


def meta_of(file: Path) -> Path:
    """Return where the settings of a checkpoint lie."""
    return file.with_name(f"meta_{file.stem.partition('_')[2]}.json")


def from_nanochat(held: Mapping[str, Stored], meta: Mapping[str, Any]) -> tuple[Shape, dict[str, Stored]]:
    """Return the shape and the tensors by our names; the padding of its vocabulary stays.

    Args:
        held: the state_dict's.
        meta: what stands in the file beside it.
    """
    said = meta.get("model_config")
    settings = said if isinstance(said, Mapping) else {}
    for name in sorted(held):
        for newer, what in NEWER.items():
            if name.startswith(newer) or ".ve_gate" in name:
                raise CheckpointError(f"it holds {name}: {what}, which no model of ours has")
    if "S" in str(settings.get("window_pattern", "L")).upper():
        raise CheckpointError(
            f"its model_config says window_pattern {settings['window_pattern']}, and our models have one window for all"
        )
    config = _config(held, settings)
    _, shape = shape_of(config, "its model_config")
    weights = {name: tensor for name, tensor in held.items() if name not in LAMBDAS}
    for _, theirs in pairs(OWN, shape):
        if lacking := [plain(name) for name in theirs.split() if plain(name) not in weights]:
            raise CheckpointError(f"it lacks {lacking[0]}, which nanochat's class has")
    shape, tensors = from_hugging_face(weights, config)
    if any(name in held for name in LAMBDAS):
        shape = shape.model_copy(update={"residual_lambdas": True})
        tensors |= _lambdas(held, shape)
    return shape, tensors


def _config(held: Mapping[str, Stored], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config.json that transformers would have of it."""
    numbers: dict[str, Any] = {}
    for key in ("n_layer", "n_head", "n_kv_head", "n_embd", "sequence_len", "vocab_size"):
        numbers[key] = settings.get(key)
        if type(numbers[key]) is not int:
            raise CheckpointError(f"its model_config names no {key}", "its meta_*.json belongs beside it")
    rows = held["transformer.wte.weight"].shape[:1] if "transformer.wte.weight" in held else ()
    if not 0 < numbers["vocab_size"] <= sum(rows):
        raise CheckpointError(
            f"its model_config says vocab_size {numbers['vocab_size']}, and its wte has {sum(rows)} rows"
        )
    return {
        "model_type": "nanochat",
        "vocab_size": rows[0],  # pyright: ignore[reportGeneralTypeIssues]
        "hidden_size": numbers["n_embd"],
        "intermediate_size": 4 * numbers["n_embd"],
        "num_hidden_layers": numbers["n_layer"],
        "num_attention_heads": numbers["n_head"],
        "num_key_value_heads": numbers["n_kv_head"],
        "max_position_embeddings": numbers["sequence_len"],
        "hidden_act": "relu2",
        "rms_norm_eps": EPSILON,
        "rope_theta": 10000.0,
        "final_logit_softcapping": 15.0,
    }


def _lambdas(held: Mapping[str, Stored], shape: Shape) -> dict[str, Tensor]:
    """Return each block's two weights of the stream and of the embedding, which nanochat keeps in two vectors."""
    found = [held[name] for name in LAMBDAS if name in held]
    sizes = [(tensor.dtype, tuple(tensor.shape)) for tensor in found]
    if sizes != [(found[0].dtype, (shape.n_layers,))] * 2:
        raise CheckpointError(f"its {' and '.join(LAMBDAS)} are not two vectors of {shape.n_layers} numbers")
    one = found[0]
    parts = [np.frombuffer(memoryview(tensor.data).cast("B"), np.uint8).reshape(one.shape[0], -1) for tensor in found]
    both = np.stack(parts, 1)
    return {
        f"blocks.{layer}.residual_lambdas": Tensor(one.dtype, (2,), both[layer].tobytes())
        for layer in range(one.shape[0])
    }
