"""PEFT's side of an adapter: `python peft_sides.py BASE ADAPTER IDS OUT`, with the Python that has it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(base: str, adapter: str, ids: str, out: str) -> None:
    """Write the logits of some ids, and what is most likely after them."""
    import numpy as np
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tokens = torch.tensor(json.loads(Path(ids).read_text()))
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model: Any = PeftModel.from_pretrained(plain, adapter).eval()
    with torch.no_grad():
        logits = model(tokens).logits
        greedy = model.generate(
            input_ids=tokens[:, :8], attention_mask=torch.ones_like(tokens[:, :8]), do_sample=False, max_new_tokens=16,
            pad_token_id=0, eos_token_id=None,
        )  # fmt: skip
    np.savez(out, logits=logits.numpy(), greedy=greedy.numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
