"""`pylm.plan`: what a run will take, from a script or a notebook."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pylm.errors import UsageError
from pylm.training.call import asked, with_named_keys
from pylm.wording import in_python

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pylm.training.estimate.plan import Plan
    from pylm.training.keywords import TrainKeywords

__all__ = ["plan"]

Text = str | os.PathLike[str]


def plan(
    text: Any = None,
    *,
    data: Text | Mapping[str, Any] | None = None,
    preset: str | None = None,
    config: Text | Iterable[Text] = (),
    out: Text | None = None,
    resume: Text | None = None,
    init_from: Text | None = None,
    depth: int | None = None,
    allow_inexact: bool = False,
    gpus: int | None = None,
    probe: bool = True,
    model: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    sample: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    eval: Mapping[str, Any] | None = None,
    **keys: Unpack[TrainKeywords],
) -> Plan:
    """Say what `pylm.train` with the same arguments will take, and whether it fits here; nothing is written.

    ::

        plan = pylm.plan("my.txt")
        plan.fits, plan.memory, plan.seconds
        print(pylm.plan(preset="llama-110m", data="data/mine", gpus=8))
        pylm.plan(preset="gpt2-124m", vocab_size=50304, max_tokens="1B", probe=False).changes

    Args:
        text: Files, folders or globs of text, or whatever else `pylm.data.source` takes; where they are not tokenized
            yet, their tokens are estimated.
        data: A folder of tokens instead, or keys of the configuration's `data` section. With neither, `vocab_size` and
            `max_tokens` say what is needed of a text.
        preset: As in `pylm.train`, like the other arguments that are not explained here.
        config: YAML files; later ones win.
        out: Folder of the run, whose disk is looked at.
        resume: A run to go on with.
        init_from: A CHECKPOINT whose weights a new run starts from.
        depth: Layers, from which shape, learning rate and batch are derived.
        allow_inexact: As in `pylm.train`; it changes nothing here.
        gpus: Devices that share each step, here or elsewhere.
        probe: Whether a model is made and some steps are taken to tell the time; else the speed of products tells it.
        model: Keys of the section `model`, for those that another section has too.
        train: Keys of the section `train`, likewise.
        sample: Keys of the section `sample`, likewise.
        metrics: Keys of the section `metrics`, likewise.
        eval: Keys of the section `eval`, likewise.
        keys: Every other key of the configuration by its name.
    """
    from pylm.training.estimate import make

    if not isinstance(probe, bool):
        raise UsageError(f"probe={probe!r} is neither True nor False")
    sections = {"model": model, "train": train, "sample": sample, "metrics": metrics, "eval": eval}
    paths = {"preset": preset, "config": config, "out": out, "resume": resume, "init_from": init_from}
    request = asked(text, data, paths, sections, keys, depth=depth, allow_inexact=allow_inexact)
    return make.plan(request, gpus=gpus, probe=probe).told(in_python)


plan.__signature__ = with_named_keys(plan)  # type: ignore[attr-defined]
