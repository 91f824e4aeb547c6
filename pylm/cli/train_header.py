"""What a run will do, in the words that are printed before its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pylm.cli.train_backend import place
from pylm.config.units import format_count, format_duration

if TYPE_CHECKING:
    from pylm.config.schema import Model as Shape
    from pylm.data import Loader
    from pylm.runs import RunFolder
    from pylm.training.backend import Backend
    from pylm.training.plan import Batches, Length
    from pylm.training.schedule import Schedule

__all__ = ["header"]


def header(
    shape: Shape,
    parameters: int,
    loader: Loader,
    backend: Backend,
    choices: dict[str, Any],
    batches: Batches,
    length: Length,
    schedule: Schedule,
    run: RunFolder,
) -> list[str]:
    """The lines, each with its subject first."""
    kernels = sorted({backend for backend in choices.get("kernels", {}).values()} - {"reference"})
    peak = choices["matmul_flops"]
    rows = [
        (
            "model",
            f"{format_count(parameters)} parameters: {_counted(shape.n_layers, 'layer')}, {shape.d_model} wide, "
            f"{_counted(shape.n_heads, 'head')}, context {shape.context_length:,}, vocabulary {shape.vocab_size:,}",
        ),
        ("data", f"{format_count(loader.tokens)} tokens to train on, {_windows(loader.windows, shape.context_length)}"),
        (
            "machine",
            f"{place(backend, choices)}, {choices['precision']}, {_kernels(kernels)}"
            + (f"; its matrix products reach {peak / 1e12:.2g} Tflop/s" if peak else ""),
        ),
        ("compile", f"{'compiled' if choices['compile'] else 'not compiled'} ({choices['compile_why']})"),
        ("batch", str(batches)),
        ("length", _length(length, batches, choices.get("seconds_per_step"))),
        ("rate", str(schedule)),
        ("run", str(run.path)),
    ]
    if (warning := schedule.warning()) is not None:
        rows.append(("note", warning))
    return [f"{name:<8} {text}" for name, text in rows]


def _windows(count: int, context_length: int) -> str:
    return f"{_counted(count, 'window')} of {context_length:,} an epoch"


def _counted(count: int | None, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _kernels(names: list[str]) -> str:
    return f"kernels: {', '.join(names) or 'reference'}"


def _length(length: Length, batches: Batches, seconds_per_step: float | None) -> str:
    """Steps, tokens, about how long that takes here, and what said so."""
    text = f"{_counted(length.steps, 'step')}, {format_count(length.steps * batches.tokens)} tokens"
    if seconds_per_step:
        seconds = length.steps * seconds_per_step
        seconds = seconds if length.seconds is None else min(seconds, length.seconds)
        text += f", about {_about(seconds)}"
    return f"{text}: {length.why}"


def _about(seconds: float) -> str:
    """A time that is only foreseen: its largest unit."""
    return " ".join(format_duration(max(round(seconds), 1)).replace(".0 s", " s").split()[:2])
