"""The parameters of a shape: names, sizes and what they begin as, without a framework."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pylm.config.schema import Model as Shape
from pylm.errors import CheckpointError, UsageError

__all__ = ["Parameter", "draw", "misfit", "parameters", "valued"]

AT_ONCE = 1 << 20  # numbers that are turned together


class Parameter(NamedTuple):
    """A parameter of the model: its shape, and what it begins as."""

    shape: tuple[int, ...]
    start: tuple[float, ...] = (0.0,)  # what its elements begin as, over and over, where it is not drawn
    std: float = 0.0  # of the normal distribution that it is drawn from


def parameters(shape: Shape) -> dict[str, Parameter]:
    """Return all parameters of a completed shape, in the order in which they are drawn.

    The padding of the vocabulary, which one backend has and another has not, is none of them.
    """
    layers, width, vocabulary = shape.n_layers, shape.d_model, shape.vocab_size
    heads, kv_heads, inner = shape.n_heads, shape.n_kv_heads, shape.d_ff
    head_dim = shape.head_dim
    if not (layers and width and vocabulary and heads and kv_heads and inner and head_dim):
        raise UsageError("the shape of the model is open", "complete it first: pylm.config.shape.complete")
    std, zero = shape.init_std, shape.zero_init
    heads_width, kv_width = head_dim * heads, head_dim * kv_heads
    # two a block are added to the stream, whose size then does not grow with depth
    added = 0.0 if zero else std / math.sqrt(2 * layers)
    named: dict[str, Parameter] = {}

    def matrix(name: str, rows: int, columns: int, deviation: float, bias: bool = False) -> None:
        named[f"{name}.weight"] = Parameter((rows, columns), std=deviation)
        if bias:
            named[f"{name}.bias"] = Parameter((rows,))

    def norm(name: str, size: int, kind: str = shape.norm) -> None:
        if not shape.norm_gain:
            return
        named[f"{name}.weight"] = Parameter((size,), (1.0,))
        if kind == "layernorm" and shape.bias:
            named[f"{name}.bias"] = Parameter((size,))

    # with zero_init nothing else is in the stream at first, and no head shares an untied table
    matrix("embed", vocabulary, width, 0.8 if zero and not shape.tied else std)
    if shape.position == "learned":
        matrix("position", shape.context_length, width, std)
    if shape.embed_norm:
        norm("embed_norm", width)
    for layer in range(layers):
        block = f"blocks.{layer}"
        if shape.residual_lambdas:
            named[f"{block}.residual_lambdas"] = Parameter((2,), (1.0, 0.0))
        norm(f"{block}.attention.norm", width)
        matrix(f"{block}.attention.qkv", heads_width + 2 * kv_width, width, std, shape.qkv_bias)
        if shape.qk_norm:
            norm(f"{block}.attention.q_norm", head_dim, "rmsnorm")
            norm(f"{block}.attention.k_norm", head_dim, "rmsnorm")
        if valued(shape, layer):
            # as large as the values that they are mixed with, which are products with rows of unit size
            matrix(f"{block}.attention.value", vocabulary, kv_width, std * math.sqrt(width))
            named[f"{block}.attention.value_lambdas"] = Parameter((2,), (0.5,))
        matrix(f"{block}.attention.out", width, heads_width, added, shape.out_bias)
        norm(f"{block}.mlp.norm", width)
        if shape.mlp == "swiglu":
            matrix(f"{block}.mlp.gate", inner, width, std, shape.bias)
        matrix(f"{block}.mlp.up", inner, width, std, shape.bias)
        matrix(f"{block}.mlp.down", width, inner, added, shape.bias)
    norm("norm", width)
    if not shape.tied:
        matrix("head", vocabulary, width, 0.001 if zero else std)
    return named


def valued(shape: Shape, layer: int) -> bool:
    """Say whether a block has value embeddings: the last one has, and every second one before it."""
    assert shape.n_layers is not None
    return shape.value_embeddings and (shape.n_layers - layer) % 2 == 1


def draw(shape: Shape, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return initial weights in float32: to rounding those that the torch model draws on a CPU from the same seed."""
    words = np.random.RandomState(seed & 0xFFFFFFFF)
    weights = {}
    for name, parameter in parameters(shape).items():
        if parameter.std:
            count = math.prod(parameter.shape)
            weights[name] = (normal(words, count) * np.float32(parameter.std)).reshape(parameter.shape)
        else:
            weights[name] = np.resize(np.array(parameter.start, np.float32), parameter.shape)
    return weights


def normal(words: np.random.RandomState, count: int) -> np.ndarray[Any, Any]:
    """Return normal numbers as torch makes them of the Mersenne Twister's words: by Box and Muller, 16 at a time."""
    normal = np.empty(max(count, 16), np.float32)
    whole = len(normal) // 16 * 16
    normal[:] = uniform(words, len(normal))
    for first in range(0, whole, AT_ONCE):
        part = slice(first, min(first + AT_ONCE, whole))
        normal[part] = _box_muller(normal[part])
    if whole < len(normal):  # the last 16 are drawn anew, some of them a second time
        normal[-16:] = _box_muller(uniform(words, 16))
    return normal[:count]


def uniform(words: np.random.RandomState, count: int) -> np.ndarray[Any, Any]:
    drawn = np.frombuffer(words.bytes(4 * count), "<u4") & 0xFFFFFF
    uniform: np.ndarray[Any, Any] = drawn.astype(np.float32) * np.float32(2**-24)
    return uniform


def _box_muller(uniform: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    pairs = uniform.reshape(-1, 2, 8)
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - pairs[:, 0]))
    angle = np.float32(2 * math.pi) * pairs[:, 1]
    return np.stack((radius * np.cos(angle), radius * np.sin(angle)), 1).reshape(-1)


def misfit(mine: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> None:
    """Raise where weights are not those of a model; the error says what does not fit.

    Args:
        mine: the sizes of the model's, by name.
        given: the sizes of those that it is to take.
    """
    if missing := sorted(mine.keys() - given.keys()):
        raise CheckpointError(f"the weights lack {', '.join(missing[:4])}{' and more' if missing[4:] else ''}")
    if strange := sorted(given.keys() - mine.keys()):
        raise CheckpointError(f"the model has no {', '.join(strange[:4])}{' and more' if strange[4:] else ''}")
    for name, shape in mine.items():
        if tuple(shape) != tuple(given[name]):
            raise CheckpointError(f"{name} is of shape {list(given[name])}, the model's is {list(shape)}")
