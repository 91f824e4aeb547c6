"""The C++ kernels behind pylm_kernels' dispatch, as its backend "cpu"; and what pylm calls by itself.

`register()` gives dispatch every operation; each file holds the raw forms of a few of them, as the operations'
public.py ask for them.
"""

from __future__ import annotations

from pylm._native import cpu_info, has_muon
from pylm.native_kernels.activations import activation_backward, activation_forward
from pylm.native_kernels.decode import decode_attention, gemv_int8, quantize_int8
from pylm.native_kernels.heads import attention_backward, attention_forward
from pylm.native_kernels.losses import (
    cross_entropy_backward,
    cross_entropy_forward,
    linear_cross_entropy_backward,
    linear_cross_entropy_forward,
)
from pylm.native_kernels.norms import layer_norm_backward, layer_norm_forward, rms_norm_backward, rms_norm_forward
from pylm.native_kernels.optimizer import adamw, muon, norm_of
from pylm.native_kernels.registration import register

__all__ = [
    "activation_backward",
    "activation_forward",
    "adamw",
    "attention_backward",
    "attention_forward",
    "cpu_info",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "decode_attention",
    "gemv_int8",
    "has_muon",
    "layer_norm_backward",
    "layer_norm_forward",
    "linear_cross_entropy_backward",
    "linear_cross_entropy_forward",
    "muon",
    "norm_of",
    "quantize_int8",
    "register",
    "rms_norm_backward",
    "rms_norm_forward",
]
