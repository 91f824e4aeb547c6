"""Rows, classes and settings on which both losses are proven."""

from __future__ import annotations

from typing import Any

import proof
import torch

N, V = 37, 150
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all": {"softcap": 3.0, "z_loss": 0.1, "reduction": "none"},
    "sum": {"reduction": "sum", "ignore_index": 7},
}
# what both refuse, and how
BAD: dict[str, dict[str, Any]] = {
    r"targets: shape \(36\)": {"targets": torch.zeros(N - 1, dtype=torch.int64)},
    "targets: dtype": {"targets": torch.zeros(N)},
    "targets: 150 is no class; there are 150": {"targets": torch.full((N,), V)},
    "softcap: 0": {"softcap": 0.0},
    "z_loss: -1": {"z_loss": -1.0},
    "reduction: 'avg'": {"reduction": "avg"},
}


def targets(ignore: int = -100, classes: int = V) -> torch.Tensor:
    found = torch.randint(0, classes, (N,))
    found[::5] = ignore
    return found.to(proof.DEVICE)


def on_device(given: dict[str, Any]) -> dict[str, Any]:
    return {name: x.to(proof.DEVICE) if isinstance(x, torch.Tensor) else x for name, x in given.items()}
