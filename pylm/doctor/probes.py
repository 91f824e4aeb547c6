"""What `pylm doctor` asks of torch, Triton and MLX, each in a process of its own: a crash there is an answer here.

`python -m pylm.doctor.probes torch` prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def probe_torch() -> dict[str, Any]:
    """Say what torch is built for and which devices it finds."""
    import torch

    found: dict[str, Any] = {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "available": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "threads": torch.get_num_threads(),
        "devices": [],
    }
    for index in range(torch.cuda.device_count() if found["available"] else 0):
        properties = torch.cuda.get_device_properties(index)
        ones = torch.ones(256, 256, device=f"cuda:{index}")
        found["devices"].append(
            {
                "name": properties.name,
                "memory": properties.total_memory,
                "bf16": properties.major >= 8,
                "works": bool((ones @ ones)[0, 0].item() == 256),
            }
        )
    return found


def probe_triton() -> dict[str, Any]:
    """Compile and run one small kernel: on the GPU, or in Triton's interpreter where there is none."""
    import os

    import torch

    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        os.environ["TRITON_INTERPRET"] = "1"
    import triton
    import triton.language as tl

    globals()["tl"] = tl  # older Tritons look for a kernel's names in its module, not in what surrounds it

    def kernel(values, count, block: tl.constexpr):  # type: ignore[no-untyped-def]
        at = tl.program_id(0) * block + tl.arange(0, block)
        tl.store(values + at, tl.load(values + at, mask=at < count) + 1, mask=at < count)

    add_one: Any = triton.jit(kernel)
    device = "cuda" if on_gpu else "cpu"
    values = torch.arange(100, dtype=torch.float32, device=device)
    add_one[(2,)](values, 100, block=64)
    works = bool(torch.equal(values.cpu(), torch.arange(1, 101, dtype=torch.float32)))
    return {"version": triton.__version__, "works": works, "gpu": on_gpu}


def probe_triton_import() -> dict[str, Any]:
    """Load Triton, for a machine that has no GPU to run a kernel on: torch is not loaded a second time."""
    import triton

    return {"version": triton.__version__, "works": True, "gpu": False}


def probe_mlx() -> dict[str, Any]:
    """Multiply two matrices where MLX would, and say where that was."""
    from importlib.metadata import version

    import mlx.core as mx

    ones = mx.ones((64, 64))
    product = ones @ ones
    mx.eval(product)
    return {
        "version": version("mlx"),
        "metal": bool(mx.metal.is_available()),
        "works": bool(product[0, 0].item() == 64),
    }


PROBES = {"torch": probe_torch, "triton": probe_triton, "triton-import": probe_triton_import, "mlx": probe_mlx}

if __name__ == "__main__":
    print(json.dumps(PROBES[sys.argv[1]]()))
