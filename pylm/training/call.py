"""`pylm.train`: a text and a few words in, a trained model out; from a script, a notebook or a thread."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.config.given import Given
from pylm.config.schema import SECTIONS
from pylm.errors import ConfigError
from pylm.training.events import Event, in_plain_python
from pylm.training.request import Request

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pylm.runs import Run
    from pylm.training.keywords import TrainKeywords

__all__ = ["train"]

Text = str | Path


def train(
    text: Text | Sequence[Text] | None = None,
    *,
    data: Text | Mapping[str, Any] | None = None,
    preset: str | None = None,
    config: Text | Sequence[Text] = (),
    out: Text | None = None,
    resume: Text | None = None,
    init_from: Text | None = None,
    depth: int | None = None,
    allow_inexact: bool = False,
    on_event: Callable[[Event], object] | None = None,
    model: Mapping[str, Any] | None = None,
    sample: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
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
        text: Files, folders or globs of text, as `pylm.prepare` takes them: tokenized into data/ first.
        data: A folder of tokens instead, or keys of the configuration's `data` section.
        preset: The preset to start from, such as tiny or gpt2-124m.
        config: YAML files; later ones win.
        out: Folder of the run; `runs/<preset>-<date>-<time>` if not given.
        resume: `auto` for the newest checkpoint of the run, or a CHECKPOINT.
        init_from: A CHECKPOINT whose weights a new run starts from.
        depth: Layers, from which shape, learning rate and batch are derived.
        allow_inexact: Whether to go on where the result cannot be the same to the bit.
        on_event: Called with each event (pylm.training.events) as it happens, in the caller's thread. Without it, a bar
            is shown on a terminal and in a notebook. One that raises stops the run, with its state saved.
        model: Keys of the section `model`, for those that another section has too.
        sample: Keys of the section `sample`, likewise.
        metrics: Keys of the section `metrics`, likewise.
        keys: Every other key of the configuration by its name.
    """
    sections = {"model": model, "sample": sample, "metrics": metrics}
    folder = None if data is None or isinstance(data, Mapping) else str(data)
    if isinstance(data, Mapping):
        sections["data"] = data
    request = Request(
        given=Given("train", preset, tuple(map(str, _several(config))), tuple(_settings(sections, keys))),
        text=tuple(str(one) for one in _several(text)),
        data=folder,
        out=None if out is None else Path(out),
        resume=None if resume is None else str(resume),
        init_from=None if init_from is None else str(init_from),
        depth=depth,
        allow_inexact=allow_inexact,
    )
    if on_event is not None:
        return _run(request, on_event, listens=True)
    from pylm.training.bar import Bar

    with Bar() as bar:
        return _run(request, bar, listens=bar.shows)


def _run(request: Request, on_event: Callable[[Event], object], listens: bool) -> Run:
    """Run it in a thread of its own."""
    from pylm.training import run
    from pylm.training.apart import Listening, in_own_thread

    def work(to: Listening) -> Run:
        return run.train(request, to.on_event, stop=to.stop, wants_step=to.wants_step)

    return in_own_thread(work, lambda event: on_event(in_plain_python(event)), listens)


def _several(named: Text | Sequence[Text] | None) -> Sequence[Text]:
    if named is None:
        return ()
    return (named,) if isinstance(named, (str, Path)) else tuple(named)


def _settings(sections: Mapping[str, Mapping[str, Any] | None], keys: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """Return the keys that were given, each with where an error says that it was."""
    settings = []
    for section, values in sections.items():
        for key, value in (values or {}).items():
            settings.append((f"{section}.{key}", value, f"{section}={{{key!r}: …}}"))
    for key, value in keys.items():
        homes = [section for section, kind in SECTIONS.items() if key in kind.model_fields]
        if len(homes) > 1 and "train" not in homes:
            raise ConfigError(
                f"{key} could be {' or '.join(f'{home}.{key}' for home in homes)}",
                f"say which: {homes[0]}={{{key!r}: {value!r}}}",
            )
        home = "train" if "train" in homes else "".join(homes)
        settings.append((f"{home}.{key}" if home else key, value, f"{key}="))
    return settings


def _with_named_keys(function: Any) -> inspect.Signature:
    """Return the signature with every key by its name and default: what help() shows, and notebooks complete."""
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    shared = {"window"}
    named = {
        key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.annotation)
        for section in ("metrics", "sample", "data", "model", "train")
        for key, field in SECTIONS[section].model_fields.items()
        if key not in shared
    }
    return signature.replace(parameters=[*own, *named.values()])


train.__signature__ = _with_named_keys(train)  # type: ignore[attr-defined]
