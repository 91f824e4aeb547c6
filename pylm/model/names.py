"""Our tensors' names and Hugging Face's: GPT-2, Llama, Mistral and Qwen, both ways, without a framework.

A tensor is anything with `dtype` (safetensors' word), `shape` and `data` (its bytes, row-major), such as
`pylm.checkpoint.Tensor`. What comes back shares the bytes wherever rows are only cut apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from pylm.config.cascade import resolve
from pylm.config.schema import Model as Shape
from pylm.config.shape import complete
from pylm.errors import CheckpointError
from pylm.model.layouts import config_of, layout_of, read_json, shape_of
from pylm.model.parameters import parameters

__all__ = [
    "OWN",
    "Halved",
    "Joined",
    "OnBase",
    "Opened",
    "Stored",
    "Tensor",
    "Transposed",
    "check_sizes",
    "from_hugging_face",
    "pairs",
    "plain",
    "qkv_rows",
    "read",
    "refuse_more_layers",
    "to_hugging_face",
]

CACHE_LINE = 64  # bytes


class Stored(Protocol):
    """A tensor as a file holds it."""

    @property
    def dtype(self) -> str:
        """Return the name of its type: F32, BF16, …."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its sizes."""
        ...

    @property
    def data(self) -> Any:
        """Return its bytes."""
        ...


class Tensor(NamedTuple):
    """A tensor that was made here."""

    dtype: str
    shape: tuple[int, ...]
    data: Any


@dataclass(frozen=True)
class Transposed:
    """A matrix whose bytes are turned when they are asked for: of a whole model they would be its memory again."""

    turned: Stored

    @property
    def dtype(self) -> str:
        """Return the name of its type."""
        return self.turned.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its sizes."""
        rows, columns = self.turned.shape
        return columns, rows

    @property
    def data(self) -> memoryview:
        """Return its bytes."""
        rows, columns = self.turned.shape
        data = memoryview(self.turned.data).cast("B")
        size = len(data) // max(rows * columns, 1) or 1
        unit = np.dtype(f"u{size}")  # a number of that size is moved, whatever it means
        held, turned = np.frombuffer(data, unit).reshape(rows, columns), np.empty((columns, rows), unit)
        band = CACHE_LINE // unit.itemsize  # 768 x 3,072 in fp32: 1.6 ms, and 6.3 where whole columns are copied
        for start in range(0, rows, band):
            turned[:, start : start + band] = held[start : start + band].T
        return turned.reshape(-1).view(np.uint8).data


@dataclass(frozen=True)
class Joined:
    """Tensors of one type below each other, joined when their bytes are asked for."""

    joined: tuple[Stored, ...]

    @property
    def dtype(self) -> str:
        """Return the name of its type."""
        return self.joined[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its sizes."""
        return sum(part.shape[0] for part in self.joined), *self.joined[0].shape[1:]

    @property
    def data(self) -> memoryview:
        """Return its bytes."""
        return memoryview(b"".join(memoryview(part.data).cast("B") for part in self.joined))


class Opened(Protocol):
    """A folder of weights: a checkpoint of ours, or one with Hugging Face's config.json."""

    @property
    def path(self) -> Path:
        """Return the folder."""
        ...

    def weights(self) -> Mapping[str, Stored]:
        """Return its tensors."""
        ...


@runtime_checkable
class OnBase(Opened, Protocol):
    """A folder of an adapter, and what it is for, such as `pylm.checkpoint.Adapted`."""

    @property
    def base(self) -> Opened:
        """Return what it is for."""
        ...


@dataclass(frozen=True)
class Halved:
    """Rows of heads whose two halves change places when their bytes are asked for: RoPE then turns the other way."""

    turned: Stored
    head_dim: int

    @property
    def dtype(self) -> str:
        """Return the name of its type."""
        return self.turned.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its sizes."""
        return self.turned.shape

    @property
    def data(self) -> memoryview:
        """Return its bytes."""
        halves = np.frombuffer(memoryview(self.turned.data).cast("B"), np.uint8)
        halves = halves.reshape(self.shape[0] // self.head_dim, 2, -1)[:, ::-1]
        return np.ascontiguousarray(halves).reshape(-1).data


# Each layout: our name → theirs, with {i} for the number of a block. Several of theirs are ours cut into rows; a name
# that ends in ᵀ is of a matrix that is kept transposed, one that ends in ↕ of rows whose heads are Halved.
_GPT2 = {
    "embed.weight": "wte.weight",
    "position.weight": "wpe.weight",
    "blocks.{i}.attention.norm.weight": "h.{i}.ln_1.weight",
    "blocks.{i}.attention.norm.bias": "h.{i}.ln_1.bias",
    "blocks.{i}.attention.qkv.weight": "h.{i}.attn.c_attn.weightᵀ",
    "blocks.{i}.attention.qkv.bias": "h.{i}.attn.c_attn.bias",
    "blocks.{i}.attention.out.weight": "h.{i}.attn.c_proj.weightᵀ",
    "blocks.{i}.attention.out.bias": "h.{i}.attn.c_proj.bias",
    "blocks.{i}.mlp.norm.weight": "h.{i}.ln_2.weight",
    "blocks.{i}.mlp.norm.bias": "h.{i}.ln_2.bias",
    "blocks.{i}.mlp.up.weight": "h.{i}.mlp.c_fc.weightᵀ",
    "blocks.{i}.mlp.up.bias": "h.{i}.mlp.c_fc.bias",
    "blocks.{i}.mlp.down.weight": "h.{i}.mlp.c_proj.weightᵀ",
    "blocks.{i}.mlp.down.bias": "h.{i}.mlp.c_proj.bias",
    "norm.weight": "ln_f.weight",
    "norm.bias": "ln_f.bias",
    "head.weight": "lm_head.weight",
}
_LAYER = "model.layers.{i}"
_LLAMA = {
    "embed.weight": "model.embed_tokens.weight",
    "blocks.{i}.attention.norm.weight": f"{_LAYER}.input_layernorm.weight",
    **{
        f"blocks.{{i}}.attention.qkv.{kind}": " ".join(f"{_LAYER}.self_attn.{one}_proj.{kind}" for one in "qkv")
        for kind in ("weight", "bias")
    },
    "blocks.{i}.attention.q_norm.weight": f"{_LAYER}.self_attn.q_norm.weight",
    "blocks.{i}.attention.k_norm.weight": f"{_LAYER}.self_attn.k_norm.weight",
    "blocks.{i}.attention.out.weight": f"{_LAYER}.self_attn.o_proj.weight",
    "blocks.{i}.attention.out.bias": f"{_LAYER}.self_attn.o_proj.bias",
    "blocks.{i}.mlp.norm.weight": f"{_LAYER}.post_attention_layernorm.weight",
    **{
        f"blocks.{{i}}.mlp.{one}.{kind}": f"{_LAYER}.mlp.{one}_proj.{kind}"
        for one in ("gate", "up", "down")
        for kind in ("weight", "bias")
    },
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
}
_NANOCHAT = {
    "embed.weight": "model.embed_tokens.weight",
    **{
        f"blocks.{{i}}.attention.qkv.{kind}": " ".join(
            f"{_LAYER}.self_attn.{one}_proj.{kind}{turned}" for one, turned in (("q", "↕"), ("k", "↕"), ("v", ""))
        )
        for kind in ("weight", "bias")
    },
    "blocks.{i}.attention.out.weight": f"{_LAYER}.self_attn.o_proj.weight",
    "blocks.{i}.attention.out.bias": f"{_LAYER}.self_attn.o_proj.bias",
    "blocks.{i}.mlp.up.weight": f"{_LAYER}.mlp.fc1.weight",
    "blocks.{i}.mlp.down.weight": f"{_LAYER}.mlp.fc2.weight",
    "head.weight": "lm_head.weight",
}
# The names of nanochat itself, which mlx-lm's class has too
_NANOCHAT_OWN = {
    "embed.weight": "transformer.wte.weight",
    "blocks.{i}.attention.qkv.weight": " ".join(
        f"transformer.h.{{i}}.attn.c_{one}.weight{turned}" for one, turned in (("q", "↕"), ("k", "↕"), ("v", ""))
    ),
    "blocks.{i}.attention.out.weight": "transformer.h.{i}.attn.c_proj.weight",
    "blocks.{i}.mlp.up.weight": "transformer.h.{i}.mlp.c_fc.weight",
    "blocks.{i}.mlp.down.weight": "transformer.h.{i}.mlp.c_proj.weight",
    "head.weight": "lm_head.weight",
}
OWN = "nanochat's own"
_NAMES: dict[str, dict[str, str]] = {
    "gpt2": _GPT2, **dict.fromkeys(("llama", "qwen3", "qwen2", "mistral"), _LLAMA),
    "nanochat": _NANOCHAT, OWN: _NANOCHAT_OWN,
}  # fmt: skip
_MASKS = re.compile(r"(.*\.)?h\.\d+\.attn\.(masked_)?bias|.*\.rotary_emb\.inv_freq")  # buffers that old files carry


def read(opened: Opened) -> tuple[Shape, dict[str, Stored]]:
    """Return the completed shape and the tensors by our names, whoever wrote the folder; an adapter's on its base."""
    if isinstance(opened, OnBase):
        from pylm.model.adapted import read_adapted

        return read_adapted(opened)
    if (opened.path / "config.yaml").is_file():
        weights = dict(opened.weights())
        if "embed.weight" not in weights:
            raise CheckpointError(f"{opened.path}: model.safetensors holds no embed.weight")
        model = resolve(files=[opened.path / "config.yaml"], environ={}).config.model
        return complete(model, weights["embed.weight"].shape[0]), weights
    return from_hugging_face(opened.weights(), opened.path / "config.json")


def to_hugging_face(
    weights: Mapping[str, Stored], shape: Shape, end: int | Sequence[int] | None = None, names: str | None = None
) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Return tensors and config.json as transformers, vLLM, llama.cpp and MLX read them.

    Args:
        weights: by our names, without padding.
        shape: completed.
        end: the tokenizer's end of text, or all ids where what others generate is to stop.
        names: the layout whose names they get; the shape's where None.
    """
    layout = layout_of(shape)
    tensors: dict[str, Stored] = {}
    for ours, theirs in pairs(names or layout, shape):
        if ours not in weights:
            raise CheckpointError(f"the weights lack {ours}")
        several = theirs.split()
        parts = _cut(weights[ours], qkv_rows(shape)) if len(several) > 1 else [weights[ours]]
        tensors |= {plain(name): _turned(name, part, shape) for name, part in zip(several, parts, strict=True)}
    if strange := sorted(weights.keys() - {ours for ours, _ in pairs(layout, shape)}):
        raise CheckpointError(f"the {layout} layout has no place for {strange[0]}")
    return tensors, config_of(shape, end, weights["embed.weight"].dtype)


def from_hugging_face(
    weights: Mapping[str, Stored], config: Mapping[str, Any] | Path
) -> tuple[Shape, dict[str, Stored]]:
    """Return the shape and the tensors by our names.

    Args:
        weights: by Hugging Face's names.
        config: config.json, read or its path.
    """
    layout, shape = shape_of(read_json(config) if isinstance(config, Path) else config)
    theirs = {name: tensor for name, tensor in weights.items() if not _MASKS.fullmatch(name)}
    if layout == "gpt2":  # transformers writes a prefix that OpenAI's own files, llama.cpp and MLX leave out
        bare = {name.removeprefix("transformer."): held for name, held in theirs.items()}
        if len(bare) < len(theirs):
            twice = min(name for name in bare if name in theirs and f"transformer.{name}" in theirs)
            raise CheckpointError(f"the weights hold {twice} twice, once with transformer. before it")
        theirs = bare
    own = layout == "nanochat" and "transformer.wte.weight" in theirs
    refuse_more_layers(shape, theirs)
    sizes = parameters(shape)
    tensors: dict[str, Stored] = {}
    for ours, names in pairs(OWN if own else layout, shape):
        if lacking := [plain(name) for name in names.split() if plain(name) not in theirs]:
            raise CheckpointError(f"the weights lack {lacking[0]}, which config.json speaks of")
        held = {name: theirs.pop(plain(name)) for name in names.split()}
        check_sizes(held, sizes[ours].shape, shape)
        parts = [_turned(name, tensor, shape) for name, tensor in held.items()]
        tensors[ours] = parts[0] if len(parts) == 1 else _joined(parts)
    if shape.tied:
        theirs.pop("lm_head.weight", None)
    if theirs:
        raise CheckpointError(f"the weights hold {min(theirs)}, of which config.json says nothing")
    return shape, tensors


def pairs(layout: str, shape: Shape) -> Iterator[tuple[str, str]]:
    """Return our name and theirs for every tensor of a shape."""
    assert shape.n_layers is not None
    for ours, theirs in _NAMES[layout].items():
        if ours == "head.weight" and shape.tied or "_norm." in ours and not shape.qk_norm:
            continue
        biases = {"blocks.{i}.attention.qkv.bias": shape.qkv_bias, "blocks.{i}.attention.out.bias": shape.out_bias}
        if ours.endswith(".bias") and not biases.get(ours, shape.bias):
            continue
        for layer in range(shape.n_layers) if "{i}" in ours else (0,):
            yield ours.replace("{i}", str(layer)), theirs.replace("{i}", str(layer))


def plain(name: str) -> str:
    """Return a name of theirs without the mark of how its tensor is kept."""
    return name.rstrip("ᵀ↕")


def refuse_more_layers(shape: Shape, tensors: Mapping[str, object]) -> None:
    """Refuse a model of more layers than there are tensors, before a name is made for each that it would have."""
    if shape.n_layers is not None and shape.n_layers > len(tensors):
        raise CheckpointError(f"{shape.n_layers:,} layers are described, and the weights are {len(tensors)} tensors")


def check_sizes(held: Mapping[str, Stored], whole: tuple[int, ...], shape: Shape) -> None:
    """Refuse, by its name, a tensor of other sizes than the model's.

    Args:
        held: by names of others, which may be marked: those of one tensor of ours, in the order of its rows.
        whole: the sizes of ours.
        shape: completed.
    """
    rows = qkv_rows(shape) if len(held) > 1 else whole[:1]
    for (name, tensor), count in zip(held.items(), rows, strict=True):
        wanted = [count, *whole[1:]][:: -1 if name.endswith("ᵀ") else 1]
        if list(tensor.shape) != wanted:
            raise CheckpointError(f"{plain(name)} is of shape {list(tensor.shape)}, the model's is {wanted}")


def _turned(name: str, held: Stored, shape: Shape) -> Stored:
    """Return a tensor as the other side keeps it, by the mark of its name; both ways are the same."""
    if name.endswith("ᵀ"):
        if len(held.shape) != 2:
            raise CheckpointError(f"{plain(name)} is of shape {list(held.shape)}, and no matrix")
        return Transposed(held)
    if name.endswith("↕"):
        assert shape.head_dim
        if not held.shape or held.shape[0] % shape.head_dim:
            raise CheckpointError(f"{plain(name)} is of shape {list(held.shape)}, and heads are {shape.head_dim} wide")
        return Halved(held, shape.head_dim)
    return held


def qkv_rows(shape: Shape) -> tuple[int, int, int]:
    """Return how many rows of their one matrix queries, keys and values have."""
    assert shape.head_dim and shape.n_heads and shape.n_kv_heads
    kv = shape.head_dim * shape.n_kv_heads
    return shape.head_dim * shape.n_heads, kv, kv


def _cut(tensor: Stored, rows: tuple[int, ...]) -> Iterator[Tensor]:
    """Return parts of so many rows, sharing the bytes."""
    if tensor.shape[0] != sum(rows):
        raise CheckpointError(f"a tensor of {tensor.shape[0]} rows is no projection to {sum(rows)}")
    data = memoryview(tensor.data).cast("B")
    each, start = len(data) // sum(rows), 0
    for count in rows:
        yield Tensor(tensor.dtype, (count, *tensor.shape[1:]), data[start : start + count * each])
        start += count * each


def _joined(parts: list[Stored]) -> Joined:
    first = parts[0]
    if any(part.dtype != first.dtype for part in parts):
        raise CheckpointError("queries, keys and values are of different types")
    return Joined(tuple(parts))
