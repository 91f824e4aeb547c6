"""A recipe's steps spelled out: one for each place of a matrix, the words of each with what they refer to, in order."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pylm.data.streaming.grammar import kind_of
from pylm.errors import ConfigError, did_you_mean
from pylm.recipes.commands import COMMANDS, Command
from pylm.recipes.file import Recipe, Scalar, Step, Value

__all__ = ["Input", "Instance", "Output", "Word", "instances_of"]

REFERENCE = re.compile(r"\$(?:(\$)|([A-Za-z][A-Za-z0-9_-]*)(\.best\b)?)")
WEIGHT = re.compile(r"(.+?)(:\d+(?:\.\d+)?)?")
ELSEWHERE = ("url", "hub", "data")


@dataclass(frozen=True)
class Output:
    """What a step leaves; of several that are to be the best of them, it is not known which before they ran."""

    steps: tuple[str, ...]
    best: bool = False

    def __str__(self) -> str:
        """Return it as one reads it."""
        return f"the best of {', '.join(self.steps)}" if self.best else self.steps[0]


@dataclass(frozen=True)
class Input:
    """A file or a folder that is there before any step."""

    path: Path

    def __str__(self) -> str:
        """Return its path."""
        return str(self.path)


Part = str | Output | Input
Word = tuple[Part, ...]


@dataclass(frozen=True)
class Instance:
    """A step at one place of its matrix: one command, run once."""

    name: str
    step: str
    where: str
    command: str
    arguments: tuple[Word, ...]
    options: tuple[tuple[str, Word | None], ...]  # None for one that stands alone
    place: Mapping[str, str]  # in the matrix

    @property
    def kind(self) -> Command:
        """Return what is known of its command."""
        return COMMANDS[self.command]

    def words(self, arguments: Sequence[Word] | None = None) -> Iterator[tuple[str, Word]]:
        """Yield all words, each with what it is called: an argument's number, or the option's name."""
        given = self.arguments if arguments is None else arguments
        yield from ((f"argument {number}", word) for number, word in enumerate(given, 1))
        yield from ((option, word or ()) for option, word in self.options)

    def needs(self) -> set[str]:
        """Return the steps whose outputs it takes."""
        return {name for _, word in self.words() for part in word if isinstance(part, Output) for name in part.steps}


def instances_of(recipe: Recipe) -> list[Instance]:
    """Return all steps of a recipe, each after those that it takes something of."""
    return _Expansion(recipe).all()


class _Expansion:
    """The steps of a recipe as they are spelled out; those that fetch come as they are needed."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.steps = {step.name: step for step in recipe.steps}
        self.places = {step.name: list(self._places(step)) for step in recipe.steps}
        self.fetched: dict[str, Instance] = {}

    def all(self) -> list[Instance]:
        written = [self._instance(step, place) for step in self.recipe.steps for place in self.places[step.name]]
        every = {each.name: each for each in (*self.fetched.values(), *written)}
        if len(every) < len(self.fetched) + len(written):
            names = [each.name for each in (*self.fetched.values(), *written)]
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"{every[twice].where}: two steps would be called {twice}", "rename one of them")
        ordered: dict[str, Instance] = {}
        for each in every.values():
            _place(each, every, ordered, ())
        return list(ordered.values())

    def _places(self, step: Step) -> Iterator[dict[str, str]]:
        axes = {axis: [str(one) for one in self._values(given, step)] for axis, given in step.matrix.items()}
        for axis, values in axes.items():
            if not values or len(set(values)) < len(values):
                raise ConfigError(f"{step.where}: the axis {axis} of {step.name} is {', '.join(values) or 'empty'}",
                                  "name different values")  # fmt: skip
        for chosen in itertools.product(*axes.values()):
            yield dict(zip(axes, chosen, strict=True))

    def _values(self, given: Value, step: Step) -> list[Scalar]:
        """Return the values of an axis: a list, or the name of a value that is one."""
        if isinstance(given, str) and (match := REFERENCE.fullmatch(given)) and match[2] in self.recipe.values:
            given = self.recipe.values[match[2]]
        return given if isinstance(given, list) else [given]

    def _instance(self, step: Step, place: Mapping[str, str]) -> Instance:
        kind = COMMANDS[step.command]
        arguments: list[Word] = []
        for given in step.arguments:
            for one in self._several(given):
                arguments += self._argument(str(one), step, place, kind)
        options: list[tuple[str, Word | None]] = []
        for option, value in step.options.items():
            options += self._option(option, value, step, place)
        name = _named(step.name, place)
        once = tuple(dict.fromkeys(arguments))
        return Instance(name, step.name, step.where, step.command, once, tuple(options), place)

    def _argument(self, text: str, step: Step, place: Mapping[str, str], kind: Command) -> Iterator[Word]:
        """Yield the words of an argument; text that lies elsewhere is a step that fetches it."""
        if kind.of_text and "$" not in text:
            source, weight = WEIGHT.fullmatch(text).groups() if kind.weighed else (text, None)  # type: ignore[union-attr]
            if not (self.recipe.folder / source).exists() and kind_of(source) in ELSEWHERE:
                yield (Output((self._fetching(source, step).name,)), *([weight] if weight else []))
                return
        yield from self._words(text, step, place, True)

    def _fetching(self, source: str, step: Step) -> Instance:
        name = f"get-{_slug(source)}"
        return self.fetched.setdefault(
            source, Instance(name, name, step.where, "data get", ((source,),), (), {})
        )  # fmt: skip

    def _option(
        self, option: str, value: Value, step: Step, place: Mapping[str, str]
    ) -> Iterator[tuple[str, Word | None]]:
        for one in self._several(value):
            if one is None:  # a size leaves the option out
                continue
            if isinstance(one, bool):
                yield (option if one else f"no-{option}"), None
                continue
            words = list(self._words(one, step, place, option in COMMANDS[step.command].inputs))
            if len(words) > 1:
                raise ConfigError(
                    f"{step.where}: {option} of {step.name} is one thing, and {one} are {len(words)}",
                    f"name one of them, or the best: {one}.best",
                )
            yield option, words[0]

    def _several(self, value: Value) -> Iterable[Scalar]:
        """Return the values that one stands for: a list's, those of a name that is one, or itself."""
        if isinstance(value, str) and (match := REFERENCE.fullmatch(value)) and match[2] in self.recipe.values:
            value = self.recipe.values[match[2]]
        return value if isinstance(value, list) else [value]

    def _words(self, text: str, step: Step, place: Mapping[str, str], may_be_path: bool) -> Iterator[Word]:
        """Yield the words that a text stands for: one, or one for each output that it refers to."""
        parts: list[Sequence[Part]] = []
        end = 0
        for match in REFERENCE.finditer(text):
            parts += [[text[end : match.start()]], self._meant(match, step, place)]
            end = match.end()
        parts.append([text[end:]])
        for word in itertools.product(*parts):
            joined = _joined(word)
            if may_be_path and len(joined) == 1 and isinstance(joined[0], str) and joined[0]:
                path = self.recipe.folder / joined[0]
                if path.exists():
                    joined = (Input(path),)
            yield joined

    def _meant(self, match: re.Match[str], step: Step, place: Mapping[str, str]) -> Sequence[Part]:
        """Return what a name with a dollar stands for: a value, a place in the matrix, outputs of a step."""
        dollar, name, best = match.groups()
        if dollar:
            return ["$"]
        if name in self.steps:
            if name == step.name:
                raise ConfigError(f"{step.where}: {name} takes what it makes itself", "name another step")
            names = tuple(
                _named(name, other) for other in self.places[name]
                if all(place.get(axis, value) == value for axis, value in other.items())
            )  # fmt: skip
            if not names:
                raise ConfigError(f"{step.where}: no {name} is at the place {dict(place)} of the matrix", None)
            return [Output(names, True)] if best else [Output((each,)) for each in names]
        known: dict[str, Value] = {**self.recipe.values, **place}
        if best or name not in known:
            hint = did_you_mean(name, (*self.steps, *known)) or "a name with $ is a step, a value or an axis"
            raise ConfigError(f"{step.where}: ${name}{best or ''} is nothing that {step.name} could mean", hint)
        value = known[name]
        if isinstance(value, list | bool) or value is None:
            raise ConfigError(f"{step.where}: {name} is {value}, and stands within a text", "let it stand alone")
        return [value]


def _place(one: Instance, every: Mapping[str, Instance], ordered: dict[str, Instance], before: tuple[str, ...]) -> None:
    """Place a step after those that it needs, and those in the order in which they are written."""
    if one.name in before:
        circle = " → ".join([*before[before.index(one.name) :], one.name])
        raise ConfigError(f"{one.where}: the steps {circle} wait for each other", "one has to do without the others")
    needs = one.needs()
    for name in every:
        if name in needs and name not in ordered:
            _place(every[name], every, ordered, (*before, one.name))
    ordered.setdefault(one.name, one)


def _joined(parts: Iterable[Part]) -> Word:
    """Return a word, its texts that follow each other as one."""
    made: list[Part] = []
    for part in parts:
        last = made[-1] if made else None
        if isinstance(part, str) and isinstance(last, str):
            made[-1] = last + part
        elif part != "":
            made.append(part)
    return tuple(made)


def _named(step: str, place: Mapping[str, str]) -> str:
    return "-".join([step, *map(_slug, place.values())])


def _slug(text: str) -> str:
    """Return a text as a name of a folder has it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:60] or "x"
