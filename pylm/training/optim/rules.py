"""What AdamW and Muon are, in numbers and names: the same whatever framework takes the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pylm.errors import CheckpointError
from pylm.wording import param

__all__ = ["AT_ONCE", "EPSILON", "QUINTICS", "STEP", "misfit", "momentum_of", "rows_of", "size_of"]

STEP = "step"  # its name among the optimizer's tensors
EPSILON = 1e-8  # of AdamW
# of the quintics a x + b x³ + c x⁵, one a round: each is nearest to one on the interval to which those before it have
# brought the singular values (Remez, the interval's end 1 % up for what bf16 rounds), so that four rounds lift all from
# 0.0026 of the norm on to between 0.71 and 1.19; five of (3.4445, -4.775, 2.0315) lift those from 0.0016 to 0.68 to 1.2
QUINTICS = (
    (8.3188, -24.1077, 17.5208),
    (4.0340, -2.9445, 0.5445),
    (3.5669, -2.6202, 0.5088),
    (2.4670, -1.7990, 0.4087),
)
AT_ONCE = 1 << 26  # elements that are orthogonalised together: more would only cost memory
MOMENTUM, FIRST_MOMENTUM, WARMUP = 0.95, 0.85, 300  # it grows over the first steps, whose gradients turn fast


def momentum_of(step: int) -> float:
    """Return Muon's momentum at a step, counted from 1."""
    return FIRST_MOMENTUM + (MOMENTUM - FIRST_MOMENTUM) * min(step / WARMUP, 1.0)


def rows_of(name: str, rows: int, width: int) -> list[int]:
    """Return rows of the matrices that are kept as one: queries, keys and values are three maps, not one."""
    return [width, (rows - width) // 2, (rows - width) // 2] if name.endswith("attention.qkv.weight") else [rows]


def size_of(rows: int, columns: int) -> float:
    """Return what an orthogonal update is multiplied by beside the rate, to be as large as one of AdamW's."""
    return 0.2 * math.sqrt(max(rows, columns))


def misfit(moments: Mapping[str, tuple[int, ...]], given: Mapping[str, Any]) -> None:
    """Fail where a state is not that of an optimizer, saying what does not fit.

    Args:
        moments: the sizes of the optimizer's, by name; the step comes on top.
        given: tensors by name.
    """
    if strange := sorted(({STEP} | moments.keys()) ^ given.keys()):
        raise CheckpointError(
            f"the optimizer's state does not fit: {strange[0]} is "
            + ("missing" if strange[0] not in given else "not of this optimizer"),
            f"resume with the optimizer that it was saved by, or start from its weights with {param('init_from')}",
        )
    for name, shape in moments.items():
        if tuple(given[name].shape) != shape:
            raise CheckpointError(f"{name} is of shape {list(given[name].shape)}, not {list(shape)}")
