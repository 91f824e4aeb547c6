"""What nobody gave of a tuning: its rate, from that of the base; the batch, the length, how often it is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pylm.config.cascade import DEFAULT, Resolved
from pylm.config.shape import count_parameters
from pylm.finetuning.events import Derived
from pylm.training.continued import LENGTHS
from pylm.training.plan import default_batch_tokens, sequences_of_step
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.config.schema import Finetune
    from pylm.finetuning.base import Base

__all__ = ["derived", "origin_of"]

EPOCHS = 2.0
FACTOR = 0.2  # of the peak that a model was trained with
LORA_FACTOR = 10.0  # of what full tuning takes: adapters begin at nothing
DPO_FACTOR = 0.05  # likewise: TRL tunes at 2e-5 and prefers at 1e-6
FACTORS = {"full": 1.0, "lora": LORA_FACTOR, "dpo": DPO_FACTOR, "dpo-lora": LORA_FACTOR * DPO_FACTOR}
FOR_ADAPTERS, FOR_PAIRS = f", times {LORA_FACTOR:g} for adapters", f", times {DPO_FACTOR:g} for pairs"
WHAT_FOR = {"full": "", "lora": FOR_ADAPTERS, "dpo": FOR_PAIRS, "dpo-lora": FOR_ADAPTERS + FOR_PAIRS}
UNKNOWN_RATE = 1e-4  # where nothing says what the model was trained with
STEPS_OF_EPOCH = 50  # at least, where there are as many windows: few examples are not one step
LOOKS_OF_EPOCH = 2
OF_BATCH = ("batch_tokens", "grad_accum_steps")
OF_OPTIMIZER = ("optimizer", "betas", "weight_decay", "grad_clip")
OF_GROUPS = ("embed_lr", "head_lr", "scalar_lr")


def origin_of(base: Base) -> str:
    """Return where an error says that a derived value is from."""
    return param("checkpoint", base.path)


def derived(resolved: Resolved, base: Base, windows: int, processes: int = 1) -> tuple[dict[str, Any], Derived]:
    """Return the values of keys that nobody gave, and what is to be said of them.

    Args:
        resolved: what was given.
        base: the model that is tuned.
        windows: of the examples, an epoch.
        processes: that share each step.
    """
    tuning, context = resolved.config.finetune, base.context_length(resolved)
    rates, said = _rates(resolved, base, tuning)
    train = resolved.config.train
    sequences = _sequences(base, context, windows)
    whole = processes * (train.micro_batch if isinstance(train.micro_batch, int) else 1)
    sequences = -(-sequences // whole) * whole  # a step is whole passes, and as many of them in each process
    values: dict[str, Any] = {**rates, "train.schedule": "linear", "data.window": "packed", "train.eval_batches": None}
    if not tuning.adapts and base.train is not None:
        values |= {f"train.{key}": getattr(base.train, key) for key in OF_OPTIMIZER}
    if all(getattr(train, key) is None for key in LENGTHS):
        values["train.max_epochs"] = EPOCHS
    batch = ""
    if all(resolved.origin(f"train.{key}") == DEFAULT for key in OF_BATCH):
        values["train.batch_tokens"] = sequences * context
        batch = f"; {sequences * context:,} tokens a step, {sequences:,} of {windows:,} windows"
    else:
        sequences = sequences_of_step(train, context, count_parameters(base.shape)) or sequences
    values["train.eval_every"] = max(windows // sequences // LOOKS_OF_EPOCH, 1)
    rate = values.get("train.learning_rate", resolved.config.train.learning_rate)
    if resolved.origin("train.learning_rate") != DEFAULT:
        rate, said = resolved.config.train.learning_rate, "as given"
    peak = None if base.train is None else base.train.peak
    factor = rate / peak if peak and isinstance(rate, float) else None
    text = f"learning rate {rate:.3g}, {said}" if isinstance(rate, float) else f"learning rate {rate}"
    return values, Derived(text + batch, rate, peak, factor, sequences * context)


def _rates(resolved: Resolved, base: Base, tuning: Finetune) -> tuple[dict[str, Any], str]:
    """Return the learning rates, and in words where they are from."""
    lora, more, ten = tuning.adapts, FACTORS[tuning.method], WHAT_FOR[tuning.method]
    if base.train is None:
        return {
            "train.learning_rate": UNKNOWN_RATE * more
        }, f"as {base.path} does not say what it was trained with{ten}"
    if lora and base.tuned_by not in ("lora", "dpo-lora") and base.train.optimizer != "adamw":
        said = f"as {base.path} was trained by {base.train.optimizer}, and adapters are by AdamW{ten}"
        return {"train.learning_rate": UNKNOWN_RATE * more}, said
    peak = base.train.peak
    if base.tuned_by is None:
        rate, said = FACTOR * peak, f"{FACTOR:g} of the {peak:.3g} at which {base.path} was trained"
    else:
        rate = peak / FACTORS[base.tuned_by]
        said = f"from the {peak:.3g} at which {base.path} was tuned by {base.tuned_by}"
    given = resolved.config.train.learning_rate
    if resolved.origin("train.learning_rate") != DEFAULT and isinstance(given, float):
        rate = given / more
    groups = {
        f"train.{key}": rate * more / peak * own for key in OF_GROUPS if (own := getattr(base.train, key)) is not None
    }
    return {"train.learning_rate": rate * more, **({} if lora else groups)}, f"{said}{ten}"


def _sequences(base: Base, context: int, windows: int) -> int:
    """Return the sequences of a step: the base's, but so few that an epoch has some steps."""
    theirs = base.sequences or max(default_batch_tokens(count_parameters(base.shape)) // context, 1)
    return max(min(theirs * base.shape.context_length // context or 1, windows // STEPS_OF_EPOCH), 1)
