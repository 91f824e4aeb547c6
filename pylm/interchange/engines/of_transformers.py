"""transformers in a process of its own: fp32, no cache, eager attention."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from pylm.interchange.engines.job import Numbers, answer


def main(where: str, folder: str) -> None:
    """Load a folder and answer a job."""
    model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(where)

    def encode(texts: list[str]) -> list[list[int]]:
        return [list(each) for each in tokenizer(texts, add_special_tokens=False)["input_ids"]]

    def logits(ids: list[int]) -> Numbers:
        with torch.no_grad():
            made: Numbers = model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()
        return made

    answer(Path(folder), encode, logits, transformers.__version__)


if __name__ == "__main__":
    main(*sys.argv[1:])
