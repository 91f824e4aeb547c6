"""`patch` and `unpatch`: one line to run pylm_kernels' operations in a model of transformers that exists."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from pylm_kernels import dispatch
from pylm_kernels.operation import Refused

VERSIONS = ("5.24",)  # of transformers: those whose layers the tests compared


def patch(
    model: torch.nn.Module, *, norms: bool = True, activations: bool = True, attention: bool = True, loss: bool = True
) -> dispatch.Table:
    """Put our operations into a Llama, Qwen3 or GPT-2 of transformers, in place; `unpatch` takes them out again.

    A model that is patched already is patched anew, as told this time. Parameters, state_dict and config.json stay as
    they are, and so do copies, pickles and checkpoints.

    Args:
        model: a language model of one of these families, one with another head, or the body alone.
        norms: rms_norm or layer_norm in place of each norm, Qwen3's of q and k among them.
        activations: swiglu, gelu or relu2 in the MLPs.
        attention: rope_attention for rows without padding, cache, packing and dropout; transformers' SDPA, which
            the model uses, goes on computing the others.
        loss: linear_cross_entropy in training steps that are given `labels`. Their outputs hold no logits.

    Returns:
        What was put in, and which backend runs it here; it prints as a table. Where no kernel serves, the layers run
        transformers' own code.

    Raises:
        ValueError: this model, or this version of transformers, is not one that is known.
    """
    _check_version()
    from pylm_kernels.patching import exchange  # needs transformers, which the check has found

    return exchange.patch(model, norms, activations, attention, loss)


def unpatch(model: torch.nn.Module) -> None:
    """Give every part of the model its own class back, and its config the attention it had.

    Args:
        model: one that `patch` was given, or a wrapper around it. One that is not patched stays as it is.

    Raises:
        ValueError: something has wrapped the classes that `patch` gave, and has to be taken off first.
    """
    _check_version()
    from pylm_kernels.patching import exchange

    exchange.unpatch(model)


def _check_version() -> None:
    known = ", ".join(VERSIONS)
    try:
        transformers: Any = importlib.import_module("transformers")
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise Refused(f"patch: takes models of transformers, which is not installed: {_install()}") from None
    if ".".join(transformers.__version__.split(".")[:2]) not in VERSIONS:
        raise Refused(f"patch: knows transformers {known}, and this is {transformers.__version__}: {_install()}")


def _install() -> str:
    return f"pip install 'transformers=={VERSIONS[-1]}.*'"
