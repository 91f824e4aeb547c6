"""transformers' language models with a loss that stores no logits."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions, CausalLMOutputWithPast
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM
from transformers.utils.generic import can_return_tuple

from pylm_kernels import linear_cross_entropy
from pylm_kernels.patching.attention import NAME
from pylm_kernels.patching.serving import kernel_runs

IGNORED = -100


def is_plain_head(head: Any) -> bool:
    """Say whether the head is nothing but its weight: no bias, no adapter, no hook that fetches it."""
    if type(head) is not nn.Linear or head.bias is not None or "forward" in vars(head):
        return False
    return not (head._forward_hooks or head._forward_pre_hooks)


def _has_whole_rows(model: Any, given: dict[str, Any]) -> bool:
    """Say whether our attention computes this call, and a mask of it can hold only causality and windows."""
    bounds = ("attention_mask", "position_ids", "cache", "past_key_values", "is_causal")
    ours = model.config._attn_implementation == NAME and getattr(model.config, "is_causal", True)
    return ours and all(given.get(name) is None for name in bounds)


def _wants_loss_only(model: Any, given: dict[str, Any]) -> bool:
    """Say whether this is a step of training whose logits nobody asked for, with the loss that we compute."""
    keeps = given.get("logits_to_keep", 0)
    return bool(
        model.training
        and given.get("labels") is not None
        and isinstance(keeps, int)
        and keeps == 0
        and getattr(model, "_loss_function", ForCausalLMLoss) is ForCausalLMLoss
        and model.loss_type in (None, "ForCausalLM")
        and is_plain_head(model.lm_head)
    )


def _loss(model: Any, x: torch.Tensor, given: dict[str, Any]) -> torch.Tensor:
    """Return what ForCausalLMLoss gives, from the head's input; NaN where no label counts, as there."""
    ignored, counted = given.get("ignore_index", IGNORED), given.get("num_items_in_batch")
    if not kernel_runs("linear_cross_entropy", x):
        loss: torch.Tensor = ForCausalLMLoss(model.lm_head(x), vocab_size=model.config.vocab_size, **given)
        return loss
    targets = given.get("shift_labels")
    if targets is None:
        targets = nn.functional.pad(given["labels"], (0, 1), value=ignored)[..., 1:]
    targets = targets.to(x.device)
    total = linear_cross_entropy(x, model.lm_head.weight, targets, ignore_index=ignored, reduction="sum").float()
    if counted is None:
        counted = (targets != ignored).sum()
    return total / (counted.to(total.device) if isinstance(counted, torch.Tensor) else counted)


def _with_loss(usual: Callable[..., Any], output: type[Any]) -> Callable[..., Any]:
    """Return the forward of a language model, whose loss in training with `labels` stores no logits.

    Every other call goes to the usual forward.
    """
    names = tuple(inspect.signature(usual).parameters)[1:-1]  # without self and **kwargs

    @can_return_tuple  # type: ignore[untyped-decorator]
    @functools.wraps(usual)
    def forward(self: Any, *args: Any, **given: Any) -> Any:
        if len(args) > len(names) or given.keys() & set(names[: len(args)]):
            return usual(self, *args, **given)  # which says what is too much or given twice
        given.update(zip(names, args, strict=False))
        if _has_whole_rows(self, given):
            given["whole_rows"] = True
        if not _wants_loss_only(self, given):
            return usual(self, **given)
        own = ("labels", "logits_to_keep")
        found = self.base_model(**{name: value for name, value in given.items() if name not in own})
        rest = {name: value for name, value in found.items() if name != "last_hidden_state"}
        return output(loss=_loss(self, found.last_hidden_state, given), **rest)

    return forward  # type: ignore[no-any-return]


class FusedLlamaForCausalLM(LlamaForCausalLM):  # type: ignore[misc] # noqa: D101
    forward = _with_loss(LlamaForCausalLM.forward, CausalLMOutputWithPast)


class FusedQwen3ForCausalLM(Qwen3ForCausalLM):  # type: ignore[misc] # noqa: D101
    forward = _with_loss(Qwen3ForCausalLM.forward, CausalLMOutputWithPast)


class FusedGPT2LMHeadModel(GPT2LMHeadModel):  # type: ignore[misc] # noqa: D101
    forward = _with_loss(GPT2LMHeadModel.forward, CausalLMOutputWithCrossAttentions)


LANGUAGE_MODELS: dict[type[nn.Module], type[nn.Module]] = {
    LlamaForCausalLM: FusedLlamaForCausalLM,
    Qwen3ForCausalLM: FusedQwen3ForCausalLM,
    GPT2LMHeadModel: FusedGPT2LMHeadModel,
}
# save_pretrained writes the name of the class as the architecture, and Trainer looks models up by it
for _original, _fused in LANGUAGE_MODELS.items():
    _fused.__name__ = _original.__name__
