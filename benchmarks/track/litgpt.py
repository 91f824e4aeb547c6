"""litgpt's Llama, loss and schedule with the settings of `litgpt pretrain`, under the clock of track 0.

Its pretrain loop reads litdata's folders and a tokenizer from the Hub. Here it gets tokens that are learned from the
text, and a warmup of at most a tenth of the steps: its own 2,000 would be the whole run.
"""

from __future__ import annotations

from typing import Any

BETAS, DECAY, CLIP, LEAST, WARMUP = (0.9, 0.95), 0.1, 1.0, 0.1, 2000  # config_hub/pretrain/tinyllama.yaml


def side(folder: str, train: str, held: str, seconds: float, shape: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train in `seconds` and score; the clock runs from the text to the last step."""
    import contextlib

    import torch
    from litgpt.config import Config  # type: ignore[import-not-found]
    from litgpt.model import GPT  # type: ignore[import-not-found]
    from litgpt.pretrain import get_lr  # type: ignore[import-not-found]
    from litgpt.utils import chunked_cross_entropy  # type: ignore[import-not-found]

    from benchmarks.track.clock import Clock
    from benchmarks.track.material import answer, bits_per_byte, documents, windows
    from benchmarks.track.nanogpt import tokens

    torch.manual_seed(seed)
    clock = Clock(seconds)
    texts, held_out = documents(train), documents(held)
    pool, encode, before, separates, size = tokens(texts, held_out, shape, seed)
    heads = {"n_head": shape["heads"], "n_query_groups": shape["heads"], "n_embd": shape["width"]}
    sizes = {"n_layer": shape["layers"], "intermediate_size": 8 * shape["width"] // 3, "block_size": shape["context"]}
    model = GPT(Config.from_name("tiny-llama-1.1b", padded_vocab_size=size, **heads, **sizes))
    model.apply(model._init_weights)
    if shape["dtype"] == "bfloat16":
        model = model.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=shape["rate"], betas=BETAS, weight_decay=DECAY, fused=True)
    step = torch.compile(model) if shape["compile"] else model
    context = torch.autocast("cpu", torch.bfloat16) if shape["dtype"] == "autocast" else contextlib.nullcontext()
    while not clock.over():
        steps = clock.iterations()
        warmup = min(WARMUP, steps // 10 + 1)
        for group in optimizer.param_groups:
            group["lr"] = get_lr(shape["rate"], clock.steps + 1, warmup, steps + 1, LEAST * shape["rate"])
        x, y = pool.rows(shape["rows"], shape["context"])
        with context:
            loss = chunked_cross_entropy(step(x), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        clock.step()
    spent = clock.spent()

    model.eval()

    def nats(x: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(x).float().transpose(1, 2), y, reduction="none")

    def batches() -> Any:
        return windows(encode(held_out), before, separates, shape["context"])

    x, y, _ = next(batches())
    with torch.no_grad():
        ours, theirs = float(nats(x, y).mean()), float(chunked_cross_entropy(model(x), y))
    assert abs(ours - theirs) < 5e-3 * theirs, f"litgpt's own loss of a batch is {theirs}, ours {ours}"
    size_of_step = (shape["rows"], shape["context"])
    return answer(spent, clock.steps, size_of_step, model, bits_per_byte(batches(), nats, held_out))
