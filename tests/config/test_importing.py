"""Files of the five older tools become ours; what has no counterpart is named."""

import pytest
import yaml

from pylm.config.cascade import resolve
from pylm.config.foreign import FOREIGN, FOREIGN_SECTIONS
from pylm.config.importing import _READINGS, import_file
from pylm.config.keys import all_keys
from pylm.config.schema import SECTIONS
from pylm.errors import ConfigError
from pylm.wording import in_options

# the keys and values that the tools' own files have
MLX = """
model: {vocab_size: 32000, embedding_dim: 768, num_layers: 12, num_heads: 12, ff_dim: 2048, context_length: 1024,
        dropout: 0.1, rope_theta: 10000.0}
training:
  {batch_size: 2, gradient_accumulation_steps: 4, learning_rate: 3.0e-4, weight_decay: 0.1, max_grad_norm: 1.0,
   max_steps: 100000, warmup_steps: 1000, min_lr_ratio: 0.1, save_every: 5000, eval_every: 2500, eval_batches: 25,
   log_every: 50, sample_every: 5000, train_data_path: "data/train.bin", val_data_path: "data/val.bin",
   tokenizer_path: "data/tokenizer.model", checkpoint_dir: "checkpoints", log_dir: "logs", mixed_precision: true,
   compile_model: true, seed: 42, early_stopping_patience: 10, early_stopping_min_delta: 0.001}
"""
BUILDING_MODEL = """
model: {n_layers: 6, n_heads: 8, n_embd: 512, vocab_size: 50304, block_size: 1024, dropout: 0.1, bias: true,
        use_flash_attention: false, gradient_checkpointing: true, initializer_range: 0.02,
        pos_encoding_type: sinusoidal}
"""
BUILDING_TRAINING = """
training: {batch_size: 8, gradient_accumulation_steps: 16, max_steps: 100000, eval_interval: 2000,
           save_interval: 5000, log_interval: 100, learning_rate: 6e-4, weight_decay: 0.1, beta1: 0.9, beta2: 0.98,
           grad_clip: 1.0, warmup_steps: 2000, lr_decay_steps: 100000, min_lr: 6e-5, use_amp: false,
           compile_model: false, distributed: false, save_total_limit: 3, eval_steps: 200, num_workers: 4,
           use_wandb: true, wandb_project: neural-llm}
"""
BUILDING_GENERATION = """
generation: {temperature: 0.9, top_k: 0, top_p: 0.9, repetition_penalty: 1.1, max_new_tokens: 100, min_length: 10,
             pad_token_id: 0, stop_strings: ["\\n\\n", "END"], early_stopping: true, do_sample: false, num_beams: 1,
             strategy: sample}
batch_generation: {batch_size: 4, return_prompt: false}
"""
NASH = """
model: {n_layers: 12, n_heads: 12, d_model: 768, d_ff: 3072, vocab_size: 50257, max_seq_len: 1024, dropout: 0.1}
train: {batch_size: 64, learning_rate: 7.0e-4, weight_decay: 0.1, max_steps: 100000, max_tokens: 440555992,
        warmup_steps: 176, grad_clip: 1.0, eval_interval: 400, checkpoint_interval: 800, grad_accum_steps: 4,
        compile: true, precision: bf16}
data: {dataset: openwebtext, dataset_size: 100M, tokenized_dir: datasets/tokenized/openwebtext_100M, num_workers: 4}
metrics: {wandb_project: nash-llm, wandb_enabled: true, log_interval: 10, metrics: [val_loss, accuracy]}
"""
NUE = """
{"epochs": [], "options": {"ctx_len": 256, "chunk_overlap_len": 16, "n_epochs": 10, "batch_size": 64,
  "n_embed": 512, "n_heads": 8, "n_layers": 6, "mlp_ratio": 4, "lr": 3e-4, "lr_scheduler_patience": 3, "seed": 4649,
  "model_dir": "build/_train/x", "log_interval": 100, "save_interval": 100}}
"""
MICROGPT = """
{"max_seq_len": 1024, "d_model": 768, "n_layers": 12, "n_heads": 12, "use_rope": true, "init_std": 0.02,
  "epochs": 5, "max_iterations_per_epoch": 18170, "batch_size": 64, "gradient_accumulation_iterations": 8,
  "manual_seed": 42}
"""
PROFILES = """
laptop: {model: {n_layers: 2, n_embd: 64}, training: {batch_size: 1}}
big: {model: {n_layers: 4, n_embd: 64}}
"""


def imported(tmp_path, text, **arguments):
    path = tmp_path / "old.yaml"
    path.write_text(text)
    made = import_file(path, **arguments)
    out = tmp_path / "new.yaml"
    out.write_text(made.to_yaml())
    config = resolve(files=[out], environ={}).config
    assert config == made.resolved().config
    values = {
        setting.key: getattr(getattr(config, setting.key.split(".")[0]), setting.key.split(".")[1])
        for setting in made.settings
    }
    return made, values, {key for key, _ in made.dropped}


def test_the_mlx_transformers_file(tmp_path):
    made, values, dropped = imported(tmp_path, MLX)
    assert made.tool == "mlx-transformer"
    assert values == {
        "model.d_model": 768, "model.n_layers": 12, "model.n_heads": 12, "model.d_ff": 2048,
        "model.context_length": 1024, "model.dropout": 0.1, "model.rope_theta": 10000.0,
        "model.norm": "rmsnorm", "model.mlp": "swiglu",
        "model.position": "rope", "model.bias": False, "train.micro_batch": 2, "train.grad_accum_steps": 4,
        "train.learning_rate": 3e-4, "train.weight_decay": 0.1, "train.grad_clip": 1.0, "train.max_steps": 100000,
        "train.warmup_steps": 1000, "train.min_lr_ratio": 0.1, "train.save_every": 5000, "train.eval_every": 2500,
        "train.eval_batches": 25, "metrics.log_every": 50, "train.sample_every": 5000, "train.precision": "auto",
        "train.compile": True, "train.seed": 42, "train.early_stop": 10,
    }  # fmt: skip
    assert dropped == {"model.vocab_size", "training.train_data_path", "training.val_data_path",
                       "training.tokenizer_path", "training.checkpoint_dir",
                       "training.log_dir", "training.early_stopping_min_delta"}  # fmt: skip
    assert ("training.batch_size", "train.micro_batch") in made.renamed


def test_building_llms_four_files(tmp_path):
    made, values, dropped = imported(tmp_path, BUILDING_MODEL)
    assert made.tool == "building-llm"
    assert values == {
        "model.n_layers": 6, "model.n_heads": 8, "model.d_model": 512, "model.context_length": 1024,
        "model.dropout": 0.1, "model.bias": True,
        "train.activation_checkpointing": True, "model.init_std": 0.02, "model.norm": "layernorm",
        "model.mlp": "gelu", "model.position": "learned",
    }  # fmt: skip
    assert dropped == {"model.vocab_size", "model.use_flash_attention", "model.pos_encoding_type"}
    made, values, dropped = imported(tmp_path, BUILDING_TRAINING)
    assert values["train.betas"] == (0.9, 0.98) and values["train.min_lr_ratio"] == 0.1
    assert (
        values["train.precision"] == "fp32" and values["train.keep_last"] == 3 and values["train.eval_batches"] == 200
    )
    assert dropped == {"training.lr_decay_steps", "training.distributed", "training.num_workers"}
    assert values["metrics.trackers"] == ("wandb:neural-llm",)
    made, values, dropped = imported(tmp_path, BUILDING_GENERATION)
    assert values == {
        "sample.temperature": 0.9, "sample.top_k": None, "sample.top_p": 0.9, "sample.repetition_penalty": 1.1,
        "sample.max_tokens": 100, "sample.stop": ("\n\n", "END"),
    }  # fmt: skip
    assert {
        "generation.do_sample",
        "generation.num_beams",
        "generation.pad_token_id",
        "batch_generation.batch_size",
    } < dropped


def test_nash_llms_file(tmp_path):
    made, values, dropped = imported(tmp_path, NASH)
    assert made.tool == "nash-llm"
    assert (
        values["model.context_length"] == 1024
        and values["model.d_ff"] == 3072
        and values["model.position"] == "learned"
    )
    assert (
        values["train.micro_batch"] == 64
        and values["train.save_every"] == 800
        and values["train.max_tokens"] == 440555992
    )
    assert values["train.precision"] == "bf16" and values["train.compile"] is True and values["metrics.log_every"] == 10
    assert {
        "metrics.metrics",
        "data.dataset",
        "data.tokenized_dir",
        "data.num_workers",
    } < dropped


@pytest.mark.parametrize(
    ("metrics", "trackers"),
    [
        ("wandb_enabled: true", ("wandb",)),
        ("wandb_enabled: true, wandb_project: nash-llm", ("wandb:nash-llm",)),
        ("wandb_project: nash-llm, wandb_enabled: false", ()),
        ("tensorboard: true", ("tensorboard",)),
    ],
)
def test_dashboards_become_trackers(tmp_path, metrics, trackers):
    text = f"metrics: {{{metrics}}}\n{NASH}".replace(
        "metrics: {wandb_project: nash-llm, wandb_enabled: true,", "logging: {"
    )
    made, values, dropped = imported(tmp_path, text)
    assert values["metrics.trackers"] == trackers


def test_nues_saved_options(tmp_path):
    made, values, dropped = imported(tmp_path, NUE)
    assert made.tool == "nue"
    assert values["model.d_ff"] == 2048 and values["data.stride"] == 240 and values["train.max_epochs"] == 10
    assert values["train.learning_rate"] == 3e-4 and values["train.seed"] == 4649 and values["model.bias"] is False
    assert dropped == {"epochs", "options.lr_scheduler_patience", "options.model_dir"}


def test_microgpts_options(tmp_path):
    made, values, dropped = imported(tmp_path, MICROGPT)
    assert made.tool == "microgpt"
    assert (
        values["model.position"] == "rope" and values["train.grad_accum_steps"] == 8 and values["train.max_epochs"] == 5
    )
    assert dropped == {"max_iterations_per_epoch"}


def test_one_of_several_profiles_is_chosen(tmp_path):
    with pytest.raises(ConfigError, match="holds several configurations") as caught:
        imported(tmp_path, PROFILES)
    assert in_options(caught.value.marked[1] or "") == "choose one: --profile laptop | big"
    assert imported(tmp_path, PROFILES, profile="big")[1]["model.n_layers"] == 4
    with pytest.raises(ConfigError, match="no configuration named small"):
        imported(tmp_path, PROFILES, profile="small")


def test_what_cannot_be_told_is_asked(tmp_path):
    with pytest.raises(ConfigError, match="cannot tell which tool") as caught:
        imported(tmp_path, "model: {n_layers: 2, n_heads: 2}")
    assert "--from nue | mlx-transformer" in in_options(caught.value.marked[1] or "")
    assert imported(tmp_path, "model: {n_layers: 2, n_heads: 2}", tool="nash-llm")[1]["model.mlp"] == "gelu"
    with pytest.raises(ConfigError, match="holds no key that pylm knows"):
        imported(tmp_path, "spam: {eggs: 1}")
    with pytest.raises(ConfigError, match="'many' is not a whole number"):
        imported(tmp_path, "training: {batch_size: many}")


def test_the_table_leads_somewhere():
    for key, became in FOREIGN.items():
        assert became.ours is None or became.ours in all_keys(), key
        assert became.ours or became.note, key
        assert became.reading in ("same", "drop", *_READINGS), key
        # a key of ours must not be answered as if it were foreign, in the section where it is ours
        assert not any(
            key in kind.model_fields for name, kind in SECTIONS.items() if became.ours and became.ours.startswith(name)
        ), key
    assert set(FOREIGN_SECTIONS.values()) <= set(SECTIONS)


def test_every_line_that_is_written_is_yaml_or_comment(tmp_path):
    made, _, _ = imported(tmp_path, MLX)
    assert yaml.safe_load(made.to_yaml())["train"]["micro_batch"] == 2
    assert "# not carried over: training.log_dir: " in made.to_yaml()
