"""Adapters as PEFT and as mlx-lm keep them: their names and ours, both ways, and every product the same.

Their queries, keys and values are three linears where ours are one. Out of ours come three with the same A, each with
its rows of B. Three with an A each become one whose A is all of theirs and whose B is theirs in blocks.

| | linear | table |
|---|---|---|
| PEFT | `base_model.model.M.lora_A.weight` [rank, in], `.lora_B.weight` [out, rank] | `.lora_embedding_A`, `_B` |
| mlx-lm | `M.lora_a` [in, rank], `M.lora_b` [rank, out] | the same |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from pylm.config.schema import Model as Shape
from pylm.errors import CheckpointError
from pylm.model.layouts import layout_of
from pylm.model.lora import Array, factors, to_numpy, to_tensor
from pylm.model.names import OWN, Stored, Tensor, pairs, plain, qkv_rows

__all__ = ["FORMS", "read", "written"]

FORMS = ("peft", "mlx")
PEFT_PREFIX = "base_model.model."
# What PEFT can put into a file that is no plain product of two factors
_OTHER = (
    "use_dora",
    "lora_bias",
    "use_qalora",
    "alora_invocation_tokens",
    "layer_replication",
    "trainable_token_indices",
)


class Pair(NamedTuple):
    """The factors of one of their modules: A [rank, in] and B [out, rank]."""

    a: Array
    b: Array


def read(tensors: Mapping[str, Stored], config: Mapping[str, Any], shape: Shape) -> tuple[dict[str, Stored], float]:
    """Return an adapter's tensors by our names, and what their products count.

    Args:
        tensors: by their names.
        config: its adapter_config.json.
        shape: of the base.
    """
    form = "peft" if "peft_type" in config else "mlx"
    found = _from_peft(tensors, config, shape) if form == "peft" else _from_mlx(tensors, config, shape)
    ours: dict[str, Stored] = {}
    for module, parts, rows in _modules(shape, form):
        pairs_of = [found.pop(plain(part), None) for part in parts]
        held = [pair and _turned(part, pair, shape) for part, pair in zip(parts, pairs_of, strict=True)]
        if any(held):
            pair = _joined(held, rows)
            ours[f"{module}.lora_a"], ours[f"{module}.lora_b"] = to_tensor(pair.a), to_tensor(pair.b)
    if found:
        raise CheckpointError(f"the adapter is of {min(found)}, which a {layout_of(shape)} model of this shape has not")
    return ours, 1.0


def written(
    form: str, tensors: Mapping[str, Stored], scale: float, shape: Shape, base: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the adapter_config.json of one of the forms; ranks that differ are filled up with zeros.

    Args:
        form: peft or mlx.
        tensors: the adapter's, by our names.
        scale: what their products count.
        shape: of the base.
        base: where the base lies.
    """
    if rows := [name for name in tensors if name.endswith(".rows")]:
        raise CheckpointError(
            f"the adapter holds {rows[0]}, of tokens that its base does not have; other forms have no place for them",
            "merge it with its base, which gives a model of its own",
        )
    held = factors(tensors)
    rank = max(len(a) for a, _ in held.values())
    parts: dict[str, Pair] = {}
    for module, names, rows_of in _modules(shape, form):
        if module in held:
            a, b = (np.pad(one, [(0, rank - len(held[module][0])), (0, 0)][::step])
                    for one, step in zip(held[module], (1, -1), strict=True))  # fmt: skip
            cuts = np.cumsum(rows_of)[:-1]
            cut = [Pair(a, part) for part in np.split(b, cuts)]
            parts |= {plain(name): _turned(name, pair, shape) for name, pair in zip(names, cut, strict=True)}
    if form == "peft":
        return _to_peft(parts, rank, scale, shape, base)
    return _to_mlx(parts, rank, scale, shape, base)


def _modules(shape: Shape, form: str) -> Iterator[tuple[str, list[str], list[int]]]:
    """Yield our name of each module that may be adapted, their names of its parts, and the rows of each part's B.

    A name that ends in ↕ is of a part whose rows lie there as RoPE turns the other way.
    """
    layout = layout_of(shape)
    for ours, theirs in pairs(OWN if (layout, form) == ("nanochat", "mlx") else layout, shape):
        module, names = ours.removesuffix(".weight"), [name.removesuffix("ᵀ") for name in theirs.split()]
        if ours.endswith(".weight") and "norm" not in module and module != "position":
            rows = list(qkv_rows(shape)) if len(names) > 1 else [0]
            yield module, [name.replace(".weight", "") for name in names], rows


def _turned(name: str, pair: Pair, shape: Shape) -> Pair:
    """Return factors with the halves of each head's rows in the other order, where the name asks for it."""
    assert shape.head_dim
    if not name.endswith("↕") or len(pair.b) % shape.head_dim:
        return pair
    rows, rank = pair.b.shape
    return Pair(pair.a, pair.b.reshape(-1, 2, shape.head_dim // 2, rank)[:, ::-1].reshape(rows, rank))


def _joined(held: list[Pair | None], rows: list[int]) -> Pair:
    """Return the factors of several linears that are one of ours; a part that has none adds nothing."""
    there = [pair for pair in held if pair is not None]
    if len(held) == 1:
        return there[0]
    for pair, count in zip(held, rows, strict=True):
        if pair is not None and len(pair.b) != count:
            raise CheckpointError(f"an adapter of queries, keys or values has {len(pair.b)} rows, the base {count}")
    if len(there) == len(held) and all(np.array_equal(pair.a, there[0].a) for pair in there):
        return Pair(there[0].a, np.concatenate([pair.b for pair in there]))
    whole = np.zeros((sum(rows), sum(len(pair.a) for pair in there)), np.float32)
    row = column = 0
    for pair, count in zip(held, rows, strict=True):
        if pair is not None:
            whole[row : row + count, column : column + len(pair.a)] = pair.b
            column += len(pair.a)
        row += count
    return Pair(np.concatenate([pair.a for pair in there]), whole)


def _from_peft(tensors: Mapping[str, Stored], config: Mapping[str, Any], shape: Shape) -> dict[str, Pair]:
    """Return their modules' factors, what each product counts being in B."""
    if config["peft_type"] != "LORA" or config.get("bias", "none") != "none":
        raise CheckpointError(
            f"adapter_config.json is of {config['peft_type']}, bias {config.get('bias')}; LORA is read"
        )
    if asked := [key for key in _OTHER if config.get(key)]:
        raise CheckpointError(f"adapter_config.json says {asked[0]}, and plain factors are what is read")
    found: dict[str, Pair] = {}
    for name, stored in tensors.items():
        plain = name.removeprefix(PEFT_PREFIX)
        for suffix, other in ((".lora_A.weight", ".lora_B.weight"), (".lora_embedding_A", ".lora_embedding_B")):
            if plain.endswith(suffix):
                module, twin = plain.removesuffix(suffix), name.removesuffix(suffix) + other
                if twin not in tensors:
                    raise CheckpointError(f"the adapter holds {name} without {twin}")
                a = to_numpy(stored)
                b = np.float32(_peft_scale(module, len(a), config)) * to_numpy(tensors[twin])
                found[_without("transformer", module, shape)] = Pair(a, b)
                break
        else:
            if not plain.endswith((".lora_B.weight", ".lora_embedding_B")):
                raise CheckpointError(f"the adapter holds {name}, which is no factor of a linear")
    return found


def _peft_scale(module: str, rank: int, config: Mapping[str, Any]) -> float:
    """Return what a module's product counts, which patterns may say of it alone."""
    import re

    alpha = config.get("lora_alpha", 8)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = value
            break
    return float(alpha) / (rank**0.5 if config.get("use_rslora") else rank)


def _to_peft(
    parts: Mapping[str, Pair], rank: int, scale: float, shape: Shape, base: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    named = {_within("transformer", module, shape): pair for module, pair in parts.items()}
    for module, pair in named.items():
        table = module.endswith(("embed_tokens", "wte"))
        a, b = ("lora_embedding_A", "lora_embedding_B") if table else ("lora_A.weight", "lora_B.weight")
        tensors[f"{PEFT_PREFIX}{module}.{a}"] = to_tensor(pair.a)
        tensors[f"{PEFT_PREFIX}{module}.{b}"] = to_tensor(pair.b)
    return (
        tensors,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "inference_mode": True,
            "r": rank,
            "lora_alpha": _plain(scale * rank),
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": layout_of(shape) == "gpt2",  # whose linears are Conv1D, kept transposed
            "target_modules": sorted(
                {".".join(module.split(".")[-2:]) if "." in module else module for module in named}
            ),
        },
    )


def _from_mlx(tensors: Mapping[str, Stored], config: Mapping[str, Any], shape: Shape) -> dict[str, Pair]:
    if config.get("fine_tune_type", "lora") != "lora":
        raise CheckpointError(f"adapter_config.json is of {config['fine_tune_type']}, and lora is read")
    scale = (config.get("lora_parameters") or {}).get("scale", 20.0)
    found: dict[str, Pair] = {}
    for name in tensors:
        module, _, kind = name.rpartition(".")
        if kind == "lora_a" and f"{module}.lora_b" in tensors:
            a, b = (to_numpy(tensors[f"{module}.{factor}"]).T for factor in ("lora_a", "lora_b"))
            found[_without("model", module, shape)] = Pair(a, np.float32(scale) * b)
        elif kind != "lora_b":
            raise CheckpointError(f"the adapter holds {name}, which is no factor of a linear")
    return found


def _to_mlx(
    parts: Mapping[str, Pair], rank: int, scale: float, shape: Shape, base: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors: dict[str, Tensor] = {}
    named = {_within("model", module, shape): pair for module, pair in parts.items()}
    for module, pair in named.items():
        tensors[f"{module}.lora_a"], tensors[f"{module}.lora_b"] = to_tensor(pair.a.T), to_tensor(pair.b.T)
    blocks = {
        ".".join(module.split(".")[3:]) for module in named if module.split(".")[2:3] and module.split(".")[2].isdigit()
    }
    whole = {module for module in named if not any(word.isdigit() for word in module.split("."))}
    return tensors, {
        "fine_tune_type": "lora",
        "model": base,
        "num_layers": shape.n_layers,
        "lora_parameters": {"rank": rank, "scale": scale, "dropout": 0.0, "keys": sorted(blocks | whole)},
    }


def _within(model: str, module: str, shape: Shape) -> str:
    """Return a module as its class calls it: GPT-2's lie in `transformer`, in mlx-lm's class in `model`."""
    return f"{model}.{module}" if layout_of(shape) == "gpt2" and module != "lm_head" else module


def _without(model: str, module: str, shape: Shape) -> str:
    return module.removeprefix(f"{model}.") if layout_of(shape) == "gpt2" else module


def _plain(number: float) -> float | int:
    return int(number) if number == int(number) else number
