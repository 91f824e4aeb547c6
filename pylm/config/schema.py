"""Every key there is, what it means, what it accepts and what it is when nobody says."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pylm.config.batch import Batch, plan_batch
from pylm.config.values import Cleaning, Device, Duration, Flag, Real, Reals, Scaling, Text, Texts, Weights, Whole, Word

__all__ = [
    "SECTIONS",
    "Config",
    "Data",
    "Eval",
    "Finetune",
    "Metrics",
    "Model",
    "Sample",
    "Section",
    "Train",
    "json_schema",
]

PositiveOrNone = Annotated[int | None, Whole(least=1, none=True)]


class Section(BaseModel):
    """A frozen group of keys that knows no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(Section):
    """The shape of the model."""

    n_layers: PositiveOrNone = Field(default=None, description="Blocks. null: a preset or the machine's size decides.")
    n_heads: PositiveOrNone = Field(default=None, description="Attention heads. null: as above.")
    n_kv_heads: PositiveOrNone = Field(default=None, description="Heads of keys and values (GQA). null: n_heads.")
    d_model: PositiveOrNone = Field(default=None, description="Width. null: as n_layers.")
    head_dim: PositiveOrNone = Field(default=None, description="Width of a head. null: d_model / n_heads.")
    d_ff: PositiveOrNone = Field(
        default=None, description="Width inside the MLP. null: 4 d_model, or 8/3 d_model rounded up to 64 for swiglu."
    )
    vocab_size: PositiveOrNone = Field(default=None, description="Tokens. null: the tokenizer's.")
    context_length: Annotated[int, Whole(least=1)] = Field(default=2048, description="Tokens that attention sees.")
    norm: Annotated[Literal["rmsnorm", "layernorm"], Word(of=("rmsnorm", "layernorm"))] = Field(
        default="rmsnorm", description="Normalisation before each half of a block."
    )
    norm_eps: Annotated[float, Real(above=0.0, below=1.0)] = Field(default=1e-5, description="Its epsilon.")
    norm_gain: Annotated[bool, Flag()] = Field(
        default=True, description="Norms learn a gain. false: they only normalise (RMSNorm alone)."
    )
    embed_norm: Annotated[bool, Flag()] = Field(
        default=False, description="The same normalisation of the embedding, before the first block."
    )
    mlp: Annotated[Literal["swiglu", "gelu", "relu2"], Word(of=("swiglu", "gelu", "relu2"))] = Field(
        default="swiglu", description="The other half of a block."
    )
    position: Annotated[Literal["rope", "learned", "none"], Word(of=("rope", "learned", "none"))] = Field(
        default="rope", description="How positions are told."
    )
    rope_theta: Annotated[float, Real(above=0.0)] = Field(default=10000.0, description="RoPE's base.")
    rope_scaling: Annotated[dict[str, str | float] | None, Scaling(none=True)] = Field(
        default=None,
        description="How RoPE reaches further than it was trained for: linear, ntk, yarn or llama3 with its numbers. "
        "null: it does not.",
    )
    qk_norm: Annotated[bool, Flag()] = Field(
        default=False, description="RMSNorm on queries and keys (the Qwen3 layout)."
    )
    bias: Annotated[bool, Flag()] = Field(default=False, description="Biases in linear layers and LayerNorm.")
    attention_bias: Annotated[Literal["all", "qkv"] | None, Word(of=("all", "qkv"), none=True)] = Field(
        default=None,
        description="Biases in attention alone: of all four projections, or of queries, keys and values (the Qwen2 "
        "layout). null: as bias.",
    )
    tied: Annotated[bool, Flag()] = Field(default=True, description="One matrix embeds tokens and predicts them.")
    dropout: Annotated[float, Real(least=0.0, below=1.0)] = Field(
        default=0.0, description="Share of activations dropped."
    )
    window: PositiveOrNone = Field(
        default=None, description="Tokens back that attention sees. null: all of the context."
    )
    attention_softcap: Annotated[float | None, Real(above=0.0, none=True)] = Field(
        default=None, description="tanh limit of attention scores. null: no limit."
    )
    logit_softcap: Annotated[float | None, Real(above=0.0, none=True)] = Field(
        default=None, description="tanh limit of logits. null: no limit."
    )
    value_embeddings: Annotated[bool, Flag()] = Field(
        default=False, description="Token embeddings mixed into the values of every second block."
    )
    residual_lambdas: Annotated[bool, Flag()] = Field(
        default=False, description="Learned weights of the residual stream and of the embedding in each block."
    )
    attention: Annotated[
        Literal["auto", "fused", "sdpa", "reference"], Word(of=("fused", "sdpa", "reference"), auto=True)
    ] = Field(default="auto", description="Which attention computes; auto is the fastest that serves the shape.")
    init_std: Annotated[float, Real(above=0.0)] = Field(
        default=0.02, description="Standard deviation of initial weights."
    )
    zero_init: Annotated[bool, Flag()] = Field(
        default=False,
        description="Start as the speed records do: projections into the residual stream at zero, an untied head "
        "near it. false: such projections are scaled down by the depth.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Model:
        head, said = self.head_dim, "head_dim"
        if head is None and self.d_model is not None and self.n_heads is not None:
            if self.d_model % self.n_heads:
                raise ValueError(f"d_model {self.d_model} is no multiple of n_heads {self.n_heads}")
            head, said = self.d_model // self.n_heads, "d_model / n_heads"
        if head is not None and self.position == "rope" and head % 2:
            raise ValueError(f"rope needs heads of even width, and {said} is {head}")
        if self.rope_scaling is not None and self.position != "rope":
            raise ValueError(f"rope_scaling is for position rope, and it is {self.position}")
        if self.norm == "layernorm" and not self.norm_gain:
            raise ValueError("norm_gain false is for norm rmsnorm, and it is layernorm")
        if self.n_heads is not None and self.n_kv_heads is not None and self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads {self.n_heads} is no multiple of n_kv_heads {self.n_kv_heads}")
        return self

    @property
    def qkv_bias(self) -> bool:
        """Say whether queries, keys and values have biases."""
        return self.bias or self.attention_bias is not None

    @property
    def out_bias(self) -> bool:
        """Say whether attention's projection back has one."""
        return self.bias or self.attention_bias == "all"


class Train(Section):
    """The training of the model."""

    batch_tokens: PositiveOrNone = Field(
        default=None,
        description="Tokens of one optimizer step. null: the other two, or the size, decide.",
    )
    micro_batch: Annotated[int | Literal["auto"], Whole(least=1, auto=True)] = Field(
        default="auto", description="Sequences of one pass; auto is the largest that fits, on a CPU the fastest."
    )
    grad_accum_steps: PositiveOrNone = Field(
        default=None, description="Passes per step. null: what the other two leave."
    )
    learning_rate: Annotated[float | Literal["inherit"], Real(above=0.0, words=("inherit",))] = Field(
        default=6e-4,
        description="At the top of the schedule. inherit: where that of the checkpoint stood which the run begins "
        "with, and the next three alike where nobody gives them.",
    )
    embed_lr: Annotated[float | None, Real(above=0.0, none=True)] = Field(
        default=None, description="The same for tables of embeddings. null: learning_rate."
    )
    head_lr: Annotated[float | None, Real(above=0.0, none=True)] = Field(
        default=None, description="The same for an untied head. null: learning_rate."
    )
    scalar_lr: Annotated[float | None, Real(above=0.0, none=True)] = Field(
        default=None, description="The same for gains, biases and lambdas. null: learning_rate."
    )
    min_lr_ratio: Annotated[float, Real(least=0.0, most=1.0)] = Field(
        default=0.1, description="Its share left at the end; unless given, 0 where the schedule is linear."
    )
    warmup_steps: Annotated[int | None, Whole(none=True)] = Field(
        default=None, description="Steps of linear warmup. null: 2 % of the run."
    )
    schedule: Annotated[
        Literal["cosine", "wsd", "trapezoid", "linear", "constant"],
        Word(of=("cosine", "wsd", "trapezoid", "linear", "constant")),
    ] = Field(default="cosine", description="How the learning rate falls after warmup.")
    optimizer: Annotated[Literal["adamw", "muon"], Word(of=("adamw", "muon"))] = Field(
        default="adamw", description="muon: for matrices, with AdamW for the rest."
    )
    optimizer_state: Annotated[Literal["fresh", "keep"], Word(of=("fresh", "keep"))] = Field(
        default="fresh",
        description="What a run begins with. keep: the moments of its weights' checkpoint.",
    )
    betas: Annotated[tuple[float, float], Reals(count=2, each=Real(least=0.0, below=1.0))] = Field(
        default=(0.9, 0.95), description="AdamW's two decays."
    )
    weight_decay: Annotated[float, Real(least=0.0)] = Field(default=0.1, description="On matrices only.")
    grad_clip: Annotated[float, Real(least=0.0)] = Field(
        default=1.0, description="Largest gradient norm; 0 clips nothing."
    )
    precision: Annotated[Literal["auto", "bf16", "fp16", "fp32"], Word(of=("bf16", "fp16", "fp32"), auto=True)] = Field(
        default="auto", description="What is computed in; fp32 masters are kept whatever it is."
    )
    compile: Annotated[bool | Literal["auto"], Flag(auto=True)] = Field(
        default="auto", description="torch.compile; auto where a probe says that it pays."
    )
    activation_checkpointing: Annotated[bool, Flag()] = Field(
        default=False, description="Compute activations again in the backward pass instead of keeping them."
    )
    max_steps: PositiveOrNone = Field(
        default=None, description="Length in steps; of several lengths the first reached ends."
    )
    max_epochs: Annotated[float | None, Real(above=0.0, none=True)] = Field(
        default=None, description="Length in passes over the data."
    )
    max_tokens: PositiveOrNone = Field(default=None, description="Length in tokens.")
    max_time: Annotated[float | None, Duration(none=True)] = Field(default=None, description="Length in time: 90s, 2h.")
    eval_every: Annotated[int | Literal["auto"] | None, Whole(least=1, auto=True, none=True)] = Field(
        default="auto",
        description="Steps between evaluations. auto: 250, and under `max_time` as its clock says, for 5 % of the time "
        "at most. null: at the end only.",
    )
    eval_batches: PositiveOrNone = Field(
        default=20, description="Batches of an evaluation. null: all of the validation split."
    )
    save_every: PositiveOrNone = Field(default=500, description="Steps between checkpoints. null: at the end only.")
    keep_last: Annotated[int, Whole(least=1)] = Field(default=2, description="Checkpoints kept beside the best.")
    sample_every: Annotated[int | Literal["auto"] | None, Whole(least=1, auto=True, none=True)] = Field(
        default="auto",
        description="Steps between samples of two prompts, drawn as `sample` says. auto: at each evaluation, where the "
        "data has its tokenizer beside it. null: none are made.",
    )
    early_stop: PositiveOrNone = Field(
        default=None, description="Evaluations in a row without a new best that end the run. null: they do not."
    )
    average: Annotated[Literal["off", "ema", "mean"], Word(of=("off", "ema", "mean"))] = Field(
        default="off",
        description="An average of the weights beside them, in each checkpoint as `RUN/average`. ema: old ones fade.",
    )
    average_decay: Annotated[float | None, Real(above=0.0, below=1.0, none=True)] = Field(
        default=None, description="What of a weight's share in the ema is left after a step. null: 0.999."
    )
    average_every: PositiveOrNone = Field(
        default=None, description="Steps from one that is averaged to the next. null: 10."
    )
    average_from: PositiveOrNone = Field(
        default=None, description="The first step that may be averaged. null: all may be."
    )
    seed: Annotated[int, Whole()] = Field(default=1337, description="Of initial weights, data order and dropout.")
    backend: Annotated[Literal["auto", "torch", "mlx"], Word(of=("torch", "mlx"), auto=True)] = Field(
        default="auto", description="auto: MLX on a Mac that has it, else torch."
    )
    device: Annotated[str, Device(auto=True)] = Field(default="auto", description="cpu, cuda, cuda:1 or mps.")
    parallel: Annotated[Literal["auto", "ddp", "fsdp", "none"], Word(of=("ddp", "fsdp", "none"), auto=True)] = Field(
        default="auto",
        description="Each process has all of the model (ddp) or a part (fsdp); none: one alone. auto: ddp if it fits.",
    )
    parallel_timeout: Annotated[float, Duration()] = Field(
        default=600.0, description="How long one process waits for the others before the run ends: 90s, 10m."
    )
    parallel_check_every: PositiveOrNone = Field(
        default=100, description="Steps between comparisons of all processes' weights. null: none."
    )
    determinism: Annotated[Literal["default", "bitwise"], Word(of=("default", "bitwise"))] = Field(
        default="default", description="bitwise: sums in one order, so that 1, 2, 4, … processes have the same bits."
    )
    consolidate: Annotated[bool, Flag()] = Field(
        default=True, description="false: checkpoints of fsdp stay in shards; `pylm checkpoint consolidate` joins them."
    )

    @property
    def peak(self) -> float:
        """The learning rate at the top of the schedule, of a configuration that has it from a checkpoint by now."""
        assert isinstance(self.learning_rate, float)
        return self.learning_rate

    @model_validator(mode="before")
    @classmethod
    def _linear_ends_at_zero(cls, given: Any) -> Any:
        if isinstance(given, dict) and str(given.get("schedule")).lower() == "linear":
            return {"min_lr_ratio": 0.0, **given}
        return given

    @model_validator(mode="after")
    def _saves_agree(self) -> Train:
        if self.average_decay is not None and self.average == "mean":
            raise ValueError("average_decay is for an average that is ema, and it is mean: each weight counts alike")
        for key in ("average_decay", "average_every", "average_from"):
            if getattr(self, key) is not None and self.average == "off":
                raise ValueError(f"{key} is given, and average is off: ema or mean")
        if not self.consolidate and self.parallel != "fsdp":
            raise ValueError(f"consolidate false leaves the shards of parallel fsdp, and parallel is {self.parallel}")
        if not self.consolidate and self.average != "off":
            raise ValueError(f"average {self.average} is a folder within a checkpoint's: it needs consolidate true")
        if self.parallel == "fsdp" and self.determinism == "bitwise":
            raise ValueError("determinism bitwise sums in an order that parallel fsdp does not keep: parallel ddp does")
        return self


class Data(Section):
    """The data that the model is trained on."""

    path: Annotated[str | None, Text(none=True)] = Field(default=None, description="A folder made by `pylm tokenize`.")
    val: Annotated[str | None, Text(none=True)] = Field(
        default=None, description="Another folder to validate on. null: the validation split of path."
    )
    window: Annotated[Literal["contiguous", "packed"], Word(of=("contiguous", "packed"))] = Field(
        default="contiguous", description="packed: documents are not read across."
    )
    stride: PositiveOrNone = Field(default=None, description="Tokens from window to window. null: context_length.")
    mix: Annotated[dict[str, float] | None, Weights(none=True)] = Field(
        default=None, description="Several folders with their weights, in place of path."
    )
    sources: Annotated[dict[str, float] | None, Weights(none=True)] = Field(
        default=None, description="Texts to tokenize first, with their shares: files, datasets by name, hub:ORG/NAME."
    )
    clean: Annotated[str | dict[str, Any] | None, Cleaning(none=True)] = Field(
        default=None,
        description="Rules that clean texts before they are tokenized (fineweb, fineweb2, gopher, c4, none), or "
        "options of `pylm data clean`: {rules: gopher, near: 0.9, set: {gopher.word_count: 20}}. null: texts are taken "
        "as they are; `pylm data clean` takes fineweb.",
    )
    tokenizer: Annotated[str | None, Text(none=True)] = Field(
        default=None, description="Name, file or folder of the tokenizer of texts. null: one is trained on them."
    )
    val_share: Annotated[float | None, Real(least=0.0, below=1.0, none=True)] = Field(
        default=None,
        description="Share of the documents that is kept for validation where text is tokenized, mixed or divided. "
        "null: 0.01, and 0.05 by `pylm data split`.",
    )
    mix_tokens: PositiveOrNone = Field(
        default=None, description="Tokens that `pylm data mix` takes. null: as many as there are without repeats."
    )
    mix_temperature: Annotated[float | None, Real(least=0.0, none=True)] = Field(
        default=None,
        description="Shares of `pylm data mix` as the sizes of its sources to this power. null: as their weights.",
    )
    split_by: Annotated[Literal["hash", "tail"], Word(of=("hash", "tail"))] = Field(
        default="hash",
        description="How `pylm data split` chooses documents: by what each one holds, or the last ones.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Data:
        given = [name for name in ("path", "mix", "sources") if getattr(self, name) is not None]
        if len(given) > 1:
            both = " and ".join(given[:2])
            raise ValueError(f"{both} both say where the data is: give one of them")
        return self


class Sample(Section):
    """The drawing of text from a model."""

    temperature: Annotated[float, Real(least=0.0)] = Field(default=0.8, description="0 takes the likeliest token.")
    top_k: PositiveOrNone = Field(default=None, description="Only the k likeliest. null: all.")
    top_p: Annotated[float | None, Real(above=0.0, most=1.0, none=True)] = Field(
        default=None, description="Only the likeliest that make up p. null: all."
    )
    min_p: Annotated[float | None, Real(above=0.0, below=1.0, none=True)] = Field(
        default=None, description="Only those with p times the likeliest's probability. null: all."
    )
    repetition_penalty: Annotated[float, Real(above=0.0)] = Field(
        default=1.0, description="Divides the logits of tokens seen; 1 is none."
    )
    presence_penalty: Annotated[float, Real()] = Field(default=0.0, description="Taken off tokens seen at all.")
    frequency_penalty: Annotated[float, Real()] = Field(default=0.0, description="Taken off for each time seen.")
    max_tokens: Annotated[int, Whole(least=1)] = Field(
        default=256, description="Tokens made at most. While training, 64 unless given."
    )
    stop: Annotated[tuple[str, ...], Texts()] = Field(default=(), description="Texts that end the sample.")
    seed: Annotated[int | None, Whole(none=True)] = Field(
        default=None, description="null: another each time; while training, always the same."
    )
    n: Annotated[int, Whole(least=1)] = Field(default=1, description="Samples per prompt.")


class Metrics(Section):
    """The figures that are written down on the way."""

    log_every: Annotated[int, Whole(least=1)] = Field(default=10, description="Steps between lines of metrics.jsonl.")
    trackers: Annotated[tuple[str, ...], Texts(apart=True)] = Field(
        default=(),
        description="Where they are sent too: csv, tensorboard, wandb, trackio, mlflow, the last three with a project "
        "as wandb:my-project.",
    )
    tracker_finish: Annotated[float, Duration()] = Field(
        default=20.0, description="Seconds that a run waits at its end until trackers have the rest."
    )


class Finetune(Section):
    """What `pylm finetune` makes of a model that is trained."""

    @property
    def adapts(self) -> bool:
        """Whether adapters learn, and not the weights."""
        return self.method in ("lora", "dpo-lora")

    @property
    def prefers(self) -> bool:
        """Whether pairs of answers are learned from."""
        return self.method in ("dpo", "dpo-lora")

    dataset: Annotated[str | None, Text(none=True)] = Field(
        default=None, description="Examples: a file, a dataset by name, hub:ORG/NAME, or a folder of them as tokens."
    )
    val_dataset: Annotated[str | None, Text(none=True)] = Field(
        default=None, description="Other examples that are held out. null: one in twenty of the dataset's, by its hash."
    )
    method: Annotated[Literal["full", "lora", "dpo", "dpo-lora"], Word(of=("full", "lora", "dpo", "dpo-lora"))] = Field(
        default="full",
        description="What learns. full: the weights; lora: adapters beside them; dpo, dpo-lora: the same by pairs.",
    )
    template: Annotated[str | None, Text(none=True)] = Field(
        default=None, description="chatml, plain or a file. null: the checkpoint's, else chatml for messages."
    )
    overflow: Annotated[Literal["cut-prompt", "drop", "error"], Word(of=("cut-prompt", "drop", "error"))] = Field(
        default="cut-prompt",
        description="What becomes of an example longer than the context. cut-prompt: its prompt loses its beginning.",
    )
    freeze: Annotated[tuple[str, ...], Texts()] = Field(
        default=(), description="What stays as it is: embeddings, layers:0-5, layers:3, norms, head."
    )
    dpo_beta: Annotated[float, Real(above=0.0)] = Field(
        default=0.1, description="How near to the model that it begins with dpo stays: the nearer the larger."
    )
    lora_rank: Annotated[int, Whole(least=1)] = Field(default=16, description="Rank of an adapter.")
    lora_alpha: Annotated[float, Real(above=0.0)] = Field(
        default=32.0, description="An adapter counts this over its rank."
    )
    lora_dropout: Annotated[float, Real(least=0.0, below=1.0)] = Field(
        default=0.0, description="Share of an adapter's inputs dropped."
    )
    lora_targets: Annotated[tuple[str, ...] | None, Texts(none=True)] = Field(
        default=None, description="What gets adapters. null: every linear of the blocks."
    )


class Eval(Section):
    """The questions that a model is asked while it is trained."""

    tasks: Annotated[tuple[str, ...], Texts(apart=True)] = Field(
        default=(), description="Files or names of tasks, as `pylm eval` finds them: a,b."
    )
    suite: Annotated[str | None, Text(none=True)] = Field(
        default=None, description="Tasks by one name: quick (about a minute at 25M parameters), core, olmes, or a file."
    )
    suite_every: Annotated[int | Literal["auto"] | None, Whole(least=1, auto=True, none=True)] = Field(
        default=None,
        description="Steps between times that suite and tasks are asked; at the end they are asked too. auto: at each "
        "evaluation. null: at the end only.",
    )
    limit: PositiveOrNone = Field(default=None, description="Questions of a task at most. null: as the suite says.")
    prefix: Annotated[Literal["eot", "none"], Word(of=("eot", "none"))] = Field(
        default="eot", description="What stands before each context: the end of text, or nothing."
    )


class Config(Section):
    """The whole configuration: every section."""

    model: Model = Model()
    train: Train = Train()
    data: Data = Data()
    sample: Sample = Sample()
    metrics: Metrics = Metrics()
    finetune: Finetune = Finetune()
    eval: Eval = Eval()

    @model_validator(mode="after")
    def _batch_agrees(self) -> Config:
        model = self.model
        # a shape that is still open derives its context_length: what was not said cannot disagree
        if model.n_layers or model.n_heads or model.d_model or "context_length" in model.model_fields_set:
            self.batch()
        return self

    def batch(self, world: int | None = None) -> Batch:
        """Work out the batch: two of batch_tokens, micro_batch and grad_accum_steps fix the third.

        Args:
            world: devices that share a step; None where that is not known yet.
        """
        train = self.train
        micro = None if train.micro_batch == "auto" else train.micro_batch
        return plan_batch(train.batch_tokens, micro, train.grad_accum_steps, self.model.context_length, world)


SECTIONS: dict[str, type[Section]] = {
    "model": Model,
    "train": Train,
    "data": Data,
    "sample": Sample,
    "metrics": Metrics,
    "finetune": Finetune,
    "eval": Eval,
}


def json_schema() -> dict[str, Any]:
    """Describe configuration files to an editor; `extends` may stand beside the sections."""
    schema = Config.model_json_schema()
    text = {"type": "string"}
    schema["properties"] = {
        "extends": {
            "anyOf": [text, {"type": "array", "items": text}],
            "description": "A preset or another file, or several, whose values hold where this file is silent.",
        },
        **schema["properties"],
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "pylm configuration"}
