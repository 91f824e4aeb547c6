"""A recipe's file, read and checked: what its steps are, at one size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pylm.config.yaml_file import Mapped, read_yaml
from pylm.errors import ConfigError, UsageError, did_you_mean
from pylm.recipes.child import refuse_programs
from pylm.recipes.commands import COMMANDS
from pylm.wording import param

__all__ = ["Recipe", "Step", "read_recipe", "shipped"]

SHIPPED = Path(__file__).parent / "shipped"
KEYS = ("about", "values", "sizes", "steps")
KEYS_OF_SIZE = ("values", "steps")
KEYS_OF_STEP = ("command", "arguments", "options", "matrix")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
OURS = ("out", "json", "resume", "debug")  # options that the recipe gives itself

Scalar = str | bool | None
Value = Scalar | list[Scalar]


@dataclass(frozen=True)
class Step:
    """A step as it is written: names with a dollar stand in its words."""

    name: str
    where: str  # file and line
    command: str
    arguments: tuple[Scalar, ...]
    options: Mapping[str, Value]
    matrix: Mapping[str, Value]


@dataclass(frozen=True)
class Recipe:
    """A recipe at one of its sizes."""

    name: str
    folder: Path  # paths in it are looked for here
    about: str
    size: str | None
    values: Mapping[str, Value]
    steps: tuple[Step, ...]


def shipped() -> list[str]:
    """Return the names of the recipes that come with pylm."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def read_recipe(name: str, size: str | None = None) -> Recipe:
    """Read a recipe.

    Args:
        name: a file, or the name of one that comes with pylm.
        size: which of its sizes; the first if not given.
    """
    path = Path(name)
    if not path.is_file():
        path = SHIPPED / f"{name}.yaml"
        if not path.is_file() or NAME.fullmatch(name) is None:
            known = ", ".join(shipped())
            raise UsageError(f"there is no recipe {name}", f"name a YAML file, or one that comes with pylm: {known}")
    top = read_yaml(path, holds="a recipe's keys (steps:, sizes:, …)", example="docs/recipe-files.md has one")
    _refuse_others(top, KEYS, f"{path}", "a recipe")
    sizes = _mapping(top.values.get("sizes"), f"{path}: sizes")
    size = _chosen(sizes, size, path)
    of_size = _mapping(sizes.values.get(size or ""), f"{path}: sizes.{size}")
    _refuse_others(of_size, KEYS_OF_SIZE, f"{path}", f"the size {size}")
    values: dict[str, Any] = {}
    steps: dict[str, Step] = {}
    for part in (top, of_size):
        values |= _mapping(part.values.get("values"), f"{path}: values").values
        for step, written, line in _mapping(part.values.get("steps"), f"{path}: steps").items():
            steps[step] = _step(step, written, f"{path}:{line}")
    _refuse_names(values, steps, path)
    if not steps:
        raise ConfigError(f"{path} has no steps", "docs/recipe-files.md shows what a recipe looks like")
    about = top.values.get("about")
    return Recipe(path.stem, path.parent, str(about or ""), size, values, tuple(steps.values()))


def _chosen(sizes: Mapped, size: str | None, path: Path) -> str | None:
    """Return the size, one of those that a recipe has; None for one that has none."""
    if size is None:
        return next(iter(sizes.values), None)
    if size not in sizes.values:
        there = f"it has {', '.join(sizes.values)}" if sizes.values else f"it has none: leave {param('size')} out"
        raise UsageError(f"{path} has no size {size}", there)
    return size


def _step(name: str, written: Any, where: str) -> Step:
    step = _mapping(written, where)
    _refuse_others(step, KEYS_OF_STEP, where.rpartition(":")[0], f"the step {name}")
    command = step.values.get("command")
    if command not in COMMANDS:
        hint = did_you_mean(str(command), COMMANDS) or f"a step is one of {', '.join(COMMANDS)}"
        raise ConfigError(f"{where}: the step {name} is the command {command}, which no step can be", hint)
    arguments = step.values.get("arguments")
    options = {
        key.replace("_", "-"): _plain(value, f"{where}: {key}")
        for key, value in _mapping(step.values.get("options"), f"{where}: options").values.items()
    }
    refuse_programs([f"--{key}" for key in options], where)
    for key in OURS:
        if key in options:
            raise ConfigError(f"{where}: {key} is not for a step to say", "leave it out: the recipe gives it")
    matrix = {key: _plain(value, f"{where}: {key}")
              for key, value in _mapping(step.values.get("matrix"), f"{where}: matrix").values.items()}  # fmt: skip
    given = [] if arguments is None else arguments if isinstance(arguments, list) else [arguments]
    plain = tuple(_scalar(each, f"{where}: arguments") for each in given)
    return Step(name, where, str(command), plain, options, matrix)


def _refuse_names(values: Mapping[str, Any], steps: Mapping[str, Step], path: Path) -> None:
    """Refuse names that are none, or mean two things."""
    axes = {axis: step.name for step in steps.values() for axis in step.matrix}
    for name in (*values, *steps, *axes):
        if NAME.fullmatch(name) is None:
            raise ConfigError(f"{path}: {name} is no name", "a name is of letters, digits, - and _")
    for name in values:
        _plain(values[name], f"{path}: values.{name}")
    for name in steps:
        if name in values or name in axes:
            other = "a value" if name in values else f"an axis of {axes[name]}"
            raise ConfigError(f"{path}: {name} is a step and {other}", "give one of them another name")
    for name in axes:
        if name in values:
            raise ConfigError(f"{path}: {name} is a value and an axis of {axes[name]}", "give one another name")


def _refuse_others(found: Mapped, known: tuple[str, ...], path: str, what: str) -> None:
    for key, _, line in found.items():
        if key not in known:
            hint = did_you_mean(key, known) or f"it has {', '.join(known)}"
            raise ConfigError(f"{path}:{line}: {what} has no {key}", hint)


def _mapping(value: Any, where: str) -> Mapped:
    if value is None:
        return Mapped({}, {})
    if not isinstance(value, Mapped):
        raise ConfigError(f"{where} is {value}, and should be names with what each is", "docs/recipe-files.md has some")
    return value


def _plain(value: Any, where: str) -> Value:
    return [_scalar(each, where) for each in value] if isinstance(value, list) else _scalar(value, where)


def _scalar(value: Any, where: str) -> Scalar:
    if isinstance(value, Mapped | list):
        raise ConfigError(f"{where} is nested", "give a text, a number, true or false, or a list of them")
    held: Scalar = value
    return held
