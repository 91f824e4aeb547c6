"""How each step stands: done, half done, to be run, or waiting for others."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pylm.errors import DataError
from pylm.recipes.folder import DONE, STEP, StepFolder
from pylm.recipes.identity import of_input
from pylm.recipes.line import Line
from pylm.recipes.steps import Instance, Output, Part, Word

__all__ = ["Standing", "Standings", "State", "sizes_of"]

FORMAT = 1  # of what a fingerprint is made of: with another one every step runs again
State = Literal["stands", "half done", "to run", "waits"]


@dataclass(frozen=True)
class Standing:
    """A step, and how it stands."""

    instance: Instance
    state: State
    waits_for: tuple[str, ...] = ()
    record: Mapping[str, Any] = field(default_factory=dict)  # what it is made of; empty while it waits
    done: Mapping[str, Any] = field(default_factory=dict)  # what it came to
    _folder: StepFolder | None = None

    @property
    def folder(self) -> StepFolder:
        """Where its work lies; one that waits has no fingerprint yet, and no folder."""
        assert self._folder is not None
        return self._folder

    @property
    def result(self) -> Mapping[str, Any]:
        """What it came to, in numbers."""
        found: Mapping[str, Any] = self.done.get("result", {})
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for programs."""
        known = {} if self._folder is None else {"folder": str(self.folder.path),
                                                 "fingerprint": self.record["fingerprint"]}  # fmt: skip
        return {"step": self.instance.name, "command": self.instance.command, "state": self.state,
                "waits_for": self.waits_for, **known, **self.done}  # fmt: skip


class Standings:
    """How the steps of a recipe stand; each is looked at once those before it are known."""

    def __init__(self, folder: Path) -> None:
        """Name the recipe's folder."""
        self.folder = folder
        self.known: dict[str, Standing] = {}
        self._inputs: dict[Path, str] = {}

    def look(self, instance: Instance) -> Standing:
        """Return how a step stands, and remember it for those after it."""
        waits = tuple(sorted(name for name in instance.needs() if self.known[name].state != "stands"))
        found = Standing(instance, "waits", waits) if waits else self._ready(instance)
        self.known[instance.name] = found
        return found

    def line(self, instance: Instance) -> Line:
        """Return its command line, without what the recipe adds."""
        options = tuple((name, None if word is None else self._text(word)) for name, word in instance.options)
        return Line(instance.command, options, tuple(map(self._text, self._arguments(instance))))

    def resolved(self, output: Output) -> Standing:
        """Return the step that an output is of: of several, the one whose validation loss is the least."""
        return min((self.known[name] for name in output.steps), key=_loss if output.best else lambda one: 0)

    def _arguments(self, instance: Instance) -> list[Word]:
        """Return the arguments, none of them twice, as where the best stands beside all."""
        once: dict[str, Word] = {}
        for word in instance.arguments:
            once.setdefault(self._text(word), word)
        return list(once.values())

    def _ready(self, instance: Instance) -> Standing:
        record = self._record(instance)
        folder = StepFolder.of(self.folder, instance.name, record["fingerprint"], instance.kind.writes)
        done = folder.read(DONE)
        if done is None:
            state: State = "to run" if folder.read(STEP) is None else "half done"
            return Standing(instance, state, (), record, {}, folder)
        if sizes_of(folder) != done["files"]:
            raise DataError(
                f"{folder.out} is not as the step {instance.name} left it: files are missing, or of another size",
                f"remove {folder.path}, and the step runs again",
            )
        return Standing(instance, "stands", (), record, done, folder)

    def _record(self, instance: Instance) -> dict[str, Any]:
        """Return what a step is made of, with the hash of it: nothing of where it lies is in that, and no name."""
        named = list(instance.words(self._arguments(instance)))
        words = [[name, *map(self._identified, word)] for name, word in named]
        text = json.dumps([FORMAT, instance.command, words], ensure_ascii=False)
        return {
            "format": FORMAT,
            "step": instance.name,
            "command": instance.command,
            "words": words,
            "read_as": ["".join(map(self._label, word)) for _, word in named],
            "fingerprint": hashlib.blake2b(text.encode(), digest_size=32).hexdigest(),
        }

    def _identified(self, part: Part) -> Any:
        if isinstance(part, str):
            return part
        if isinstance(part, Output):
            return {"content": self.resolved(part).done["identity"]}
        if part.path not in self._inputs:
            self._inputs[part.path] = of_input(part.path)
        return {"content": self._inputs[part.path]}

    def _text(self, word: Word) -> str:
        return "".join(map(self._path, word))

    def _path(self, part: Part) -> str:
        if isinstance(part, str):
            return part
        return str((self.resolved(part).folder.out if isinstance(part, Output) else part.path).absolute())

    def _label(self, part: Part) -> str:
        return self.resolved(part).instance.name if isinstance(part, Output) else str(part)


def sizes_of(folder: StepFolder) -> dict[str, int]:
    """Return the sizes of what a step wrote: tensors, tokens and texts, which nobody adds anything to later."""
    kept = (".safetensors", ".bin", ".idx", ".txt", ".jsonl", ".json", ".parquet", ".zst", ".gz")
    files = [folder.out] if folder.out.is_file() else sorted(folder.out.rglob("*"))
    return {
        file.relative_to(folder.path).as_posix(): file.stat().st_size
        for file in files
        if file.suffix in kept and file.name not in ADDED_TO and file.is_file()
    }


# files of a run that a later evaluation, or one who looks at it, adds to
ADDED_TO = ("evaluations.jsonl", "samples.jsonl", "metrics.jsonl", "incidents.jsonl", "environment.json")


def _loss(one: Standing) -> float:
    loss = one.result.get("val_loss")
    if loss is None:
        raise DataError(
            f"the step {one.instance.name} has no validation loss, by which the best is chosen",
            "let it evaluate, or name one step",
        )
    return math.inf if loss != loss else float(loss)
