"""`pylm.evaluate`: a checkpoint and what it is judged by in, an `Evaluation` out."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pylm.checkpoint.directory import AVERAGE
from pylm.errors import UsageError, did_you_mean
from pylm.evaluation.asking import Asked
from pylm.evaluation.breakdown import BREAKDOWNS, ByConfidence, breakdown_of
from pylm.evaluation.judged import Judged, by_examples, by_shards, by_text, is_shards, of_ours, own_data
from pylm.evaluation.losses import Reader
from pylm.evaluation.reading import read
from pylm.evaluation.results import EVALUATIONS, Evaluation, apart, append, keep, perplexity, ready
from pylm.evaluation.scoring import Scorer
from pylm.evaluation.tally import Tally, TextLengths
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.evaluation.tally import Units
    from pylm.evaluation.tasks import Task, TaskResult, Told
    from pylm.generation.load import Opened

__all__ = ["checkpoint_of", "evaluate"]

PREFIXES = ("eot", "none")
Progress = Callable[[int, "int | None"], object]
Path_ = str | os.PathLike[str]


def evaluate(
    run: Path_ | None = None,
    *,
    checkpoint: str | None = None,
    data: Any = None,
    examples: Any = None,
    split: str = "val",
    by_document: bool = False,
    stride: int | None = None,
    by: str | Sequence[str] = (),
    limit: int | None = None,
    prefix: str = "eot",
    tasks: str | Task | Sequence[str | Task] = (),
    suite: str | None = None,
    shots: int | None = None,
    harness: str | Sequence[str] = (),
    include_path: Path_ | None = None,
    texts: int | None = None,
    tokenizer: str | None = None,
    backend: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    quantize: str = "none",
    threads: int = 0,
    verify: bool = True,
    out: Path_ | None = None,
    progress: Progress = lambda done, total: None,
    told: Told = lambda task, done, all_of_them: None,
    say: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Return what a model is worth: its loss on text that it was not trained on, in several measures, or its tasks.

    ::

        pylm.evaluate("runs/a").bits_per_byte
        pylm.evaluate("runs/a", data="val.txt").perplexity
        pylm.evaluate("runs/a", tasks=["arc_easy"]).tasks[0].metrics["acc_norm"]
        pylm.evaluate("runs/a", suite="core").suite.score

    Where tasks are asked for, losses are measured only if their data or another option of theirs is named as well.

    What was found is appended to the run's evaluations.jsonl.

    Args:
        run: A run or any other CHECKPOINT; None for the newest run's best.
        checkpoint: Which of the run's: best, last or step_500.
        data: A folder of shards, or text: whatever `pylm.data.source` takes, which the model's own tokenizer reads, by
            document. None for the validation split that the run was judged by. Shards of examples are judged by
            what counts of them, and their answers are written and compared.
        examples: A dataset of examples, as `pylm.finetune` takes them, which the model answers.
        split: Of a folder of shards: val or train.
        by_document: Whether shards are read document by document, each from its first token, and not in the windows
            that training has.
        stride: Of documents that are longer than the context: how many targets a window has; the fewer, the more
            context has each. The context's length if not given: lm-evaluation-harness's rolling windows.
        by: What the loss is broken down by: position, frequency, confidence.
        limit: How many windows, documents, examples, or questions of each task, at most; 200 answers if not given.
        prefix: What documents and contexts begin after: eot, or none for nothing.
        tasks: Names or files of tasks, or a `pylm.evaluation.tasks.Task` that says more of itself.
        suite: quick, core, olmes, or the file of one.
        shots: How many examples stand before each question of the tasks that are named.
        harness: Tasks of lm-evaluation-harness.
        include_path: A folder with more of the harness's tasks, whose code may run.
        texts: How many texts the model writes from nothing; what they are like, and what of them it has from its
            training shards.
        tokenizer: For a checkpoint that carries none.
        backend: auto, torch, mlx, or native for the C++ engine.
        device: auto, cpu, cuda, cuda:N or mps.
        dtype: auto, fp32 or bf16.
        quantize: none, bf16, int8 or int4, for the C++ engine.
        threads: 0 for one a core.
        verify: Whether weights that have a manifest are checked against it, once a file.
        out: The file that results are appended to; the run's evaluations.jsonl if not given.
        progress: Called with the tokens that are done, and how many there are where that is known.
        told: Called with a task's name, how many of its continuations are done, and how many there are.
        say: Told what a user wants to read.
    """
    from pylm.generation.load import folder_of, open_model

    by = [by] if isinstance(by, str) else list(by)
    _refuse(by, split, prefix, limit, stride, texts)
    asked = Asked.of(tasks, suite, harness, shots, include_path, texts)
    if examples is not None and data is not None:
        raise UsageError(f"{param('examples')} and {param('data')} both say what to judge by", "give one of the two")
    with_losses = (
        not asked
        or data is not None
        or examples is not None
        or bool(by)
        or by_document
        or stride is not None
        or split != "val"
    )
    if limit is not None and not with_losses and not asked.has_questions:
        raise UsageError(
            f"{param('limit')} is for windows, documents and questions", f"{param('texts')} itself says how many"
        )
    place = _place(folder_of(checkpoint_of(run, checkpoint)), out)
    if place is not None:
        ready(place)
    questions = asked.prepare(limit)
    if place is not None:
        apart(place, [data, *questions.files])
    opened = open_model(
        checkpoint_of(run, checkpoint),
        tokenizer=tokenizer, backend=backend, device=device, dtype=dtype, quantize=quantize, threads=threads,
        verify=verify, say=say, writes=False,
    )  # fmt: skip
    ours = of_ours(opened.folder)
    found = Evaluation(
        checkpoint=opened.folder,
        step=None if ours is None else ours.step,
        engine=opened.engine.name,
        settings={"prefix": prefix, "limit": limit},
    )
    answers: list[TaskResult] = []
    if with_losses:
        if examples is not None:
            judged = by_examples(opened, examples, limit)
        elif data is None:
            judged = own_data(opened, split, by_document, stride, prefix, limit, say)
        elif is_shards(data):
            judged = by_shards(opened, os.fspath(data), split, by_document, stride, prefix, limit)
        else:
            judged = by_text(opened, data, stride, prefix, limit)
        found = _with_losses(found, opened, judged, by, progress)
        answers = _answers(opened, judged, found.settings, limit, told)
    found = questions.of_model(found, opened, prefix, told, say)
    found = replace(found, tasks=[*answers, *found.tasks])
    if place is not None:
        records = list(found.records())
        append(place, records)
        if out is None:
            keep(place.parent, found, records)
    return found


def checkpoint_of(run: Path_ | None, checkpoint: str | None) -> str | None:
    """Return the CHECKPOINT that a run and one of its names mean."""
    if run is None:
        return checkpoint
    return os.fspath(run) if checkpoint is None else f"{os.fspath(run)}/{checkpoint}"


def _refuse(
    by: Sequence[str], split: str, prefix: str, limit: int | None, stride: int | None, texts: int | None
) -> None:
    """Refuse, in one sentence, what cannot be, before anything is read."""
    named: list[tuple[str, str, Iterable[str]]] = [("by", each, BREAKDOWNS) for each in by]
    for name, value, known in (*named, ("split", split, ("val", "train")), ("prefix", prefix, PREFIXES)):
        if value not in known:
            raise UsageError(f"{name} is {value!r}", did_you_mean(value, known) or f"choose {' or '.join(known)}")
    for name, number in (("limit", limit), ("stride", stride), ("texts", texts)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise UsageError(f"{name} is {number!r}", "give a whole number from 1 on")


def _with_losses(
    found: Evaluation, opened: Opened, judged: Judged, by: Sequence[str], progress: Progress
) -> Evaluation:
    engine = opened.engine
    lengths = None if opened.tokenizer is None else TextLengths.of(opened.tokenizer)
    sure = ByConfidence()
    asked = {name: sure if name == "confidence" else breakdown_of(name, engine.context_length, engine.vocab_size)
             for name in by}  # fmt: skip
    tally = Tally(lengths, list({id(each): each for each in (sure, *asked.values())}.values()))
    read(judged.passages, Reader(engine), tally, lambda done: progress(done, judged.tokens))
    if not tally.tokens:
        raise judged.empty()
    units = tally.units()
    bits = tally.bits
    return replace(
        found,
        settings={**judged.settings(), "context_length": engine.context_length},
        data=judged.name,
        loss=tally.loss,
        perplexity=perplexity(tally.loss),
        accuracy=tally.correct / tally.tokens,
        bits_per_byte=bits.bits_per_byte,
        bits_per_byte_with_eot=bits.bits_per_byte_with_eot,
        bits_per_character=tally.bits_per_character,
        calibration_error=sure.error(),
        stderr=_errors(units),
        tokens=tally.tokens,
        bytes=tally.bytes,
        characters=None if tally.bytes is None else tally.characters,
        by={name: each.bins() for name, each in asked.items()},
        units=units,
    )


def _answers(
    opened: Opened, judged: Judged, settings: Mapping[str, Any], limit: int | None, told: Told
) -> list[TaskResult]:
    """Return what the model answers where it is judged by examples."""
    if judged.examples is None or opened.tokenizer is None:
        return []
    from pylm.evaluation.answered import answered
    from pylm.evaluation.classified import classified

    results = [answered(opened, judged.examples(), settings, limit, told)]
    if judged.labels:
        results.insert(0, classified(Scorer.of(opened), judged.examples(), judged.labels, settings, told))
    return [result for result in results if result is not None]


def _errors(units: Units) -> dict[str, float]:
    """Return the standard errors of means over documents of several sizes: tokens of one document go together."""
    count = len(units.keys)
    if count < 2:
        return {}
    ratios = {"loss": (units.nats, units.tokens, 1.0), "accuracy": (units.correct, units.tokens, 1.0)}
    if units.bytes.any():
        ratios["bits_per_byte"] = (units.text_nats, units.bytes, math.log(2))
    made = {}
    for name, (above, below, unit) in ratios.items():
        off = above - below * (above.sum() / below.sum())
        made[name] = float(np.sqrt(np.square(off).sum() * count / (count - 1)) / below.sum() / unit)
    return made


def _place(folder: Path, out: Path_ | None) -> Path | None:
    """Return where results are kept: in the run, or where somebody said; nowhere beside weights of others."""
    if out is not None:
        return Path(out)
    step = folder.resolve().parent if folder.name == AVERAGE else folder.resolve()
    is_ours = step.parent.name == "checkpoints" and (folder / "manifest.json").is_file()
    return step.parent.parent / EVALUATIONS if is_ours else None
