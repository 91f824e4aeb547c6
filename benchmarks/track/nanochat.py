"""nanochat's tokenizer, model, optimizer and schedules, imported from its checkout, under the clock of track 0.

Its scripts cannot stop by time, and read folders of parquet; so the loop of scripts/base_train.py is driven from here,
with the sizes that the shape gives and all rates as that script scales them. Two things are to its favour: documents
are drawn in windows from anywhere (its own loader keeps the first window of a long document and discards the rest), and
`Clock.iterations` renews the number of steps that its schedules are laid over.
"""

from __future__ import annotations

import math
import os
from typing import Any

DOCUMENT = 10_000  # characters of one that its tokenizer is trained on
REFERENCE_DEPTH, REFERENCE_BATCH, TOKENS_A_PARAMETER = 12, 2**19, 12  # what its rates and decay are tuned at
WARMUP, WARMDOWN, FLOOR = 40, 0.65, 0.05
CAUTIOUS_DECAY = 0.28
RATES = {"unembedding_lr": 0.008, "embedding_lr": 0.3, "scalar_lr": 0.5, "matrix_lr": 0.02}


def side(folder: str, train: str, held: str, seconds: float, shape: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train in `seconds` and score; the clock runs from the text to the last step."""
    os.environ["NANOCHAT_DTYPE"] = shape["dtype"]
    import torch

    from benchmarks.track.clock import Clock
    from benchmarks.track.material import Pool, answer, bits_per_byte, checkout, documents, windows

    checkout(folder)
    if not shape["compile"]:
        torch.compiler.set_stance("force_eager")
    from nanochat.gpt import GPT, GPTConfig
    from nanochat.loss_eval import evaluate_bpb
    from nanochat.tokenizer import RustBPETokenizer

    torch.manual_seed(seed)
    clock = Clock(seconds)
    texts = documents(train)
    tokenizer = RustBPETokenizer.train_from_iterator((text[:DOCUMENT] for text in texts), shape["vocabulary"])
    bos, threads, size = tokenizer.get_bos_token_id(), torch.get_num_threads(), (shape["rows"], shape["context"])
    pool = Pool(texts, lambda some: tokenizer.encode(some, prepend=bos, num_threads=threads), seed)
    with torch.device("meta"):
        model, reference = (
            GPT(GPTConfig(**sizes(depth, shape, tokenizer.get_vocab_size())))
            for depth in (shape["depth"], REFERENCE_DEPTH)
        )
    model.to_empty(device="cpu")
    model.init_weights()
    optimizer, decay = optimizer_of(model, reference, shape)
    step = torch.compile(model, dynamic=False)
    while not clock.over():
        scale, momentum, share = schedules(clock.steps, clock.iterations())
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * scale
            if group["kind"] == "muon":
                group["momentum"], group["weight_decay"] = momentum, decay * share
        step(*pool.rows(*size)).backward()
        optimizer.step()
        model.zero_grad(set_to_none=True)
        clock.step()
    spent = clock.spent()

    torch.compiler.set_stance("force_eager")
    model.eval()
    held_out = documents(held)

    def nats(x: Any, y: Any) -> Any:
        return model(x, y, loss_reduction="none").view(y.shape).float()

    def batches() -> Any:
        return windows(tokenizer.encode(held_out, num_threads=threads), bos, True, shape["context"])

    check(evaluate_bpb, model, next(batches()), nats, tokenizer)
    return answer(spent, clock.steps, size, model, bits_per_byte(batches(), nats, held_out))


def sizes(depth: int, shape: dict[str, Any], vocabulary: int) -> dict[str, Any]:
    """The fields of its configuration that follow from a depth: 64 wide a layer, in whole heads."""
    heads = -(-depth * 64 // shape["head_dim"])
    counts = {"n_layer": depth, "n_head": heads, "n_kv_head": heads, "n_embd": heads * shape["head_dim"]}
    return {"sequence_len": shape["context"], "vocab_size": vocabulary, "window_pattern": "L", **counts}


def optimizer_of(model: Any, reference: Any, shape: dict[str, Any]) -> tuple[Any, float]:
    """Its optimizer with the rates of its script for this batch, and Muon's decay for this model."""

    def horizon(model: Any) -> float:
        counts = model.num_scaling_params()
        return TOKENS_A_PARAMETER * float(counts["transformer_matrices"] + counts["lm_head"])

    smaller = math.sqrt(shape["rows"] * shape["context"] / REFERENCE_BATCH)
    decay = CAUTIOUS_DECAY * smaller * horizon(reference) / horizon(model)
    rates = {name: rate * shape["rate"] * smaller for name, rate in RATES.items()}
    return model.setup_optimizer(**rates, weight_decay=decay), decay


def schedules(step: int, steps: int) -> tuple[float, float, float]:
    """The factor of the rates, Muon's momentum, and the factor of its decay."""
    down = round(WARMDOWN * steps)
    left = (steps - step) / max(down, 1)
    rate = (step + 1) / WARMUP if step < WARMUP else 1.0 if left >= 1 else left + (1 - left) * FLOOR
    momentum = 0.85 + 0.12 * step / 400 if step < 400 else 0.97 if left >= 1 else 0.97 * left + 0.90 * (1 - left)
    return rate, momentum, 0.5 * (1 + math.cos(math.pi * step / steps))


def check(evaluate_bpb: Any, model: Any, batch: Any, nats: Any, tokenizer: Any) -> None:
    """Its own evaluation of a batch says what ours says."""
    import torch

    x, y, _ = batch
    special = {tokenizer.encode_special(name) for name in tokenizer.get_special_tokens()}
    ids = range(tokenizer.get_vocab_size())
    lengths = torch.tensor([0 if i in special else len(tokenizer.decode_single_token_bytes(i)) for i in ids])
    with torch.no_grad():
        sizes = lengths[y]
        ours = float(nats(x, y)[sizes > 0].double().sum()) / math.log(2) / int(sizes.sum())
        theirs = evaluate_bpb(model, [(x, y)], 1, lengths)
    assert abs(ours - theirs) < 1e-4 * theirs, f"nanochat's own evaluation says {theirs}, ours {ours}"
