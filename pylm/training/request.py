"""What is asked for when a model is to be trained: plain data, the same from a notebook and from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pylm.config.given import Given
from pylm.config.units import parse_duration
from pylm.data.streaming.grammar import is_there, nearest
from pylm.data.streaming.stream_of import called, named
from pylm.errors import ConfigError, DataError, UsageError
from pylm.wording import param

__all__ = ["Request"]

OF_TEXTS = ("data.tokenizer", "data.val_share", "data.clean")
OF_SHARDS = {"data.mix_tokens": "data mix", "data.mix_temperature": "data mix", "data.split_by": "data split"}

DEEPEST = 64  # layers of a derived size
LONGEST_SHOWN = 100  # characters of a name in an error


@dataclass(frozen=True)
class Request:
    """A training, as somebody wants it.

    Args:
        given: preset, files and keys of the configuration.
        text: sources to tokenize and train on, as `pylm.data.source` takes them.
        data: a folder of tokens in their place.
        out: the folder of the run; named after preset and time where None.
        resume: `auto` for the run's newest checkpoint, or a CHECKPOINT; None starts a new run.
        init_from: a CHECKPOINT whose weights a new run begins with.
        depth: layers, from which shape, learning rate and batch are derived.
        allow_inexact: whether a run may go on where it cannot be the same to the bit.
        argv: the words of the command line that asked, kept with the run; none from a program.
        new_tokens: special tokens of the data that the tokenizer of these weights lacks.
        on_incident: a program and its arguments, run when something goes wrong; the user's own file's where None.
        profile: steps to profile; None profiles none.
        open_keys: values of keys that nobody gives.
        open_keys_from: where an error says that they are from.
    """

    given: Given = Given("train")
    text: tuple[Any, ...] = ()
    data: str | None = None
    out: Path | None = None
    resume: str | None = None
    init_from: str | None = None
    depth: int | None = None
    allow_inexact: bool = False
    argv: tuple[str, ...] = ()
    new_tokens: tuple[str, ...] = ()
    on_incident: str | tuple[str, ...] | None = None
    profile: int | None = None
    open_keys: Mapping[str, Any] = field(default_factory=dict)
    open_keys_from: str = ""

    @property
    def named(self) -> str | None:
        """What the caller called the text, if there is one."""
        return " ".join(self.names) or None

    @property
    def names(self) -> tuple[str, ...]:
        """How each source of the text is called."""
        return tuple(map(called, self.text))

    def configuration(self, seconds_behind: float = 0.0) -> Given:
        """Return what was given of the configuration: its data where that belongs, its times counted from the start.

        Args:
            seconds_behind: that a run has trained for, which `max_time="+1h"` adds to.
        """
        given = self.given
        if self.data is not None:
            given = given.with_default("data.path", self.data, param("data"))
        settings = []
        for key, value, origin in given.settings:
            if key == "train.max_time" and isinstance(value, str) and value.strip().startswith("+"):
                try:
                    value = str(seconds_behind + parse_duration(value.strip()[1:]))
                except ValueError as error:
                    raise ConfigError(f"{key} ({origin}): {error}", f"such as {param('max_time', '+1h')}") from None
            settings.append((key, value, origin))
        return replace(given, settings=tuple(settings))

    def with_begun(self) -> Given:
        """Return the same; where a run goes on and nothing else is named, on top of what it was begun with."""
        given = self.configuration()
        begun = None if self.out is None else self.out / "config.yaml"
        if self.resume is not None and begun and begun.is_file() and given.preset is None and not given.files:
            given = replace(given, files=(str(begun),))  # it may have been killed before its first checkpoint
        return given

    def with_sources(self) -> Request:
        """Return it with the texts that its configuration names; what was named beside the configuration wins."""
        given = replace(self, data=None).configuration()
        sources = given.resolve().config.data.sources if given.names("data.sources") else None
        if sources is None:
            self._refuse_of_texts()
            return self
        others = [setting for setting in self.given.settings if setting[0] != "data.sources"]
        given = replace(self.given, settings=(*others, ("data.sources", None, "tokenized")))
        text = self.text if self.text or self.data is not None else tuple(sources.items())
        request = replace(self, given=given, text=text)
        request.check()
        return request

    def _refuse_of_texts(self) -> None:
        """Refuse what is said of a text beside the configuration, where there is none."""
        for key, _, _ in self.given.settings:
            if key in OF_TEXTS and not self.text and self.given.section != "finetune":
                raise UsageError(
                    f"{param(key)} is for text, and none is trained on",
                    f"name a text; of shards it was an option of `pylm tokenize`, whose folder {param('data')} names",
                )

    def check(self) -> None:
        """Refuse what cannot be asked together."""
        if self.text and self.data is not None:
            raise UsageError(
                f"{self.named} is text to tokenize, and {param('data', self.data)} is tokens", "give one of the two"
            )
        for key, _, _ in self.given.settings:
            if key.startswith("finetune.") and self.given.section == "train":
                raise UsageError(f"{param(key.partition('.')[2])} is of pylm finetune", "leave it out")
            if key in OF_SHARDS:
                raise UsageError(f"{param(key)} is of pylm {OF_SHARDS[key]}, which makes shards", "leave it out")
        if self.resume is not None and self.init_from is not None:
            raise UsageError(
                f"{param('resume')} goes on with a run, {param('init_from')} starts a new one", "give one of the two"
            )
        if self.depth is not None and self.given.preset is not None:
            raise UsageError(
                f"{param('depth')} and {param('preset', self.given.preset)} both give the shape", "give one of the two"
            )
        if "data.path" in {key for key, _, _ in self.given.settings}:
            if self.text or self.data is not None:
                source = f"{self.named} is text to tokenize" if self.text else f"{param('data', self.data)} is tokens"
                raise UsageError(f"{source}, and {param('path')} is tokens too", "give one of the two")
        if any(key == "data.sources" and value is not None for key, value, _ in self.given.settings):
            if self.text or self.data is not None:
                source = self.named or param("data", self.data)
                raise UsageError(f"{source} and {param('sources')} both say what to train on", "give one of the two")
        if self.profile is not None and not (type(self.profile) is int and self.profile > 0):
            raise UsageError(f"{param('profile', self.profile)} is no number of steps", "such as 5")
        if self.depth is not None and not (type(self.depth) is int and 1 <= self.depth <= DEEPEST):
            raise UsageError(f"{param('depth', self.depth)} is no number of layers", f"from 1 to {DEEPEST}")
        for file in map(named, self.text):
            if file is not None and not is_there(file):
                shown = file if len(file) <= LONGEST_SHOWN else f"{file[:LONGEST_SHOWN]}…"
                raise DataError(
                    f"{' '.join(shown.split()) or 'an empty name'}: no such file",
                    nearest(file) or f"name a text to train on, or {param('data', 'DIR')} that pylm tokenize wrote",
                )
            if file is not None and (Path(file) / "config.yaml").is_file():
                raise DataError(
                    f"{file} is the folder of a run, and no text",
                    f"to go on with it: {param('out', file)}, {param('resume', 'auto')}",
                )
