"""`pylm.train`: a text and a few words in, a trained model out; from a script, a notebook or a thread."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.config.given import Given
from pylm.config.schema import SECTIONS
from pylm.data.streaming.stream_of import several_of
from pylm.errors import ConfigError, UsageError
from pylm.training.events import Event, in_plain_python
from pylm.training.request import Request

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pylm.runs import Run
    from pylm.training.keywords import TrainKeywords

__all__ = ["asked", "train", "watching", "with_named_keys"]

Text = str | os.PathLike[str]


def train(
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
    profile: int | None = None,
    on_incident: Iterable[str] | None = None,
    on_event: Callable[[Event], object] | None = None,
    model: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    sample: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    eval: Mapping[str, Any] | None = None,
    **keys: Unpack[TrainKeywords],
) -> Run:
    """Train a language model, or go on with one, and return its run.

    ::

        run = pylm.train("my.txt")                                       # a size for this machine and five minutes
        run = pylm.train("my.txt", preset="tiny", out="runs/a", max_time="10m", learning_rate=1e-3)
        run = pylm.train(out="runs/a", resume="auto", max_time="+1h")    # goes on, to the bit
        run.val_loss, pylm.generate(run.path, "Once upon a time").text()

    What it does is what `pylm train` does, to the bit. Ctrl-C saves the state and raises pylm.errors.Interrupted, whose
    `hint` is the call that goes on; no signal handler is installed, and the process is never left.

    Args:
        text: Files, folders or globs of text, or whatever else `pylm.data.source` takes: tokenized into data/ first.
        data: A folder of tokens instead, or keys of the configuration's `data` section.
        preset: The preset to start from, such as tiny or gpt2-124m.
        config: YAML files; later ones win.
        out: Folder of the run; `runs/<preset>-<date>-<time>` if not given.
        resume: `auto` for the newest checkpoint of the run, or a CHECKPOINT.
        init_from: A CHECKPOINT whose weights a new run starts from.
        depth: Layers, from which shape, learning rate and batch are derived.
        allow_inexact: Whether to go on where the result cannot be the same to the bit.
        profile: Steps of which RUN/profile gets a trace and a table by kernel; none unless given.
        on_incident: A program and its arguments, run without a shell when a step or a tracker fails, and told of it as
            JSON; the one in ~/.config/pylm/user.yaml unless given.
        on_event: Called with each event (pylm.training.events) as it happens, in the caller's thread. Without it, a bar
            is shown on a terminal and in a notebook. One that raises stops the run, with its state saved.
        model: Keys of the section `model`, for those that another section has too.
        train: Keys of the section `train`, likewise.
        sample: Keys of the section `sample`, likewise.
        metrics: Keys of the section `metrics`, likewise.
        eval: Keys of the section `eval`, likewise.
        keys: Every other key of the configuration by its name.
    """
    if on_event is not None and not callable(on_event):
        raise UsageError(f"on_event={on_event!r} cannot be called", "give a function that takes an event")
    sections = {"model": model, "train": train, "sample": sample, "metrics": metrics, "eval": eval}
    paths = {"preset": preset, "config": config, "out": out, "resume": resume, "init_from": init_from}
    request = asked(text, data, paths, sections, keys, depth=depth, allow_inexact=allow_inexact)
    request = replace(request, **watching(profile, on_incident))
    if on_event is not None:
        return _run(request, on_event, listens=True)
    from pylm.training.bar import Bar

    with Bar() as bar:
        return _run(request, bar, listens=bar.shows)


def asked(
    text: Any,
    data: Any,
    paths: Mapping[str, Any],
    sections: Mapping[str, Mapping[str, Any] | None],
    keys: Mapping[str, Any],
    *,
    depth: Any,
    allow_inexact: Any,
) -> Request:
    """Return a request from the arguments of a call; refuse what is none."""
    if isinstance(data, Mapping):
        sections, data = {**sections, "data": data}, None
    if not isinstance(allow_inexact, bool):
        raise UsageError(f"allow_inexact={allow_inexact!r} is neither True nor False")
    folder = _path("out", paths["out"])
    settings = tuple(_settings(sections, keys))
    return Request(
        given=Given("train", _path("preset", paths["preset"]), _paths("config", paths["config"]), settings),
        text=() if text is None else tuple(_source(one) for one in several_of(text)),
        data=_path("data", data),
        out=Path(folder) if folder else None,
        resume=_path("resume", paths["resume"]),
        init_from=_path("init_from", paths["init_from"]),
        depth=_plain(depth),
        allow_inexact=allow_inexact,
    )


def watching(profile: Any, on_incident: Iterable[str] | None) -> dict[str, Any]:
    """Return what a call says of how its steps are watched, as a request takes it."""
    program = on_incident if on_incident is None or isinstance(on_incident, str) else tuple(on_incident)
    return {"profile": _plain(profile), "on_incident": program}


def _run(request: Request, on_event: Callable[[Event], object], listens: bool) -> Run:
    """Run it in a thread of its own; in one of several processes, where a launcher has started them."""
    from pylm.training.apart import Listening, in_own_thread
    from pylm.training.launch.rank import train

    def work(to: Listening) -> Run:
        return train(request, to.on_event, stop=to.stop, wants_step=to.wants_step)

    return in_own_thread(work, lambda event: on_event(in_plain_python(event)), listens)


def _paths(name: str, value: Any) -> tuple[str, ...]:
    """Return the paths of an argument that takes one or several."""
    if value is None:
        return ()
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes | os.PathLike | Mapping)
    return tuple(_path(name, one) or "" for one in (value if several else [value]))


def _source(value: Any) -> Any:
    """Return one of the texts, a path as a name; refuse what holds no text."""
    holds_texts = (hasattr(value, "__iter__") or callable(value)) and not isinstance(value, str | bytes)
    return value if holds_texts else _path("text", value) or ""


def _path(name: str, value: Any) -> str | None:
    """Return the path of an argument; refuse what is none."""
    if value is None:
        return None
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or "\0" in text:
        raise UsageError(f"{name}={value!r} is no name", "give a str or a Path")
    return text


def _plain(value: Any) -> Any:
    """Return numpy's numbers as Python's."""
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0 else value


def _settings(sections: Mapping[str, Mapping[str, Any] | None], keys: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Return the keys that were given, each with where an error says that it was."""
    settings: dict[str, tuple[str, Any, str]] = {}

    def add(key: str, value: Any, where: str) -> None:
        if key in settings:
            raise ConfigError(f"{key} is given twice: {settings[key][2]} and {where}", "give it once")
        settings[key] = key, _plain(value), where

    for section, values in sections.items():
        if values is not None and not isinstance(values, Mapping):
            raise UsageError(f"{section}={values!r} is no dict", f"such as {section}={{'key': value}}")
        for key, value in (values or {}).items():
            add(f"{section}.{key}", value, f"{section}={{{key!r}: …}}")
    for key, value in keys.items():
        homes = [section for section, kind in SECTIONS.items() if key in kind.model_fields]
        if len(homes) > 1 and "train" not in homes:
            raise ConfigError(
                f"{key} could be {' or '.join(f'{home}.{key}' for home in homes)}",
                f"say which: {homes[0]}={{{key!r}: {value!r}}}",
            )
        home = "train" if "train" in homes else "".join(homes)
        add(f"{home}.{key}" if home else key, value, f"{key}=")
    return list(settings.values())


def with_named_keys(function: Any, *more: str) -> inspect.Signature:
    """Return the signature with every key by its name and default: what help() shows, and notebooks complete.

    `more` are sections beside those of training.
    """
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    shared = {"window", *signature.parameters}
    named = {
        key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.annotation)
        for section in (*more, "eval", "metrics", "sample", "data", "model", "train")
        for key, field in SECTIONS[section].model_fields.items()
        if key not in shared
    }
    return signature.replace(parameters=[*own, *named.values()])


train.__signature__ = with_named_keys(train)  # type: ignore[attr-defined]
