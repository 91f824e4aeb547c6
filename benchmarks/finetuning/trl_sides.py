"""TRL's side of labels and bins: `python trl_sides.py FUNCTION ARGUMENTS OUT`, with the Python that has it."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def labels(sets: list[dict[str, Any]]) -> list[list[list[list[int]]]]:
    """What SFTTrainer makes of the examples of each set, which one process loads it for."""
    return [labels_of_set(**one) for one in sets]


def labels_of_set(tokenizer: str, rows: str, template: str | None) -> list[list[list[int]]]:
    """Ids and labels of each example."""
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    end = "<|endoftext|>"
    reader = PreTrainedTokenizerFast(
        tokenizer_file=str(Path(tokenizer) / "tokenizer.json"), bos_token=end, eos_token=end, pad_token=end
    )
    if template is not None:
        reader.chat_template = Path(template).read_text()
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(reader), num_key_value_heads=1, **size))
    with tempfile.TemporaryDirectory() as out:
        config = SFTConfig(
            output_dir=out, max_length=None, report_to="none", use_cpu=True, bf16=False,
            assistant_only_loss=template is not None,
        )  # fmt: skip
        examples = Dataset.from_list([json.loads(line) for line in Path(rows).read_text().splitlines()])
        trainer = SFTTrainer(model, args=config, train_dataset=examples, processing_class=reader)
        made: Any = trainer.train_dataset
        return [[row["input_ids"], row["labels"]] for row in made]


def bins(lengths: list[int], context: int) -> int:
    """How many sequences pack_dataset makes of examples of these lengths."""
    from datasets import Dataset
    from trl import pack_dataset

    examples = Dataset.from_dict({"input_ids": [[1] * length for length in lengths]})
    return len(pack_dataset(examples, context, "bfd"))


if __name__ == "__main__":
    _, function, arguments, out = sys.argv
    Path(out).write_text(json.dumps(globals()[function](**json.loads(arguments))))
