"""Small runs in every layout that other programs have, with weights large enough to be told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.generation.small import small_model, small_tokenizer, write_run

GPT2 = {"norm": "layernorm", "mlp": "gelu", "position": "learned", "bias": True, "n_kv_heads": 4}
LAYOUTS: dict[str, dict[str, Any]] = {
    "gpt2": GPT2,
    "llama": {"rope_theta": 5000.0},
    "llama, untied, wide heads": {"tied": False, "head_dim": 20},
    "llama, linear": {"rope_scaling": {"type": "linear", "factor": 2.0}},
    "llama, llama3": {"rope_scaling": {"type": "llama3", "factor": 8.0, "original_max_positions": 16.0}},
    "llama, yarn": {"rope_scaling": {"type": "yarn", "factor": 3.0, "original_max_positions": 16.0}},
    "qwen3": {"qk_norm": True, "rope_theta": 77.0},
    "qwen2": {"attention_bias": "qkv", "tied": False},
    "mistral": {"window": 7},
    "nanochat": {"mlp": "relu2", "norm_gain": False, "embed_norm": True, "qk_norm": True, "tied": False,
                 "logit_softcap": 15.0},
}  # fmt: skip


def small_run(name: str = "runs/a", layout: str = "llama", seed: int = 1, chat: bool = False, **shape: Any) -> str:
    """A run of one checkpoint, of a layout by its name above."""
    tokenizer = small_tokenizer(*(("<|im_start|>", "<|im_end|>") if chat else ()))
    if chat:
        from pylm.tokenizer.chat import CHATML

        tokenizer.chat_template = CHATML
    fields = {"n_layers": 2, **LAYOUTS[layout], **shape}
    write_run(Path(name), small_model(tokenizer.vocab_size, seed, **fields), tokenizer)
    return name
