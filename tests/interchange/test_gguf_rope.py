"""Scaled positions in files of others: what llama.cpp's converter writes of them is read as it was meant."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pylm.config.schema import Model as Shape
from pylm.config.shape import complete
from pylm.errors import CheckpointError
from pylm.interchange.gguf_rope import check_factors, factors_of, scaling_in


def converters_factors(factor: float, low: float, high: float, original: float) -> np.ndarray:
    """As conversion/llama.py of llama.cpp has them, for heads 64 wide and Llama 3's base."""
    factors = []
    for freq in 500000.0 ** -(np.arange(0, 64, 2) / 64):
        wavelen = 2 * math.pi / freq
        if wavelen < original / high:
            factors.append(1.0)
        elif wavelen > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelen - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, np.float32)


def shape(scaling: dict[str, Any] | None) -> Shape:
    fields = {"n_layers": 1, "n_heads": 4, "d_model": 256, "rope_theta": 500000.0, "rope_scaling": scaling}
    return complete(Shape.model_validate(fields), 300)


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_factors_of_llama_3_are_recognized(factor: float) -> None:
    factors = converters_factors(factor, 1.0, 4.0, 8192.0)
    found = scaling_in({"rope.scaling.type": "none"}, None, factors)
    assert found == {
        "type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_positions": 8192.0,
    }  # fmt: skip
    check_factors(shape(found), factors)
    ours = factors_of(shape(found))
    assert ours is not None and np.allclose(ours, factors, rtol=1e-5)


def test_factors_of_another_context_are_refused() -> None:
    factors = converters_factors(8.0, 1.0, 4.0, 4096.0)
    with pytest.raises(CheckpointError, match="its rope_freqs.weight scales positions otherwise than llama3 with"):
        check_factors(shape(scaling_in({}, None, factors)), factors)
    with pytest.raises(CheckpointError, match="otherwise than llama3"):
        check_factors(shape(scaling_in({}, None, factors)), factors[:5])
    published = converters_factors(8.0, 1.0, 4.0, 8192.0)
    with pytest.raises(CheckpointError, match="otherwise than llama3"):
        check_factors(shape(scaling_in({}, None, published)), published * np.float32(1.01))
    with pytest.raises(CheckpointError, match="scaled by yarn and by rope_freqs.weight: one of the two is read"):
        scaling_in({"rope.scaling.type": "yarn"}, None, factors)


YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": np.float32(4), "context_length": 64}


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({}, None),
        ({"rope.scaling.type": "none", "rope.scaling.factor": 4.0}, None),
        ({"rope.scale_linear": np.float32(2.2)}, {"type": "linear", "factor": 2.2}),
        ({"rope.scaling.factor": 0.0}, None),
        (YARN, {"type": "yarn", "factor": 4.0, "original_max_positions": 64.0}),
        (  # half of the 1 + 0.1 ln 4 that llama.cpp takes by itself
            {**YARN, "rope.scaling.attn_factor": np.float32(0.5)},
            {"type": "yarn", "factor": 4.0, "original_max_positions": 64.0,
             "attention_factor": pytest.approx(0.56931472)},
        ),
        (
            {**YARN, "rope.scaling.original_context_length": 16, "rope.scaling.yarn_attn_factor": np.float32(1.2),
             "rope.scaling.yarn_beta_fast": np.float32(24)},
            {"type": "yarn", "factor": 4.0, "original_max_positions": 16.0, "attention_factor": 1.2, "beta_fast": 24.0},
        ),
    ],
)  # fmt: skip
def test_fields_of_the_converter(own: dict[str, Any], wanted: dict[str, Any] | None) -> None:
    assert scaling_in(own, None, None) == wanted


def test_all_ones_are_no_scaling_and_others_are_named() -> None:
    assert scaling_in({}, None, np.ones(32, np.float32)) is None
    with pytest.raises(CheckpointError, match="its positions are scaled by longrope: linear, yarn and llama3 are read"):
        scaling_in({"rope.scaling.type": "longrope"}, None, None)
