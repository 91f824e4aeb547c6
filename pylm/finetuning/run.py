"""From examples and a checkpoint to a tuned model: the order in which it is made.

base → examples as tokens → what nobody gave → training's function, with a request of its own. A run that goes on has
all of that behind it, and is training's alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.config.cascade import DEFAULT
from pylm.errors import UsageError
from pylm.finetuning.base import open_base
from pylm.finetuning.begun import begun_run
from pylm.finetuning.derived import derived, origin_of
from pylm.finetuning.examples import examples_of
from pylm.finetuning.judge import judge_once
from pylm.runs import Stop
from pylm.training.launch.rank import train as train_rank
from pylm.training.on_incident import program_of
from pylm.training.ranks import Ranks
from pylm.training.request import Request
from pylm.training.run import train
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.config.cascade import Resolved
    from pylm.finetuning.base import Base
    from pylm.finetuning.begun import Begun
    from pylm.finetuning.examples import Examples
    from pylm.finetuning.request import Tuning
    from pylm.runs import Run
    from pylm.training.events import Event

__all__ = ["finetune"]

OnEvent = Callable[["Event"], None]
# What says where training data is: examples are named otherwise
OF_TRAINING = {
    "data.path": "dataset", "data.mix": "dataset", "data.sources": "dataset", "data.val": "val_dataset",
    "data.tokenizer": None, "data.clean": None, "data.stride": None,
}  # fmt: skip
OF_METHODS = {
    "lora_": ("lora", "dpo-lora", "adapters, and none is trained"),
    "dpo_": ("dpo", "dpo-lora", "pairs of answers, and none are learned from"),
}


def finetune(
    request: Tuning,
    on_event: OnEvent = lambda event: None,
    *,
    stop: Stop | None = None,
    wants_step: Callable[[], bool] = lambda: True,
) -> Run:
    """Tune what was asked for, or go on with it, to the end; the arguments are those of `pylm.training.run.train`."""
    _refuse_of_training(request)
    _asked(request, request.out).check()  # what training would refuse once the examples are read
    program_of(request.on_incident)

    def tune(asked: Request, on_event: OnEvent, *, stop: Stop, wants_step: Callable[[], bool], store: Any) -> Run:
        how = replace(request, resume=asked.resume, given=asked.given)  # of a new start of the same line
        with Ranks.meet(asked, stop, store) as ranks:
            return _tune(how, ranks, on_event, stop, wants_step)

    # the checkpoint is what a new run begins with, and what one that goes on has begun with
    asked = _asked(request, request.out, resume=request.resume, init_from=request.checkpoint)
    return train_rank(asked, on_event, stop=stop or Stop(), wants_step=wants_step, work=tune)


def _tune(request: Tuning, ranks: Ranks, on_event: OnEvent, stop: Stop, wants_step: Callable[[], bool]) -> Run:
    """Do so in each process of a run: the first one reads the examples, and judges what came of them."""
    hears = on_event if ranks.world.leads else lambda event: None
    begun = begun_run(request, hears)
    if begun is not None and begun.has_checkpoint:
        begun.refuse_another_base(request.checkpoint)
        asked = _asked(request, request.out, resume=request.resume)
    else:
        made = ranks.led(lambda: _prepared(request, begun, hears, ranks.world.size))
        asked = made or _prepared(request, begun, hears, ranks.world.size)  # what the first has made tokens is there
        ranks.same([asked.init_from, asked.data], "the base and the examples", "give all processes the same files")
    run = train(asked, on_event, stop=stop, wants_step=wants_step, ranks=ranks)
    if not run.config.finetune.prefers:  # pairs hold no answer that would be the right one
        ranks.led(lambda: judge_once(run.path, on_event, stop))
        ranks.exchange([[0.0]])  # the first one, which keeps the store, leaves when all have heard that it is done
    return run


def _prepared(request: Tuning, begun: Begun | None, on_event: OnEvent, processes: int) -> Request:
    """Return the request of a run that begins: its examples are tokens, and its keys are complete."""
    given = request.given if begun is None else begun.given(request)
    resolved = given.resolve()  # what is wrong with it is said before anything is read
    if resolved.config.finetune.prefers and resolved.config.data.window == "contiguous":
        if resolved.origin("data.window") != DEFAULT:
            raise UsageError(f"{param('window', 'contiguous')} cuts pairs of answers apart", "leave it out")
    _refuse_of_others(request, resolved)
    if resolved.config.finetune.adapts and resolved.config.train.parallel == "fsdp":
        raise UsageError(
            f"{param('parallel', 'fsdp')} trains no adapters: each process has all of their base",
            f"{param('parallel', 'ddp')} does",
        )
    base = open_base(request.checkpoint if begun is None else str(begun.base))
    _refuse_keeping(resolved, base)
    examples = examples_of(resolved, base, on_event)
    if examples.new_tokens:
        _refuse_keeping(resolved, base, "tokens are new")
    values, said = derived(resolved, base, _windows(examples, resolved, base), processes)
    on_event(said)
    shape = {f"model.{key}": value for key, value in base.shape.model_dump(exclude={"vocab_size"}).items()}
    how = {"init_from": str(base.path)} if begun is None else {"resume": "auto"}
    return replace(
        _asked(request, request.out or _default_out(base), **how),
        data=str(examples.folder),
        new_tokens=examples.new_tokens,
        open_keys={**shape, **values, "finetune.template": examples.template},
        open_keys_from=origin_of(base),
    )


def _refuse_keeping(resolved: Resolved, base: Base, why: str | None = None) -> None:
    """Refuse the base's moments where what learns is not all that the base has; `why` is found out by the caller."""
    how = resolved.config.finetune
    why = why or ("parts are frozen" if how.freeze else "an adapter is new" if how.adapts else None)
    if why is not None and resolved.config.train.optimizer_state == "keep":
        raise UsageError(
            f"{param('optimizer_state', 'keep')} takes the moments of {base.path} as they are, and {why} here",
            f"{param('optimizer_state', 'fresh')} begins with its weights alone",
        )


def _refuse_of_others(request: Tuning, resolved: Resolved) -> None:
    """Refuse what says how another method learns: it would do nothing."""
    method = resolved.config.finetune.method
    for key, _, origin in request.given.settings:
        for beginning, (one, both, what) in OF_METHODS.items():
            if key.removeprefix("finetune.").startswith(beginning) and method not in (one, both):
                raise UsageError(f"{key} ({origin}) is of {what}", param("method", one if method == "full" else both))


def _asked(request: Tuning, out: Path | None, **how: Any) -> Request:
    return Request(given=request.given, out=out, allow_inexact=request.allow_inexact, argv=request.argv,
                   on_incident=request.on_incident, profile=request.profile, **how)  # fmt: skip


def _windows(examples: Examples, resolved: Resolved, base: Base) -> int:
    """Return the windows of an epoch."""
    from pylm.data import Loader

    window = "packed" if resolved.origin("data.window") == DEFAULT else resolved.config.data.window
    return Loader(str(examples.folder), base.context_length(resolved), 1, window=window).windows


def _default_out(base: Base) -> Path:
    """Return `runs/<name>-tuned-<date>-<time>`."""
    return Path("runs") / f"{base.name}-tuned-{time.strftime('%Y%m%d-%H%M%S')}"


def _refuse_of_training(request: Tuning) -> None:
    """Refuse what says where the data of a training is."""
    for key, _, origin in request.given.settings:
        if key in OF_TRAINING:
            ours = OF_TRAINING[key]
            hint = "leave it out" if ours is None else f"{param(ours)} names examples"
            raise UsageError(f"{key} ({origin}) is of training, and this is tuned on examples", hint)
