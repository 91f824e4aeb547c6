"""The shape of a model with everything derived, and how many parameters it has."""

from __future__ import annotations

from pylm.config.schema import Model
from pylm.errors import ConfigError

__all__ = ["complete", "count_parameters", "derived_d_ff"]


def derived_d_ff(mlp: str, d_model: int) -> int:
    """Return the width inside the MLP: swiglu has three matrices, so two thirds of 4 d_model cost what two cost."""
    return -(-8 * d_model // (3 * 64)) * 64 if mlp == "swiglu" else 4 * d_model


def complete(model: Model, vocab_size: int) -> Model:
    """Return the shape with what is derived filled in; the vocabulary is the tokenizer's.

    Args:
        model: a shape whose layers, heads and width are known.
        vocab_size: how many tokens the tokenizer has.
    """
    if model.n_layers is None or model.n_heads is None or model.d_model is None:
        missing = [key for key in ("n_layers", "n_heads", "d_model") if getattr(model, key) is None]
        raise ConfigError(
            f"the shape of the model is open: {', '.join(missing)} not given", "name a preset, or set them"
        )
    if model.vocab_size is not None and model.vocab_size != vocab_size:
        raise ConfigError(
            f"model.vocab_size {model.vocab_size} is not the tokenizer's, which is {vocab_size}", "leave it out"
        )
    derived = {
        "n_kv_heads": model.n_kv_heads or model.n_heads,
        "head_dim": model.head_dim or model.d_model // model.n_heads,
        "d_ff": model.d_ff or derived_d_ff(model.mlp, model.d_model),
        "vocab_size": vocab_size,
    }
    return model.model_copy(update=derived)


def count_parameters(model: Model) -> int:
    """Return how many parameters a completed shape has, without the padding of the vocabulary.

    Value embeddings are a table of the width of the values and two scalars for every second block.
    """
    n_layers, n_heads, n_kv_heads = model.n_layers, model.n_heads, model.n_kv_heads
    width, inner, vocab = model.d_model, model.d_ff, model.vocab_size
    if not (n_layers and n_heads and n_kv_heads and width and inner and vocab):
        raise ConfigError("the shape of the model is open", "complete it first")
    head = model.head_dim or width // n_heads
    heads_width, kv_width = head * n_heads, head * n_kv_heads
    bias = 1 if model.bias else 0
    attention = 2 * width * heads_width + 2 * width * kv_width
    attention += (heads_width + 2 * kv_width) * model.qkv_bias + width * model.out_bias
    matrices = 3 if model.mlp == "swiglu" else 2
    mlp = matrices * width * inner + bias * ((matrices - 1) * inner + width)
    norm = width * (1 + (bias if model.norm == "layernorm" else 0)) if model.norm_gain else 0
    block = attention + mlp + 2 * norm + (2 if model.residual_lambdas else 0)
    block += 2 * head if model.qk_norm and model.norm_gain else 0
    tables = vocab * width * (1 if model.tied else 2)
    tables += model.context_length * width if model.position == "learned" else 0
    tables += (n_layers + 1) // 2 * (vocab * kv_width + 2) if model.value_embeddings else 0
    return n_layers * block + norm * (2 if model.embed_norm else 1) + tables
