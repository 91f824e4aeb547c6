"""The work of `patch` and `unpatch`: they look a model over, then exchange the classes of its modules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers.models.gpt2 import modeling_gpt2 as gpt2
from transformers.models.llama import modeling_llama as llama
from transformers.models.qwen3 import modeling_qwen3 as qwen3

from pylm_kernels import dispatch
from pylm_kernels.operation import Refused
from pylm_kernels.patching.attention import NAME
from pylm_kernels.patching.language_models import LANGUAGE_MODELS, is_plain_head
from pylm_kernels.patching.layers import ACTIVATIONS, NORMS, SILU
from pylm_kernels.patching.serving import kernel_runs

BODIES = (llama.LlamaModel, qwen3.Qwen3Model, gpt2.GPT2Model)
HEADS = (
    *LANGUAGE_MODELS,
    llama.LlamaForSequenceClassification, llama.LlamaForTokenClassification, llama.LlamaForQuestionAnswering,
    qwen3.Qwen3ForSequenceClassification, qwen3.Qwen3ForTokenClassification, qwen3.Qwen3ForQuestionAnswering,
    gpt2.GPT2ForSequenceClassification, gpt2.GPT2ForTokenClassification, gpt2.GPT2ForQuestionAnswering,
    gpt2.GPT2DoubleHeadsModel,
)  # fmt: skip
ATTENTION = (llama.LlamaAttention, qwen3.Qwen3Attention, gpt2.GPT2Attention)
ORIGINALS: dict[type[nn.Module], type[nn.Module]] = {
    **{fused: original for original, (_, fused) in (NORMS | ACTIVATIONS).items()},
    **{fused: original for original, fused in LANGUAGE_MODELS.items()},
}


def patch(model: nn.Module, norms: bool, activations: bool, attention: bool, loss: bool) -> dispatch.Table:
    """Exchange the classes that are asked for, and return the table of what was put in.

    Nothing is exchanged unless all can be.
    """
    body = _body(model)
    changes = _changes(model, body, norms, activations, loss)
    _check(model, [module for module, _, _ in changes], attention, loss)
    unpatch(model)
    for module, _, fused in changes:
        module.__class__ = fused
    counts = Counter((op, _original(fused).__name__) for _, op, fused in changes)
    if attention:
        body.config._attn_implementation = NAME
        counts["rope_attention", "attention"] = sum(isinstance(module, ATTENTION) for module in body.modules())
    return _table(counts, next(body.parameters()))


def unpatch(model: nn.Module) -> None:
    """Exchange the classes back."""
    fused = tuple(ORIGINALS)
    for name, module in model.named_modules():
        if isinstance(module, fused) and type(module) not in ORIGINALS:
            raise Refused(f"unpatch: {name or 'the model'} has become a {type(module).__name__} since; undo that first")
    for module in model.modules():
        module.__class__ = ORIGINALS.get(type(module), type(module))
        config: Any = getattr(module, "config", None)
        if getattr(config, "_attn_implementation", None) == NAME:
            config._attn_implementation = "sdpa"  # the only one that patch replaces


def _original(kind: type[nn.Module]) -> type[nn.Module]:
    return ORIGINALS.get(kind, kind)


def _body(model: nn.Module) -> Any:
    """Return the decoder inside the model, or raise a sentence about what was given instead."""
    kind = _original(type(model))
    if kind in BODIES:
        return model
    if kind in HEADS and type(model.base_model) in BODIES:
        return model.base_model
    name = kind.__name__
    if isinstance(model, (*BODIES, *HEADS)):
        inner = "" if isinstance(model, BODIES) else f"; patch(model.{model.base_model_prefix}) takes the body alone"
        raise Refused(f"patch: {name} is a class of its own, whose forward is not known here{inner}")
    for inner in ("_orig_mod", "module"):  # torch.compile; DataParallel, DistributedDataParallel
        if isinstance(getattr(model, inner, None), nn.Module):
            raise Refused(f"patch: {name} wraps the model; patch(model.{inner}) takes what is inside")
    if hasattr(model, "get_base_model"):
        raise Refused(f"patch: {name} wraps the model; patch(model.get_base_model()) takes what is inside")
    known = ", ".join(sorted(one.__name__ for one in (*BODIES, *HEADS)))
    raise Refused(f"patch: {name} is not known; these classes of transformers are: {known}")


def _changes(
    model: nn.Module, body: nn.Module, norms: bool, activations: bool, loss: bool
) -> list[tuple[nn.Module, str, type[nn.Module]]]:
    """Return (module, operation, its new class) for everything that is asked for and here."""
    return [*_layers(body, norms, activations), *(_language_model(model) if loss else ())]


def _layers(body: nn.Module, norms: bool, activations: bool) -> Iterator[tuple[nn.Module, str, type[nn.Module]]]:
    wanted = (NORMS if norms else {}) | (ACTIVATIONS if activations else {})
    for module in body.modules():
        op, fused = wanted.get(_original(type(module)), ("", nn.Module))
        if op and (op != "swiglu" or type(module.act_fn) in SILU):
            yield module, op, fused


def _language_model(model: nn.Module) -> Iterator[tuple[nn.Module, str, type[nn.Module]]]:
    if fused := LANGUAGE_MODELS.get(_original(type(model))):
        yield model, "linear_cross_entropy", fused


def _check(model: Any, modules: list[nn.Module], attention: bool, loss: bool) -> None:
    """Raise Refused unless what is asked for can be put in."""
    for module in modules:
        if "forward" in vars(module):
            name = type(module).__name__
            raise Refused(
                f"patch: a {name} has a forward of its own, set by another patch or a hook; patch before that"
            )
    found = model.config._attn_implementation
    if attention and found not in ("sdpa", NAME):
        raise Refused(
            f"patch: attention is {found!r}, and only 'sdpa' is replaced; load the model with"
            " attn_implementation='sdpa', or leave its attention as it is with patch(model, attention=False)"
        )
    if loss and _original(type(model)) in LANGUAGE_MODELS and not is_plain_head(model.lm_head):
        raise Refused(
            "patch: lm_head has a bias, an adapter or a hook, and the loss would pass it by;"
            " leave the loss as it is with patch(model, loss=False)"
        )


def _table(counts: Counter[tuple[str, str]], parameter: torch.Tensor) -> dispatch.Table:
    device, dtype = parameter.device.type, str(parameter.dtype).removeprefix("torch.")
    table = dispatch.Table()
    for (op, name), count in counts.items():
        names, refusal = dispatch.candidates(op, device, parameter.dtype, None)
        why = f"{count} × {name}"
        if not kernel_runs(op, parameter):
            why += "; no kernel serves here, transformers' own code runs"
        table.append(dispatch.Choice(op, device, dtype, names[0] if names else "none", refusal or why))
    return table
