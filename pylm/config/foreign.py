"""The keys of five older tools, each with ours or with what stands in its place.

nue, the MLX transformer, buildingLLMFromScratch, microgpt and nash-llm. Used to answer whoever types an old key, and by
`pylm config import`, which rewrites an old file.
"""

from __future__ import annotations

from dataclasses import dataclass

from pylm.wording import call, param

__all__ = ["OF_WRITING", "Foreign", "FOREIGN_SECTIONS", "answer", "answer_section", "foreign_key"]


@dataclass(frozen=True)
class Foreign:
    """What became of an older tool's key: `ours`, or None and why.

    The field `reading` names how its value is rewritten (importing.py).
    """

    ours: str | None
    note: str = ""
    reading: str = "same"


_DATA_NOTE = f"an option of `pylm tokenize`, whose folder `pylm train {param('data')}` names"
_LOADER_NOTE = "not needed: the loader maps its shards and reads ahead by itself"
_FIGURES_NOTE = "not a setting: metrics.jsonl always has every figure; metrics.trackers sends it on"
_PROGRAM_NOTE = (
    f"a program to run is no key: {param('on_incident')} names it, or the user's own ~/.config/pylm/user.yaml"
)
_OUT_NOTE = f"`{call('train', out='RUN')}` names one folder for everything"
_MODEL_NOTE = (
    f"a named shape is {param('preset', 'NAME')}, such as gpt2-124m; weights to begin from are {param('init_from')}"
)
_TOKEN_NOTE = "the tokenizer knows its own special tokens"
_SEARCH_NOTE = "not offered: text is drawn, or the likeliest token taken with sample.temperature 0"
_VOCABULARY_NOTE = "the tokenizer's own is used, and padded inside the weights"
_SHARDS_NOTE = "tokenize the text again with `pylm tokenize`, and name that folder as data.path"
_DISTRIBUTED_NOTE = "training on several devices: not yet; train.device cuda:0 names the one"

FOREIGN: dict[str, Foreign] = {
    # shape
    **dict.fromkeys(("num_layers", "n_layer", "nn_layers", "layers"), Foreign("model.n_layers")),
    **dict.fromkeys(("num_heads", "n_head", "heads"), Foreign("model.n_heads")),
    **dict.fromkeys(("num_kv_heads", "n_kv_head"), Foreign("model.n_kv_heads")),
    **dict.fromkeys(("embedding_dim", "n_embd", "n_embed", "hidden_size", "dim"), Foreign("model.d_model")),
    "ff_dim": Foreign("model.d_ff"),
    "mlp_ratio": Foreign("model.d_ff", "times d_model", "ratio"),
    **dict.fromkeys(
        ("ctx_len", "ctx_length", "block_size", "max_seq_len", "seq_len", "context"), Foreign("model.context_length")
    ),
    **dict.fromkeys(("dropout_p", "embedding_dropout_p", "attention_dropout_p"), Foreign("model.dropout")),
    **dict.fromkeys(("initializer_range",), Foreign("model.init_std")),
    "rope_base": Foreign("model.rope_theta"),
    "use_rope": Foreign("model.position", "rope, else learned", "rope or learned"),
    **dict.fromkeys(("pos_encoding_type", "position_embedding"), Foreign("model.position", "", "position")),
    "activation": Foreign("model.mlp"),
    "sliding_window_size": Foreign("model.window"),
    "attention_type": Foreign("model.n_kv_heads", "fewer than n_heads group queries; model.window slides", "drop"),
    **dict.fromkeys(
        ("use_flash_attention", "flash_attention"),
        Foreign("model.attention", "auto takes the fastest that serves the shape", "drop"),
    ),
    # training
    "batch_size": Foreign("train.micro_batch", "sequences per device and pass"),
    **dict.fromkeys(
        ("gradient_accumulation_steps", "gradient_accumulation_iterations", "grad_accum"),
        Foreign("train.grad_accum_steps"),
    ),
    **dict.fromkeys(("lr", "max_learning_rate"), Foreign("train.learning_rate")),
    **dict.fromkeys(("min_lr", "min_learning_rate"), Foreign("train.min_lr_ratio", "as a share", "share of the rate")),
    **dict.fromkeys(("max_warmup_steps", "learning_rate_warmup_steps"), Foreign("train.warmup_steps")),
    **dict.fromkeys(
        ("lr_decay_steps", "learning_rate_decay_iters"),
        Foreign("train.schedule", "the schedule always ends with the run", "drop"),
    ),
    "max_grad_norm": Foreign("train.grad_clip"),
    "beta1": Foreign("train.betas", "both in one list", "first beta"),
    "beta2": Foreign("train.betas", "both in one list", "second beta"),
    **dict.fromkeys(
        ("mixed_precision", "use_amp"), Foreign("train.precision", "auto | bf16 | fp16 | fp32", "auto or fp32")
    ),
    **dict.fromkeys(("compile_model", "torch_compile", "should_compile"), Foreign("train.compile")),
    "gradient_checkpointing": Foreign("train.activation_checkpointing"),
    **dict.fromkeys(
        ("max_iters", "max_iterations", "iters", "iterations", "steps", "num_steps"), Foreign("train.max_steps")
    ),
    **dict.fromkeys(("n_epochs", "epochs", "num_epochs"), Foreign("train.max_epochs")),
    **dict.fromkeys(("warmup", "warmup_iters"), Foreign("train.warmup_steps")),
    "fp16": Foreign("train.precision", "fp16", "drop"),
    "bf16": Foreign("train.precision", "bf16", "drop"),
    "gpu": Foreign("train.device", "cuda, or cuda:1", "drop"),
    "model": Foreign(None, _MODEL_NOTE),
    **dict.fromkeys(("eval_interval",), Foreign("train.eval_every")),
    **dict.fromkeys(
        ("eval_iters", "eval_steps", "eval_max_batches", "final_eval_max_batches"), Foreign("train.eval_batches")
    ),
    **dict.fromkeys(
        ("save_interval", "checkpoint_interval", "checkpointing_interval"), Foreign("train.save_every")
    ),
    "save_total_limit": Foreign("train.keep_last"),
    "early_stopping_patience": Foreign("train.early_stop"),
    "early_stopping_min_delta": Foreign(None, "train.early_stop counts evaluations without a new best"),
    "manual_seed": Foreign("train.seed"),
    "muon_lr": Foreign("train.learning_rate", "one rate, with train.optimizer muon", "drop"),
    **dict.fromkeys(("muon_momentum", "ns_steps"), Foreign(None, "Muon's own figures are fixed")),
    "log_interval": Foreign("metrics.log_every"),
    **dict.fromkeys(
        ("wandb_enabled", "use_wandb", "wandb"), Foreign("metrics.trackers", "wandb, or wandb:PROJECT", "wandb")
    ),
    "wandb_project": Foreign("metrics.trackers", "wandb:PROJECT", "wandb project"),
    "wandb_run_name": Foreign(None, "the run's folder gives its name"),
    "tensorboard": Foreign("metrics.trackers", "tensorboard", "tensorboard"),
    **dict.fromkeys(("metrics", "log_grad_norm"), Foreign(None, _FIGURES_NOTE)),
    "on_incident": Foreign(None, _PROGRAM_NOTE),
    **dict.fromkeys(
        ("local_rank", "distributed", "devices", "gpus", "num_gpus", "n_gpus", "nproc_per_node", "world_size"),
        Foreign(None, _DISTRIBUTED_NOTE),
    ),
    "eval_batch_size": Foreign(None, "train.micro_batch serves evaluation too"),
    "lr_scheduler_patience": Foreign(None, "train.schedule knows no patience"),
    "max_iterations_per_epoch": Foreign(None, "train.max_steps or train.max_epochs ends the run"),
    "enable_hellaswag_eval": Foreign(None, "not offered during training yet"),
    **dict.fromkeys(
        ("checkpoint_dir", "log_dir", "output_path", "model_dir", "output_dir", "output_dir_path",
         "checkpoint_dir_path"),
        Foreign(None, _OUT_NOTE),
    ),
    "resume_from_checkpoint": Foreign(None, f"`{call('train', resume='CHECKPOINT')}`"),
    "tokenizer_path": Foreign(None, "the folder that data.path names carries its tokenizer"),
    # data
    **dict.fromkeys(
        ("train_data_path", "val_data_path", "tokenized_dir", "train_out_dir_path", "validation_out_dir_path",
         "data_dir", "dataset", "dataset_size", "datasets"),
        Foreign(None, _SHARDS_NOTE),
    ),
    "chunk_overlap_len": Foreign("data.stride", "context_length less the overlap", "context less this"),
    **dict.fromkeys(
        ("preprocessing", "tokenizer", "train_split", "val_split", "test_split", "output_format", "chunk_size",
         "invalid", "split", "skip_bad", "custom_datasets", "force_download", "cache_dir", "val_ratio",
         "override_data_size"),
        Foreign(None, _DATA_NOTE),
    ),
    **dict.fromkeys(
        ("num_workers", "pin_memory", "prefetch_factor", "shuffle", "drop_last"), Foreign(None, _LOADER_NOTE)
    ),
    # sampling
    "max_new_tokens": Foreign("sample.max_tokens"),
    **dict.fromkeys(("temp", "t"), Foreign("sample.temperature")),
    "stop_strings": Foreign("sample.stop"),
    "do_sample": Foreign("sample.temperature", "0 takes the likeliest token", "zero when false"),
    **dict.fromkeys(("num_beams", "strategy", "early_stopping", "min_length"), Foreign(None, _SEARCH_NOTE)),
    **dict.fromkeys(("pad_token_id", "eos_token_id", "bos_token_id"), Foreign(None, _TOKEN_NOTE)),
    **dict.fromkeys(
        ("return_prompt", "show_progress", "stream_output", "color_output"), Foreign(None, "an option of `pylm sample`")
    ),
    **dict.fromkeys(
        ("byte_patch_size", "byte_local_layers", "representation", "token_dtype"),
        Foreign(None, "models over bytes are not offered"),
    ),
}  # fmt: skip

# what is asked of a model that writes (the section sample), where training would be told of other options
OF_WRITING: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("model", "model_dir", "model_path", "checkpoint_dir", "checkpoint_path", "checkpoint_dir_path",
         "resume_from_checkpoint", "init_from", "resume"),
        (param("checkpoint"), "a run, a step or a folder of Hugging Face's layout"),
    ),
    "tokenizer_path": (param("tokenizer"), "for a checkpoint that carries none"),
}  # fmt: skip

# keys that are spelled like ours, or that mean another thing, in one of the older tools' sections
_IN_SECTION: dict[tuple[str, str], Foreign] = {
    ("data", "block_size"): Foreign("model.context_length"),
    ("batch_generation", "batch_size"): Foreign(
        "sample.n", "samples per prompt; prompts are batched by themselves", "drop"
    ),
    ("advanced", "seed"): Foreign("train.seed"),
}

FOREIGN_SECTIONS = {
    "training": "train",
    "trainer": "train",
    "generation": "sample",
    "inference": "sample",
    "logging": "metrics",
    "options": "train",
    "params": "model",
    "advanced": "data",
    "batch_generation": "sample",
    "interactive": "sample",
    "tokenizer": "data",
}


def foreign_key(key: str, section: str = "") -> Foreign | None:
    """Return what became of an older tool's key."""
    if section in ("model", "") and key == "vocab_size":
        return Foreign(None, _VOCABULARY_NOTE)
    return _IN_SECTION.get((section, key)) or FOREIGN.get(key)


def answer(key: str, section: str = "") -> str | None:
    """Answer whoever uses an older tool's key with ours by name, or with what stands in its place."""
    spelled = key.replace("-", "_")
    if section == "sample" and spelled in OF_WRITING:
        option, note = OF_WRITING[spelled]
        return f"it is {option} here ({note})"
    became = _IN_SECTION.get((section, spelled)) or FOREIGN.get(spelled)
    if became is None:
        return None
    if became.ours is None:
        return f"{spelled}: {became.note}"
    return f"it is {became.ours} here" + (f" ({became.note})" if became.note else "")


def answer_section(section: str) -> str | None:
    """Answer whoever uses an older tool's section."""
    ours = FOREIGN_SECTIONS.get(section)
    return f"the section is {ours} here; `pylm config import FILE` rewrites such a file" if ours else None
