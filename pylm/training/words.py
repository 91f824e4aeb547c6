"""The sentences of training, made from its events and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pylm.config.units import format_count, format_duration
from pylm.training.events import (
    Answers,
    Asked,
    Branched,
    Ended,
    Evaluated,
    Event,
    Incident,
    Inexact,
    Initialised,
    Note,
    NothingToResume,
    NoValidation,
    Resumed,
    Sampled,
    Sized,
    Started,
    StartedOver,
    Superseded,
    Tokenized,
    TrackerDropped,
)
from pylm.training.plan import Batches, Length
from pylm.wording import call

__all__ = ["said"]

SHOWN = 200  # characters of a sample


def said(event: Event) -> list[str]:
    """Return the lines that say an event, for a reader; none for what nobody needs to keep."""
    match event:
        case Note(text) | NoValidation(text) | Sized(text):
            return [text]
        case Tokenized(sources, folder, reused):
            return [] if reused else [f"{' '.join(sources)} is tokenized: {folder}"]
        case NothingToResume(None):
            return ["nothing to resume: there is no run with a checkpoint yet, starting at step 0"]
        case NothingToResume(run):
            return [f"nothing to resume: {run} has no checkpoint yet, starting at step 0"]
        case Superseded(run, damaged, used):
            return [f"{run}: {damaged} is damaged, going on from {used}"]
        case Inexact(changed):
            what = "; ".join(f"{key} was {before}, is {now}" for key, before, now in changed)
            return [f"going on, not the same to the bit: {what}"]
        case Initialised(checkpoint, optimizer, inherited):
            return [_inherited(checkpoint, optimizer, inherited)]
        case StartedOver(removed):
            return [f"starting at step 0: {_again(removed, 'without a checkpoint')}"]
        case Resumed(step, removed):
            again = f", {_again(removed, 'past it')}" if removed else ""
            return [f"going on from step {step:,}{again}"]
        case Branched(checkpoint):
            return [f"a branch of {checkpoint}"]
        case Started():
            return _header(event)
        case Evaluated():
            bits = "" if event.bits_per_byte is None else f", {event.bits_per_byte:.4f} bits a byte"
            average = "" if event.average_val_loss is None else f", {event.average_val_loss:.4f} with the average"
            return [
                f"step {event.step:,}: validation loss {event.loss:.4f}{average}, perplexity {event.perplexity:.2f}, "
                f"accuracy {100 * event.accuracy:.1f} %{bits}{', the best so far' if event.best else ''}"
            ]
        case Asked(step, answers, average):
            beside = "" if average is None else f"; with the average: {_answers(average)}"
            return [f"step {step:,}: {answers.suite}: {_answers(answers)}{beside}"]
        case Sampled():
            return _samples(event)
        case Incident(step, "spike", loss, run):
            return [f"step {step:,}: the loss jumped to {loss:.3f}: {call('why', run, step)}"]
        case Incident(step):
            return [f"step {step:,}: loss or gradient is not finite, the step was skipped"]
        case TrackerDropped(_, tracker, why, run):
            again = call("runs track", run, to=tracker)
            return [f"the tracker {tracker} is done without ({why}); {again} sends it what it lacks"]
        case Ended():
            return _closing(event)
    return []


def _inherited(checkpoint: Path, optimizer: bool, inherited: Mapping[str, Any]) -> str:
    """Return what a run takes over of another's checkpoint, and what it does not."""
    shown = {key: f"{value:g}" if isinstance(value, float) else value for key, value in inherited.items()}
    keys = "".join(f", {key} {value}" for key, value in shown.items())
    if optimizer:
        return f"weights and optimizer of {checkpoint}{keys}; schedule and data are fresh"
    return f"weights of {checkpoint}{keys}; optimizer, schedule and data are fresh"


def _closing(event: Ended) -> list[str]:
    """Return how it ended, where it lies, and the call that writes with it."""
    run, step = event.run, event.step
    if event.already:
        return [f"{run} is finished already: {event.why}"]
    loss = "" if event.val_loss is None else f", validation loss {event.val_loss:.4f}"
    if event.best_loss is not None and event.best_step is not None and event.best_step != step:
        loss += f" (best {event.best_loss:.4f} at step {event.best_step:,})"
    why = "" if event.why == f"{step:,} steps" else f"; {event.why}"
    lines = [
        f"trained {_counted(step, 'step')}, {event.tokens:,} tokens in {format_duration(event.seconds)}{loss}{why}",
        f"saved in {run}",
    ]
    writes = next(run.glob("checkpoints/step_*/tokenizer.json"), None)  # without which it reads and writes but numbers
    return lines if writes is None else [*lines, call(_what_writes(writes.parent), checkpoint=run)]


def _what_writes(checkpoint: Path) -> str:
    """Return the command that writes with a model: `chat` where a template asked it as a user does."""
    from pylm.data.open import tokenizer_of
    from pylm.generation.load import was_tuned_by_template

    tokenizer = tokenizer_of(str(checkpoint))
    return "chat" if tokenizer and was_tuned_by_template(checkpoint, tokenizer.chat_template) else "sample"


def _answers(answers: Answers) -> str:
    """Return the score, and the mean over the tasks of each metric, a task that is alone in it by its name."""
    if not answers.means:
        return "no number, for the weights are not finite"
    said = [f"{name} {value:.4f}" for name, value in answers.score.items()]
    for metric, mean in answers.means.items():
        tasks = [task for task, of in answers.metrics.items() if of == metric]
        alone = len(tasks) == 1
        said.append(f"{tasks[0]} {metric} {mean:.4f}" if alone else f"{metric} {mean:.4f} over {len(tasks)} tasks")
    return ", ".join(said)


def _samples(event: Sampled) -> list[str]:
    """Return the first sample of each prompt, in one line."""
    first: dict[str, str] = {}
    for sample in event.samples:
        first.setdefault(" ".join(sample["prompt"].split()), " ".join(sample["text"].split())[:SHOWN])
    return [
        f"step {event.step:,} {f'after {prompt!r}' if prompt else 'from nothing'}: {text}"
        for prompt, text in first.items()
    ]


def _header(event: Started) -> list[str]:
    """Return what a run will do, each line with its subject first."""
    shape, choices = event.shape, event.choices
    kernels = sorted({backend for backend in choices.get("kernels", {}).values()} - {"reference"})
    peak = choices["matmul_flops"]
    rows = [
        (
            "model",
            f"{format_count(event.parameters)} parameters: {_counted(shape.n_layers, 'layer')}, {shape.d_model} wide, "
            f"{_counted(shape.n_heads, 'head')}, context {shape.context_length:,}, vocabulary {shape.vocab_size:,}",
        ),
        ("data", f"{format_count(event.tokens)} tokens to train on, {_windows(event.windows, shape.context_length)}"),
        (
            "machine",
            f"{_place(event)}, {choices['precision']}, {_kernels(kernels)}"
            + (f"; its matrix products reach {peak / 1e12:.2g} Tflop/s" if peak else ""),
        ),
        ("compile", f"{'compiled' if choices['compile'] else 'not compiled'} ({choices['compile_why']})"),
        *([("parallel", f"{choices['parallel']}: {choices['parallel_why']}")] if "parallel" in choices else []),
        ("batch", str(event.batches)),
        ("length", _length(event.length, event.batches, choices.get("seconds_per_step"))),
        ("rate", str(event.schedule)),
        ("run", str(event.run)),
    ]
    if (warning := event.schedule.warning()) is not None:
        rows.append(("note", warning))
    return [f"{name:<8} {text}" for name, text in rows]


def _windows(count: int, context_length: int) -> str:
    return f"{_counted(count, 'window')} of {context_length:,} an epoch"


def _again(lines: int, which: str) -> str:
    return f"{lines} line{'s' * (lines != 1)} of metrics {which} {'is' if lines == 1 else 'are'} made again"


def _counted(count: int | None, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _kernels(names: list[str]) -> str:
    return f"kernels: {', '.join(names) or 'reference'}"


def _length(length: Length, batches: Batches, seconds_per_step: float | None) -> str:
    """Steps, tokens, about how long that takes here, and what said so."""
    text = f"{_counted(length.steps, 'step')}, {format_count(length.steps * batches.tokens)} tokens"
    if length.most is None and length.seconds is not None:
        return f"{format_duration(length.seconds)}, about {text}: {length.why}"
    if seconds_per_step:
        seconds = length.steps * seconds_per_step
        seconds = seconds if length.seconds is None else min(seconds, length.seconds)
        text += f", about {_about(seconds)}"
    return f"{text}: {length.why}"


def _about(seconds: float) -> str:
    """A time that is only foreseen: its largest unit."""
    return " ".join(format_duration(max(round(seconds), 1)).replace(".0 s", " s").split()[:2])


def _place(event: Started) -> str:
    """Say where it is computed."""
    choices, device = event.choices, event.device
    if event.backend == "torch":
        threads = f"{choices['threads']} thread{'' if choices['threads'] == 1 else 's'}"
        return f"{device} ({choices['device_name']}, {threads})"
    slow = ": for correctness only, MLX is made for Apple GPUs" if device == "cpu" else ""
    return f"MLX {choices['mlx']} on the {device} ({choices['device_name']}){slow}"
