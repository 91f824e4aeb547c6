"""A GGUF file that is read: its header checked first, its tensors as they are or unpacked, its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pylm.config.schema import Model as Shape
from pylm.errors import CheckpointError, PylmError
from pylm.interchange import gguf_header, gguf_rope
from pylm.interchange.gguf_file import need_gguf
from pylm.interchange.gguf_names import ARCHITECTURES, heads_of, names_of, turned_back
from pylm.interchange.gguf_rope import short
from pylm.interchange.gguf_vocabulary import tokenizer_of
from pylm.model.layouts import fitting
from pylm.model.names import Joined, Stored, check_sizes, refuse_more_layers
from pylm.model.parameters import parameters

if TYPE_CHECKING:
    from pylm.tokenizer import Tokenizer

__all__ = ["Read", "read"]

STRANGE = (ValueError, TypeError, LookupError, AttributeError, RecursionError)  # fields may be of any kind
KEPT = {"F32": "F32", "F16": "F16", "BF16": "BF16"}  # the others are unpacked to F32
NORMS = {"gpt2": "attention.layer_norm_epsilon"}
FORMS: dict[str, dict[str, Any]] = {
    "gpt2": {"norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True},
    "llama": {},
    "qwen3": {"qk_norm": True},
    "qwen2": {"attention_bias": "qkv"},
}


@dataclass(frozen=True)
class Unpacked:
    """A tensor of a file, unpacked and its rows in our order when its bytes are asked for."""

    held: Any
    heads: int | None  # whose rows llama.cpp orders otherwise

    @property
    def dtype(self) -> str:
        """Return safetensors' word for its type."""
        return KEPT.get(self.held.tensor_type.name, "F32")

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its sizes, the rows first."""
        return tuple(int(size) for size in reversed(self.held.shape))

    @property
    def data(self) -> memoryview:
        """Return its bytes."""
        kind, numbers = self.held.tensor_type, self.held.data
        if kind.name == "BF16":
            numbers = numbers.view("<u2")
        elif kind.name not in KEPT:
            numbers = need_gguf().quants.dequantize(numbers, kind)
        whole: npt.NDArray[Any] = numbers.reshape(self.shape)
        ours = np.ascontiguousarray(whole if self.heads is None else turned_back(whole, self.heads))
        return ours.reshape(-1).view(np.uint8).data


class Read(NamedTuple):
    """What a file holds."""

    shape: Shape
    weights: Mapping[str, Stored]
    tokenizer: Tokenizer | None
    ends: list[int]
    unpacked: list[str]  # types of tensors that are not kept as they are


def read(path: Path, needs_tokenizer: bool = True) -> Read:
    """Return the model of a GGUF file by our names; where it need not have one that is read here, no tokenizer."""
    fields, tensors = gguf_header.opened(path)
    architecture = fields.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise CheckpointError(f"{path} is of the architecture {architecture}; {', '.join(ARCHITECTURES)} are read")
    own = {key.partition(".")[2]: value for key, value in fields.items() if key.startswith(f"{architecture}.")}
    try:
        shape = _shape(architecture, own, tensors, fields.get(gguf_rope.STATED))
        weights = _weights(architecture, shape, tensors)
        words = _tokenizer(fields, path, needs_tokenizer)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error.marked[0]}", error.marked[1]) from None
    except KeyError as error:
        raise CheckpointError(f"{path} lacks {error.args[0]}, which its architecture {architecture} has") from None
    except STRANGE as error:
        raise CheckpointError(f"{path} describes no model that fits: {str(error).splitlines()[0]}") from None
    ids = [fields.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot")]
    ends = list(dict.fromkeys(end for end in ids if isinstance(end, int)))
    kinds = sorted({tensor.tensor_type.name for tensor in tensors.values()} - KEPT.keys())
    return Read(shape, weights, words, ends, kinds)


def _tokenizer(fields: Mapping[str, Any], path: Path, needed: bool) -> Tokenizer | None:
    try:
        return tokenizer_of(fields, str(path))
    except (PylmError, *STRANGE):
        if needed:
            raise
        return None


def _shape(architecture: str, own: Mapping[str, Any], tensors: Mapping[str, Any], stated: str | None) -> Shape:
    heads, factors = own["attention.head_count"], None
    if gguf_rope.FACTORS in tensors:
        factors = np.frombuffer(Unpacked(tensors[gguf_rope.FACTORS], None).data, np.float32)
    form = dict(FORMS[architecture])
    if architecture == "llama":
        has = {name: f"blk.0.{name}.bias" in tensors for name in ("attn_q", "attn_output", "ffn_up")}
        form["bias"] = has["ffn_up"]
        form["attention_bias"] = None if has["ffn_up"] else {(1, 1): "all", (1, 0): "qkv"}.get(
            (has["attn_q"], has["attn_output"])
        )  # fmt: skip
    eps = own[NORMS.get(architecture, "attention.layer_norm_rms_epsilon")]
    fields = {
        **form,
        "n_layers": own["block_count"], "n_heads": heads, "n_kv_heads": own.get("attention.head_count_kv", heads),
        "d_model": own["embedding_length"], "d_ff": own["feed_forward_length"],
        "context_length": own["context_length"], "head_dim": own.get("attention.key_length"), "norm_eps": short(eps),
        "rope_theta": short(own.get("rope.freq_base", 10000.0)), "tied": "output.weight" not in tensors,
        "rope_scaling": gguf_rope.scaling_in(own, stated, factors),
    }  # fmt: skip
    whole = fitting(fields, int(tensors["token_embd.weight"].shape[1]), "it")
    gguf_rope.check_factors(whole, factors)
    return whole


def _weights(architecture: str, shape: Shape, tensors: Mapping[str, Any]) -> dict[str, Stored]:
    refuse_more_layers(shape, tensors)
    weights: dict[str, Stored] = {}
    known, sizes = {gguf_rope.FACTORS}, parameters(shape)
    for ours, theirs in names_of(shape, architecture):
        known.update(theirs)
        parts = [Unpacked(tensors[name], heads_of(name, shape) if architecture == "llama" else None) for name in theirs]
        check_sizes(dict(zip(theirs, parts, strict=True)), sizes[ours].shape, shape)
        if len({part.dtype for part in parts}) > 1:
            raise CheckpointError(f"{theirs[0]} and its neighbours are of different types")
        weights[ours] = parts[0] if len(parts) == 1 else Joined(tuple(parts))
    if strange := sorted(tensors.keys() - known):
        raise CheckpointError(f"it holds {strange[0]}, of which its architecture {architecture} says nothing")
    return weights
