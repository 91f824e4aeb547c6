"""A training step of a small Llama of transformers on a CPU: with `pylm_kernels.patch`, as it comes, and compiled.

All sides train the same model from the same weights on the same rows; what they agree on is the loss of the last step.
With --full both are compared compiled too.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import pytest

from benchmarks.compare import Compare, Side

LAYERS, WIDTH, HIDDEN, HEADS, KV_HEADS, CONTEXT, ROWS = 6, 384, 1024, 6, 2, 256, 8
STEPS, WARM = 6, 2


def trained(vocabulary: int, precision: str, cores: int, patched: bool, compiled: bool) -> dict[str, Any]:
    """The median step after the first ones, and the last loss."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(cores)
    torch.manual_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=HIDDEN, num_hidden_layers=LAYERS,
            num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, max_position_embeddings=CONTEXT,
        )
    ).train()  # fmt: skip
    model = model.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    if patched:
        import pylm_kernels
        from pylm import native_kernels

        native_kernels.register()
        pylm_kernels.patch(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    call: Any = torch.compile(model) if compiled else model
    seconds, loss = [], None
    for _ in range(STEPS):
        ids = (vocabulary * torch.rand(ROWS, CONTEXT) ** 3).long()
        started = time.perf_counter()
        loss = call(ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return {"seconds": statistics.median(seconds[WARM:]), "result": float(loss.detach())}


def ours(**given: Any) -> dict[str, Any]:
    return trained(**given, patched=True, compiled=False)


def eager(**given: Any) -> dict[str, Any]:
    return trained(**given, patched=False, compiled=False)


def ours_compiled(**given: Any) -> dict[str, Any]:
    return trained(**given, patched=True, compiled=True)


def compiled(**given: Any) -> dict[str, Any]:
    return trained(**given, patched=False, compiled=True)


def near(mine: float, peer: float) -> bool:
    """The losses of the same six steps, rounded elsewhere."""
    return abs(mine - peer) < 0.05


@pytest.mark.parametrize("vocabulary", [4096, pytest.param(32000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_step(compare: Compare, vocabulary: int, precision: str, pytestconfig: pytest.Config) -> None:
    # the first core is not left out: these are the threads that a training takes
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    peers = [Side("transformers", eager, label="transformers, eager")]
    if pytestconfig.getoption("--full"):  # each round compiles anew
        peers.append(Side("transformers", compiled, label="transformers, torch.compile"))
        peers.append(Side("pylm", ours_compiled, label="patch, torch.compile"))
    run = compare(
        f"Llama of transformers, {precision}, V {vocabulary:,}, a step",
        Side("pylm", ours, label="patch"),
        peers,
        rounds=3,
        threads=cores,
        agree=near,
        vocabulary=vocabulary,
        precision=precision,
        cores=cores,
    )
    run.faster(1.0, than=peers[0].name)
    for peer in peers[1:]:
        run.faster(None, than=peer.name)
