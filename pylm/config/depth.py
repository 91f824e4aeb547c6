"""One dial: from the number of blocks, everything else that a run needs; and the depth that a machine has time for.

The shape is one that other programs load (Qwen3's). Width grows with depth, so parameters grow with its cube:

    depth      2      3      4      6      8     12     16     24
    width    128    192    256    384    512    768   1024   1536
    blocks  0.4M   1.3M   3.1M  10.6M  25.2M  84.9M   201M   679M     (without embeddings)

What is derived is in pylm.config.recipe; here it is put together, and yields to what was given.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pylm.config import recipe
from pylm.config.cascade import DEFAULT, Resolved
from pylm.config.units import format_count, format_duration
from pylm.wording import param

__all__ = ["Choice", "derive", "described", "for_machine", "still_open"]

TOKENS_PER_PARAMETER = 20  # counted over the parameters of the blocks: Hoffmann et al. 2022
EPOCHS = 4  # text read so often is nearly as good as new (Muennighoff et al. 2023)
TOKENS_IN_TEXT = 2  # for each parameter of the blocks: a larger model learns less text by heart
LENGTHS = ("train.max_steps", "train.max_epochs", "train.max_tokens", "train.max_time")


class Choice(NamedTuple):
    """A depth, what it derives, and why it was chosen."""

    depth: int
    values: dict[str, Any]
    why: str


def derive(depth: int, text: int | None = None, optimizer: str = "muon") -> dict[str, Any]:
    """Return everything that follows from a depth, by dotted key; each may be overridden.

    Args:
        depth: blocks.
        text: how many tokens there are to train on, where that is known: the run is no longer than four epochs.
        optimizer: that takes the steps.
    """
    wanted = TOKENS_PER_PARAMETER * recipe.blocks(depth)
    tokens = wanted if text is None else min(wanted, EPOCHS * text)
    return {**_model(depth, tokens, optimizer, tokens < wanted), "train.max_tokens": max(tokens, 1)}


def for_machine(seconds: float, flops: float, text: int, vocab_size: int, optimizer: str = "muon") -> Choice:
    """Return the model that comes furthest in a time here, trained for all of it, or until the text is used up.

    Args:
        seconds: that the run may take.
        flops: of a large product here, in what is computed in.
        text: how many tokens there are to train on.
        vocab_size: of the tokenizer; a small model spends most of its time on it.
        optimizer: that takes the steps.
    """
    work, most = seconds * flops, EPOCHS * text
    depth = recipe.depth_for(work)
    while depth > recipe.LEAST and recipe.blocks(depth) * TOKENS_IN_TEXT > text:
        depth -= 1
    expected = recipe.expected_tokens(work, depth, vocab_size)
    model = _model(depth, min(expected, most), optimizer, most < expected)
    values = {**model, "train.max_tokens": max(most, 1), "train.max_time": seconds}
    size, words = f"{depth} layers of {recipe.width(depth)}", f"{format_count(text)} tokens of text"
    if recipe.blocks(depth + 1) * TOKENS_IN_TEXT > text:
        enough = "more than" if recipe.blocks(depth) * TOKENS_IN_TEXT > text else "what"
        why = f"{size}, {enough} {words} train well: more text, or {param('depth', depth + 2)}, gives a larger model"
    else:
        time = format_duration(seconds)
        why = f"{size}, what comes furthest here in {time}: a longer {param('max_time')} gives a larger model"
    return Choice(depth, values, why)


def described(values: dict[str, Any]) -> str:
    """Return derived values by their names, large numbers in three figures."""
    shown = {key.partition(".")[2]: value for key, value in values.items()}
    return ", ".join(f"{key} {_shown(value)}" for key, value in shown.items())


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return format_count(value) if isinstance(value, int) and value >= 1e5 else str(value)


def still_open(values: dict[str, Any], resolved: Resolved) -> dict[str, Any]:
    """Return those of derived values that nobody gave, and that agree with what was given."""

    def given(key: str) -> bool:
        return resolved.origin(key) != DEFAULT

    open_values = {key: value for key, value in values.items() if not given(key)}
    if any(given(key) for key in LENGTHS):
        open_values.pop("train.max_tokens", None)
        open_values.pop("train.max_time", None)
    if given("train.learning_rate"):
        open_values.pop("train.embed_lr", None)  # one rate was asked for
        open_values.pop("train.head_lr", None)
    if resolved.config.train.schedule == "linear":
        open_values.pop("train.min_lr_ratio", None)  # which goes down to zero
    if given("train.grad_accum_steps") and resolved.config.train.micro_batch != "auto":
        open_values.pop("train.batch_tokens", None)
    elif "train.batch_tokens" in open_values:
        context = resolved.config.model.context_length if given("model.context_length") else 1
        each = context * (resolved.config.train.grad_accum_steps or 1)
        each *= 1 if resolved.config.train.micro_batch == "auto" else resolved.config.train.micro_batch
        if "model.context_length" in open_values:
            each *= int(open_values["model.context_length"])
        open_values["train.batch_tokens"] = max(round(open_values["train.batch_tokens"] / each), 1) * each
    return open_values


def _model(depth: int, tokens: int, optimizer: str, short_of_text: bool) -> dict[str, Any]:
    """Return the shape of a model, and how it is trained on so many tokens."""
    width = recipe.width(depth)
    return {
        "model.n_layers": depth,
        "model.n_heads": width // 128 if width > 1024 and width % 128 == 0 else depth,
        "model.d_model": width,
        "model.context_length": recipe.context_length(depth),
        **recipe.ways(depth, optimizer),
        "train.batch_tokens": recipe.batch_tokens(tokens, depth, short_of_text=short_of_text),
    }
