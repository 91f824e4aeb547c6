"""One of two processes in a gloo group: each operation inside DistributedDataParallel, gradients averaged over both.

python pair.py RANK STORE     # rank 0 prints a JSON object: operation → relative error against one process
"""

from __future__ import annotations

import json
import os
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import pylm_kernels as pk


class Model(torch.nn.Module):
    """A layer whose only arithmetic beside a projection is the operation under test."""

    def __init__(self, operation: str) -> None:
        super().__init__()
        self.operation = operation
        self.projection = torch.nn.Linear(16, 64)
        self.weight = torch.nn.Parameter(torch.rand(16) + 0.5)
        self.rope = pk.Rope(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.projection(x)
        rows = h.unflatten(-1, (4, 16))
        targets = torch.arange(x.shape[1]).expand(x.shape[:2]) % 16
        weights = {"q_weight": self.weight, "k_weight": self.weight}
        packed = {"rope": self.rope, "n_heads": 2, "backend": "triton", **weights}
        match self.operation:
            case "rms_norm":
                return pk.rms_norm(rows, self.weight, backend="triton").square().sum((1, 2, 3))
            case "layer_norm":
                return pk.layer_norm(rows, self.weight, self.weight, backend="triton").square().sum((1, 2, 3))
            case "qk_norm_rope":
                q, k = pk.qk_norm_rope(rows, n_kv_heads=1, **packed)
                return (q * k).sum((1, 2, 3))
            case "rope_attention":
                return pk.rope_attention(rows, n_kv_heads=1, **packed).square().sum((1, 2, 3))
            case "cross_entropy":
                return pk.cross_entropy(rows[:, :, 0] * self.weight, targets, reduction="none", backend="triton").sum(1)
            case "linear_cross_entropy":
                square = self.weight[:, None] * self.projection.weight[:16]
                return pk.linear_cross_entropy(rows[:, :, 0], square, targets, reduction="none", backend="triton").sum(
                    1
                )
        a, b = rows[:, :, 0] * self.weight, rows[:, :, 1]
        y = {"swiglu": lambda: pk.swiglu(a, b), "gelu": lambda: pk.gelu(a), "relu2": lambda: pk.relu2(a)}
        return y[self.operation]().square().sum((1, 2))


def main() -> None:
    rank, store = int(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    errors = {}
    for operation in sys.argv[3:]:
        torch.manual_seed(3)
        alone = Model(operation)
        x = torch.randn(2, 5, 16)
        both = DistributedDataParallel(Model(operation), find_unused_parameters=True)
        both.module.load_state_dict(alone.state_dict())
        both(x[rank : rank + 1]).mean().backward()
        alone(x).mean().backward()
        pairs = zip(both.module.parameters(), alone.parameters(), strict=True)
        errors[operation] = max(float((p.grad - q.grad).norm() / q.grad.norm()) for p, q in pairs if q.grad is not None)  # type: ignore[operator]
    if rank == 0:
        print(json.dumps(errors), flush=True)
    dist.barrier()  # neither leaves while the other still waits for it
    # gloo's own threads end in any order when the interpreter does: one time in some dozens that aborts a process whose
    # work is done ("terminate called without an active exception")
    os._exit(0)


if __name__ == "__main__":
    main()
