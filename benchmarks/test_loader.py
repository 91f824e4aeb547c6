"""The loader against nanoGPT's get_batch and a torch DataLoader, and against the step that it feeds."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.compare import Compare, Side

TOKENS = 50_000_000
BATCHES = 200


@pytest.fixture(scope="session")
def shard() -> Path:
    import numpy as np

    path = Path(tempfile.gettempdir()) / "pylm-benchmark-loader.bin"
    if not path.exists() or path.stat().st_size != 2 * TOKENS:
        np.random.default_rng(1).integers(0, 50257, TOKENS).astype("<u2").tofile(path)
    return path


def shifted(inputs: Any, targets: Any) -> bool:
    """Targets are inputs, one later."""
    return bool((inputs[:, 1:] == targets[:, :-1]).all())


def ours(path: str, batch: int, length: int, cores: int) -> dict[str, Any]:
    from pylm.data.loader import Loader

    loader = Loader(path, length, batch, threads=cores)
    for _ in range(20):
        first = next(loader)
    start = time.perf_counter()
    for _ in range(BATCHES):
        next(loader)
    return {"seconds": (time.perf_counter() - start) / BATCHES, "result": shifted(first.inputs, first.targets)}


def nanogpt(path: str, batch: int, length: int, cores: int) -> dict[str, Any]:
    """get_batch of train.py: a memmap made anew, a stack of slices converted one by one."""
    import numpy as np
    import torch

    def get_batch() -> tuple[torch.Tensor, torch.Tensor]:
        data = np.memmap(path, dtype=np.uint16, mode="r")
        ix = torch.randint(len(data) - length, (batch,))
        x = torch.stack([torch.from_numpy((data[i : i + length]).astype(np.int64)) for i in ix])
        y = torch.stack([torch.from_numpy((data[i + 1 : i + 1 + length]).astype(np.int64)) for i in ix])
        return x, y

    for _ in range(20):
        first = get_batch()
    start = time.perf_counter()
    for _ in range(BATCHES):
        get_batch()
    return {"seconds": (time.perf_counter() - start) / BATCHES, "result": shifted(*first)}


def dataloader(path: str, batch: int, length: int, cores: int) -> dict[str, Any]:
    """A DataLoader of two workers over a map-style dataset of windows."""
    import numpy as np
    import torch

    class Windows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __init__(self) -> None:
            self.data = np.memmap(path, dtype=np.uint16, mode="r")

        def __len__(self) -> int:
            return (len(self.data) - 1) // length

        def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
            window = torch.from_numpy(self.data[i * length : (i + 1) * length + 1].astype(np.int64))
            return window[:-1], window[1:]

    batches = iter(torch.utils.data.DataLoader(Windows(), batch, shuffle=True, num_workers=2))
    for _ in range(20):
        first = next(batches)
    start = time.perf_counter()
    for _ in range(BATCHES):
        next(batches)
    return {"seconds": (time.perf_counter() - start) / BATCHES, "result": shifted(*first)}


@pytest.mark.parametrize("threads", [1, 2])
def test_batches_from_a_warm_cache(compare: Compare, shard: Path, threads: int) -> None:
    run = compare(
        f"batch of 32 × 1024, {threads} thread{'s' * (threads > 1)}",
        Side("pylm", ours),
        [Side("torch", nanogpt, label="nanoGPT's get_batch"), Side("torch", dataloader, label="DataLoader, 2 workers")],
        threads=threads,
        cores=threads,
        path=str(shard),
        batch=32,
        length=1024,
    )
    run.faster(3.0, than="nanoGPT's get_batch")
    run.faster(5.0, than="DataLoader, 2 workers")


def share_of_a_step(path: str) -> dict[str, Any]:
    """How much of a training step the loop waits for its batch: six layers, 384 wide, 8 × 256 tokens."""
    import torch

    from pylm.data.loader import Loader

    layer = torch.nn.TransformerEncoderLayer(384, 6, 1536, dropout=0, batch_first=True, norm_first=True)
    model = torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
    embedding, head = torch.nn.Embedding(50304, 384), torch.nn.Linear(384, 4096, bias=False)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(256)
    loader = Loader(path, 256, 8)
    waits, steps = [], []
    for _ in range(6):
        start = time.perf_counter()
        batch = next(loader)
        waits.append(time.perf_counter() - start)
        logits = head(model(embedding(torch.from_numpy(batch.inputs)), mask=mask, is_causal=True))
        targets = torch.from_numpy(batch.targets) % 4096
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
        steps.append(time.perf_counter() - start)
    wait = statistics.median(waits[1:])
    return {"seconds": wait, "percent": 100 * wait / statistics.median(steps[1:]), "result": True}


def test_the_loop_hardly_waits(compare: Compare, shard: Path) -> None:
    run = compare("wait for a batch in a training step", Side("pylm", share_of_a_step), rounds=3, path=str(shard))
    run.at_most(1.0, "percent", "%")
