"""Rope: the angles of rotary positions, their layout and scaling, built once and shared by every layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from pylm_kernels import transforms
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
        tables: tuple[torch.Tensor, torch.Tensor] | None = None,
        device: torch.device | str | None = None,
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
            device: where the tables are put first; other devices get a copy on first use.
        """
        dims = rotating(head_dim, dims, layout, scaling)
        self.head_dim, self.dims, self.layout = head_dim, dims, layout
        self.positions: torch.Tensor | None = None
        self.offset = 0
        with torch.inference_mode(False):  # a Rope that a validation makes serves the training after it too
            if tables is None:
                cos, sin = angles(dims, theta, scaling, max_positions)
            else:
                cos, sin = (table.detach().to(torch.float32, copy=True).contiguous() for table in tables)
        if cos.shape != sin.shape or cos.dim() != 2 or cos.shape[1] != dims // 2:
            raise ValueError(
                f"tables: shapes {tuple(cos.shape)} and {tuple(sin.shape)} must both be (positions, {dims // 2})"
            )
        if cos.is_meta or sin.is_meta:
            raise ValueError(
                "tables: are on the meta device, which holds no numbers; leave them out or make them elsewhere"
            )
        self.max_positions = cos.shape[0]
        self._tables = {cos.device: (cos, sin)}
        if device is not None:
            self.tables(torch.device(device))

    @classmethod
    def from_config(
        cls,
        config: Any,
        *,
        layout: str = "half",
        layer_type: str | None = None,
        max_positions: int | None = None,
        device: torch.device | str | None = None,
    ) -> Rope:
        """Return the angles of a Hugging Face model.

        Args:
            config: transformers' configuration, or its config.json as a dictionary.
            layout: "half" as Llama's, or "interleaved"; a config does not say which.
            layer_type: whose angles, where a config has several: "full_attention", "sliding_attention".
            max_positions: the number of rows in the tables; the config's max_position_embeddings by default.
            device: where the tables are put first.

        Raises:
            ValueError: the config has no rotary positions, or a scaling that is not known here.
        """
        settings = rope_settings(config, layer_type)
        if max_positions is not None:
            settings["max_positions"] = max_positions
        return cls(**settings, layout=layout, device=device)

    def tables(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (cos, sin) in float32 on this device, each [max_positions, dims / 2]."""
        held = self._tables.get(device)
        if held is None:
            cos, sin = next(iter(self._tables.values()))
            with torch.inference_mode(False):  # whoever asks first, all others are given the same
                held = self._tables[device] = (cos.to(device), sin.to(device))
        return held

    def at(self, positions: torch.Tensor | None = None, offset: int = 0) -> Rope:
        """Return the same angles for other positions: explicit ones ([T] or [B, T]), or those from `offset` on."""
        other = copy.copy(self)
        if positions is not None:
            if positions.dim() not in (1, 2) or positions.is_floating_point():
                raise ValueError(f"positions: must be integers of shape (T,) or (B, T), not {tuple(positions.shape)}")
            # waits for the device, once for all layers; compiled code cannot, and there a position outside gives zeros
            if not torch.compiler.is_compiling() and positions.numel() and transforms.readable(positions):
                low, high = int(positions.min()), int(positions.max())
                if low < 0 or high + offset >= self.max_positions:
                    raise ValueError(
                        f"positions: {low} to {high} (offset {offset}) leave the table of {self.max_positions};"
                        " build the Rope with a larger max_positions"
                    )
            with torch.inference_mode(False):
                positions = positions.to(torch.int32).contiguous()
                if not torch.compiler.is_compiling() and positions.is_inference():
                    positions = positions.clone()
        if offset < 0:
            raise ValueError(f"offset: {offset} is negative")
        other.positions, other.offset = positions, offset
        return other


class Rotation(NamedTuple):
    """The rotation of heads, and their normalisation before it where there are weights; without cos they stay as is."""

    cos: torch.Tensor | None  # [positions, rotating dims / 2] in float32
    sin: torch.Tensor | None
    positions: torch.Tensor | None  # [B or 1, T] int32; without them they count up
    q_weight: torch.Tensor | None  # [D]; both weights or none
    k_weight: torch.Tensor | None
    eps: float
    interleaved: bool
    offset: int  # added to every position

    @classmethod
    def of(
        cls,
        rope: Rope | None,
        starts: torch.Tensor | None,
        q_weight: torch.Tensor | None,
        k_weight: torch.Tensor | None,
        eps: float,
        device: torch.device,
    ) -> Rotation:
        """Return the rotation by a Rope, whose positions restart where documents start."""
        if rope is None:
            return cls(None, None, None, None, None, float(eps), False, 0)
        return cls(
            *rope.tables(device),
            _positions(rope, starts),
            q_weight,
            k_weight,
            float(eps),
            rope.layout == "interleaved",
            rope.offset,
        )

    def last(self, rope: Rope | None) -> int | None:
        """Return how many positions the tables hold past the first.

        It is None where positions do not count up from a length.
        """
        return None if rope is None or self.positions is not None else rope.max_positions - rope.offset


ROTATION = (  # in the notation of torch.library
    "Tensor? cos, Tensor? sin, Tensor? positions, Tensor? q_weight, Tensor? k_weight, float eps, bool interleaved,"
    " int offset"
)


class Rotated(NamedTuple):
    """Heads of q and k that were rotated, and one over each one's root mean square (empty without a norm)."""

    q: torch.Tensor
    k: torch.Tensor
    q_rstd: torch.Tensor
    k_rstd: torch.Tensor


def _positions(rope: Rope, starts: torch.Tensor | None) -> torch.Tensor | None:
    """Return explicit positions as [B or 1, T] int32, or None where they simply count up."""
    if rope.positions is not None:
        return rope.positions if rope.positions.dim() == 2 else rope.positions[None]
    if starts is None:
        return None
    return torch.arange(starts.shape[1], dtype=torch.int32, device=starts.device)[None] - starts


def angles(
    dims: int, theta: float, scaling: Mapping[str, Any] | None, max_positions: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tables of cosines and sines in float32, computed in float64 and times YaRN's attention factor."""
    found, factor = frequencies(dims, theta, scaling)
    # on the CPU whatever the default device is: under torch.device("meta") nothing would ever hold their numbers
    inverse = torch.tensor(found, dtype=torch.float64, device="cpu")
    turned = torch.arange(max_positions, dtype=torch.float64, device="cpu")[:, None] * inverse[None, :]
    return (turned.cos() * factor).float(), (turned.sin() * factor).float()
