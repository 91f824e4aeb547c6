"""Dropout in torch, by the masks that every backend draws."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pylm.model.masks import GAMMA, LANES, MULTIPLIERS, mixed, threshold

__all__ = ["dropped", "keys_on", "words_on"]


def dropped(x: torch.Tensor, key: torch.Tensor, share: float) -> torch.Tensor:
    """Return a tensor with a share of its elements zero and the others enlarged to make up for it.

    Args:
        x: of any shape.
        key: a word of `keys_on`.
        share: of the elements that are dropped, below 1.
    """
    least, scale = threshold(share)
    count = x.numel()
    words = torch.arange(1, -(-count // LANES) + 1, device=x.device) * _signed(GAMMA) + key
    drawn = mixed(words, (_signed(MULTIPLIERS[0]), _signed(MULTIPLIERS[1])), _shifted)
    kept = (drawn.view(torch.int16)[:count] >= least).view(x.shape)
    return torch.where(kept, x * scale, 0.0)


def keys_on(keys: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return keys as a tensor, two in a row, as a block has two. The first, of the embedding, stands there twice."""
    return words_on((keys[0], *keys), device).view(-1, 2)


def words_on(keys: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return keys as a tensor, one after the other."""
    return torch.tensor([_signed(key) for key in keys]).to(device)


def _shifted(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Return words shifted right. Torch has no unsigned words to shift, so what moves in is masked out."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
