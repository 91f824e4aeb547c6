"""The keys of the configuration as keywords of `pylm.train` and `pylm.finetune`, for editors and type checkers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

__all__ = ["FinetuneKeywords", "TrainKeywords"]


class TrainKeywords(TypedDict, total=False):
    """Each key by its own name; one that two sections share, such as `window`, is given by its section."""

    n_layers: int | None
    n_heads: int | None
    n_kv_heads: int | None
    d_model: int | None
    head_dim: int | None
    d_ff: int | None
    vocab_size: int | None
    context_length: int | str
    norm: Literal["rmsnorm", "layernorm"]
    norm_eps: float
    mlp: Literal["swiglu", "gelu", "relu2"]
    position: Literal["rope", "learned", "none"]
    rope_theta: float
    rope_scaling: Mapping[str, str | float] | None
    qk_norm: bool
    bias: bool
    attention_bias: Literal["all", "qkv"] | None
    tied: bool
    dropout: float
    attention_softcap: float | None
    logit_softcap: float | None
    value_embeddings: bool
    residual_lambdas: bool
    attention: Literal["auto", "fused", "sdpa", "reference"]
    init_std: float
    zero_init: bool
    batch_tokens: int | str | None
    micro_batch: int | Literal["auto"]
    grad_accum_steps: int | None
    learning_rate: float | Literal["inherit"]
    embed_lr: float | None
    head_lr: float | None
    scalar_lr: float | None
    min_lr_ratio: float
    warmup_steps: int | str | None
    schedule: Literal["cosine", "wsd", "trapezoid", "linear", "constant"]
    optimizer: Literal["adamw", "muon"]
    optimizer_state: Literal["fresh", "keep"]
    betas: tuple[float, float]
    weight_decay: float
    grad_clip: float
    precision: Literal["auto", "bf16", "fp16", "fp32"]
    compile: bool | Literal["auto"]
    activation_checkpointing: bool
    max_steps: int | str | None
    max_epochs: float | None
    max_tokens: int | str | None
    max_time: float | str | None
    eval_every: int | str | Literal["auto"] | None
    eval_batches: int | None
    save_every: int | str | None
    keep_last: int
    sample_every: int | Literal["auto"] | None
    early_stop: int | None
    average: Literal["off", "ema", "mean"]
    average_decay: float | None
    average_every: int | None
    average_from: int | str | None
    seed: int
    backend: Literal["auto", "torch", "mlx"]
    device: str
    path: str | None
    val: str | None
    stride: int | None
    mix: Mapping[str, float] | None
    sources: Mapping[str, float] | None
    clean: str | Mapping[str, Any] | None
    tokenizer: str | None
    val_share: float | None
    mix_tokens: int | None
    mix_temperature: float | None
    split_by: Literal["hash", "tail"]
    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    stop: Sequence[str]
    n: int
    log_every: int
    trackers: str | Sequence[str]
    tracker_finish: float | str
    tasks: str | Sequence[str]
    suite: str | None
    suite_every: int | Literal["auto"] | None
    limit: int | None
    prefix: Literal["eot", "none"]


class FinetuneKeywords(TrainKeywords, total=False):
    """The same, and those that tune; `dataset` and `method` are arguments of their own."""

    val_dataset: str | None
    template: str | None
    overflow: Literal["cut-prompt", "drop", "error"]
    freeze: str | Sequence[str]
    dpo_beta: float
    lora_rank: int
    lora_alpha: float
    lora_dropout: float
    lora_targets: str | Sequence[str] | None
