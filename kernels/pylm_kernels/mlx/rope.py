"""Rope for MLX: pylm_kernels.Rope without torch, the angles of rotary positions, built once, shared by every layer."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import mlx.core as mx

from pylm_kernels.hugging_face import rope_settings
from pylm_kernels.operands.frequencies import frequencies, rotating


class Rope:
    """Cosines and sines of rotary positions.

    `half` pairs dimension i with i + dims/2 (Llama, NeoX); `interleaved` pairs 2i with 2i + 1 (GPT-J, MLX's
    "traditional"). Positions count from 0 in each sequence, or in each document when cu_seqlens is given, unless `at`
    says otherwise.
    """

    def __init__(
        self,
        head_dim: int,
        *,
        theta: float = 10000.0,
        layout: str = "half",
        dims: int | None = None,
        scaling: Mapping[str, Any] | None = None,
        max_positions: int = 4096,
        tables: tuple[Any, Any] | None = None,
    ) -> None:
        """Build the tables.

        Args:
            head_dim: the width of a head.
            theta: the base of the geometric frequencies.
            layout: "half" or "interleaved".
            dims: how many leading dimensions of a head rotate (even); None for all.
            scaling: {"type": "linear" | "ntk" | "yarn" | "llama3" | "default", "factor": …, …}, keys as in Hugging
                Face configs, partial_rotary_factor among them; see also `from_config`.
            max_positions: the number of rows in the tables; a longer call is an error.
            tables: (cos, sin), each [positions, dims / 2], instead of theta and scaling.
        """
        self.head_dim, self.layout = head_dim, layout
        self.dims = rotating(head_dim, dims, layout, scaling)
        self.positions: Any = None
        self.offset: Any = 0
        if tables is None:
            self.cos, self.sin = angles(*frequencies(self.dims, theta, scaling), max_positions)
        else:
            self.cos, self.sin = (table.astype(mx.float32) for table in tables)
            if self.cos.shape != self.sin.shape or self.cos.ndim != 2 or self.cos.shape[1] != self.dims // 2:
                raise ValueError(
                    f"tables: shapes {self.cos.shape} and {self.sin.shape} must both be (positions, {self.dims // 2})"
                )
        self.max_positions = self.cos.shape[0]

    @classmethod
    def from_config(
        cls, config: Any, *, layout: str = "half", layer_type: str | None = None, max_positions: int | None = None
    ) -> Rope:
        """Return the angles of a Hugging Face model, as pylm_kernels.Rope.from_config does."""
        settings = rope_settings(config, layer_type)
        if max_positions is not None:
            settings["max_positions"] = max_positions
        return cls(**settings, layout=layout)

    def at(self, positions: Any = None, offset: int = 0) -> Rope:
        """Return the same angles for other positions: explicit ones ([T] or [B, T]), or those from `offset` on.

        Positions are not looked at, since that would evaluate the graph: one outside the tables gives zeros.
        """
        other = copy.copy(self)
        if positions is not None:
            if not isinstance(positions, mx.array) or positions.ndim not in (1, 2):
                raise ValueError("positions: must be an mlx.core.array of integers, of shape (T,) or (B, T)")
            if not mx.issubdtype(positions.dtype, mx.integer):
                raise ValueError(f"positions: dtype {positions.dtype} is no integer")
            positions = positions.astype(mx.int32)
        if offset < 0:
            raise ValueError(f"offset: {offset} is negative")
        other.positions, other.offset = positions, offset
        return other


class Rotation(NamedTuple):
    """The rotation of heads, and their normalisation before it where there are weights."""

    rope: Rope
    positions: Any  # [B or 1, T] int32; without them they count up
    q_weight: Any  # [D]; both weights or none
    k_weight: Any
    eps: float


def angles(frequencies: list[float], factor: float, max_positions: int) -> tuple[Any, Any]:
    """Return tables of cosines and sines in float32, [max_positions, pairs], right to the last bit but one.

    MLX's cosines in float64 are off by 4e-6 (0.32, CPU), so Python computes them, for every `step`th position and for
    the first `step`; the others are their sums of angles.
    """
    step = max(math.isqrt(max_positions), 1)
    with mx.stream(mx.cpu):  # the only one that has float64; computed at once, so that no graph comes back here

        def table(function: Callable[[float], float], positions: range) -> Any:
            return mx.array([[function(p * f) for f in frequencies] for p in positions], dtype=mx.float64)

        far, near = range(0, max(max_positions, 1), step), range(step)
        c, s = table(math.cos, far)[:, None], table(math.sin, far)[:, None]
        c_near, s_near = table(math.cos, near)[None], table(math.sin, near)[None]
        scale = mx.array(factor, dtype=mx.float64)
        shape = (-1, len(frequencies))
        found = (c * c_near - s * s_near) * scale, (s * c_near + c * s_near) * scale
        cos, sin = (x.reshape(shape)[:max_positions].astype(mx.float32) for x in found)
        mx.eval(cos, sin)
    return cos, sin
