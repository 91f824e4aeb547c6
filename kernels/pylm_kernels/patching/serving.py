"""The question whether an operation has more to offer here than transformers' own code."""

from __future__ import annotations

import os

import torch

from pylm_kernels import dispatch


def _kernel_runs(op: str, device: str, dtype: torch.dtype) -> bool:
    if os.environ.get("PYLM_KERNELS") == "reference":
        return True
    candidates, _ = dispatch.candidates(op, device, dtype, None)
    return candidates != ("reference",)  # what is forced and cannot serve says so when it is called


# a compiler that traces takes the answer for a constant, as it takes the answers that this one rests on
_kernel_runs._dynamo_marked_constant = True  # type: ignore[attr-defined]


def kernel_runs(op: str, x: torch.Tensor) -> bool:
    """Say whether a kernel computes this for x, or the reference where PYLM_KERNELS forces it.

    The reference is plain torch in float32: in eager bfloat16 it reads and keeps more than transformers' own lines do,
    and so a patched model leaves those in place where nothing better serves.
    """
    return _kernel_runs(op, x.device.type, x.dtype)
