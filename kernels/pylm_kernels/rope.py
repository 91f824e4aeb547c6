"""Rope: the angles of rotary positions, their layout and scaling, built once and shared by every layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from pylm_kernels.frequencies import frequencies, rotating


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
            head_dim: width of a head.
            theta: base of the geometric frequencies.
            layout: "half" or "interleaved".
            dims: how many leading dimensions of a head rotate (even); None for all.
            scaling: {"type": "linear" | "ntk" | "yarn" | "llama3", "factor": …, …}, keys as in Hugging Face configs.
            max_positions: rows of the tables; a longer call is an error.
            tables: (cos, sin), each [positions, dims / 2], instead of theta and scaling.
            device: where the tables are put first; other devices get a copy on first use.
        """
        dims = rotating(head_dim, dims, layout)
        self.head_dim, self.dims, self.layout = head_dim, dims, layout
        self.positions: torch.Tensor | None = None
        self.offset = 0
        if tables is None:
            cos, sin = angles(dims, theta, scaling, max_positions)
        else:
            cos, sin = (table.detach().float().contiguous() for table in tables)
            if cos.shape != sin.shape or cos.dim() != 2 or cos.shape[1] != dims // 2:
                raise ValueError(
                    f"tables: shapes {tuple(cos.shape)} and {tuple(sin.shape)} must both be (positions, {dims // 2})"
                )
        self.max_positions = cos.shape[0]
        where = torch.device(device) if device is not None else cos.device
        self._tables = {where: (cos.to(where), sin.to(where))}

    def tables(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """(cos, sin) in float32 on this device, each [max_positions, dims / 2]."""
        if device not in self._tables:
            cos, sin = next(iter(self._tables.values()))
            self._tables[device] = (cos.to(device), sin.to(device))
        return self._tables[device]

    def at(self, positions: torch.Tensor | None = None, offset: int = 0) -> Rope:
        """The same angles for other positions: explicit ones ([T] or [B, T]), or those from `offset` on."""
        other = copy.copy(self)
        if positions is not None:
            if positions.dim() not in (1, 2) or positions.is_floating_point():
                raise ValueError(f"positions: must be integers of shape (T,) or (B, T), not {tuple(positions.shape)}")
            # waits for the device, once for all layers; compiled code cannot, and there a position outside gives zeros
            if not torch.compiler.is_compiling() and positions.numel():
                low, high = int(positions.min()), int(positions.max())
                if low < 0 or high + offset >= self.max_positions:
                    raise ValueError(
                        f"positions: {low} to {high} (offset {offset}) leave the table of {self.max_positions};"
                        " build the Rope with a larger max_positions"
                    )
            positions = positions.to(torch.int32).contiguous()
        if offset < 0:
            raise ValueError(f"offset: {offset} is negative")
        other.positions, other.offset = positions, offset
        return other


def angles(
    dims: int, theta: float, scaling: Mapping[str, Any] | None, max_positions: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tables of cosines and sines in float32, computed in float64; YaRN's attention factor is multiplied in."""
    found, factor = frequencies(dims, theta, scaling)
    inverse = torch.tensor(found, dtype=torch.float64)
    turned = torch.arange(max_positions, dtype=torch.float64)[:, None] * inverse[None, :]
    return (turned.cos() * factor).float(), (turned.sin() * factor).float()
