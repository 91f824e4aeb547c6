"""README.md of what goes out: what the model is, how others load it, what was compared. It claims no licence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pylm.config.shape import count_parameters
from pylm.durable import write_text

if TYPE_CHECKING:
    from pylm.interchange.portable import Portable

__all__ = ["write"]

LIBRARIES = {"hf": "transformers", "nanochat": "transformers", "mlx": "mlx", "torch": "pytorch", "gguf": "gguf"}
NAMES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F64": "fp64"}
TRANSFORMERS = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```"""
LOADED = {
    "gguf": """```
llama-cli -m model.gguf -p "Once"
ollama create mine -f Modelfile && ollama run mine
```""",
    "torch": """```python
checkpoint = torch.load("ckpt.pt", weights_only=True)  # model, model_args, iter_num, best_val_loss
model = GPT(GPTConfig(**checkpoint["model_args"]))  # of nanoGPT's model.py
model.load_state_dict(checkpoint["model"])
```

It was trained with GELU in its tanh form, GPT-2's; nanoGPT computes the exact one, whose logits differ a little.
`nn.GELU(approximate="tanh")` in its class is what the model was trained with.""",
    "hf": TRANSFORMERS,
    "nanochat": TRANSFORMERS,
    "mlx": """```python
from mlx_lm import generate, load

model, tokenizer = load("path/to/this/folder")
print(generate(model, tokenizer, prompt="Once"))
```""",
}


def write(folder: Path, model: Portable, to: str, layout: str, dtype: str, notes: Sequence[str] = ()) -> None:
    """Write the card of a folder."""
    write_text(folder / "README.md", "\n".join(_lines(model, to, layout, dtype, notes)) + "\n")


def _lines(model: Portable, to: str, layout: str, dtype: str, notes: Sequence[str]) -> Iterator[str]:
    shape, tokenizer = model.shape, model.tokenizer
    yield from ("---", f"library_name: {LIBRARIES[to]}", "pipeline_tag: text-generation")
    yield from ("tags:", "- pylm", "---", "")
    yield from ("A language model that was trained with pylm.", "")
    yield from ("| | |", "|---|---|")
    yield f"| layout | {layout} |"
    yield f"| parameters | {count_parameters(shape):,} |"
    heads = f"{shape.n_heads} ({shape.n_kv_heads})"
    yield f"| layers, heads (of keys), width | {shape.n_layers}, {heads}, {shape.d_model} |"
    yield f"| context | {shape.context_length:,} tokens |"
    yield f"| vocabulary | {shape.vocab_size:,} |"
    yield f"| weights | {NAMES.get(dtype, dtype)} |"
    if tokenizer is not None:
        yield f"| tokenizer | {tokenizer.identity} |"
    yield from (f"| {what} | {value} |" for what, value in _trained(model))
    yield from ("", LOADED[to], "")
    yield from (line for note in notes for line in ((note,) if note.startswith("- ") else (note, "")))
    yield ""
    yield "No licence is stated here: whoever publishes the model states it."


def _trained(model: Portable) -> Iterator[tuple[str, str]]:
    """Yield what the checkpoint says of its training."""
    if step := model.about.get("step"):
        yield "steps", f"{step:,}"
    progress = model.about.get("progress", {})
    if tokens := progress.get("tokens"):
        yield "tokens seen", f"{tokens:,}"
    if (loss := progress.get("best_loss")) is not None and progress.get("best_step") == step:
        yield "validation loss", f"{loss:.4f} nats a token"
