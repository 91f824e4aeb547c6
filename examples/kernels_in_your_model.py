"""Train a model of transformers with pylm's kernels: one line puts them in, one takes them out.

    python examples/kernels_in_your_model.py

A small Llama learns to count. Load your own with AutoModelForCausalLM.from_pretrained(...) instead; the rest stays.
"""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import pylm_kernels

STEPS, ROWS, TIME, VOCABULARY = 30, 8, 32, 64


def counting(rows: int) -> torch.Tensor:
    """Rows that count upwards from a number drawn at random, around at the end of the vocabulary."""
    return (torch.randint(VOCABULARY, (rows, 1)) + torch.arange(TIME)) % VOCABULARY


def main() -> None:
    """Train with the kernels, then write without them."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config).train()
    try:
        from pylm import native_kernels  # on a CPU the kernels are pylm's; on a GPU there is nothing to register

        native_kernels.register()
    except ImportError:
        pass

    print(pylm_kernels.patch(model))  # the one line; what it prints says which backend runs each operation here

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        ids = counting(ROWS)
        loss = model(ids, labels=ids).loss  # no logits are stored
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 10 == 0 or step == STEPS - 1:
            print(f"step {step:2}: loss {loss.item():.3f}")

    pylm_kernels.unpatch(model)
    written = model.eval().generate(counting(1)[:, :8], max_new_tokens=8, do_sample=False)
    print("counts on:", *written[0].tolist())


if __name__ == "__main__":
    main()
