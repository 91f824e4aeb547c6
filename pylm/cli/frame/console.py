"""A line at a time with a model: what `pylm sample --interactive` and `pylm chat` have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from pylm.cli.frame.printing import as_typed
from pylm.errors import PylmError, UsageError, did_you_mean

if TYPE_CHECKING:
    from pylm.config.given import Given
    from pylm.config.schema import Sample

__all__ = ["PRESET_NAMES", "Console", "changed", "with_preset"]

# of pylm.config.sampling, which is not imported before a command runs
PRESET_NAMES = ("creative", "balanced", "precise", "greedy")


def with_preset(given: Given) -> Given:
    """Take `--preset creative` and the like as settings; what was typed beside it wins."""
    from dataclasses import replace

    from pylm.config.sampling import preset_values

    if given.preset is None:
        return given
    made = replace(given, preset=None)
    for key, value in preset_values(given.preset).items():
        made = made.with_default(f"sample.{key}", value, f"preset {given.preset}")
    return made


def changed(settings: Sample, key: str, value: str) -> Sample:
    """Set one key from a typed value, or all that a preset says."""
    from pylm.config.cascade import Setting, resolve
    from pylm.config.sampling import DRAWING, PRESETS, preset_values
    from pylm.config.schema import Sample

    if key == "preset" or (key in PRESETS and not value):
        plain = {field: Sample.model_fields[field].default for field in DRAWING}
        return settings.model_copy(update={**plain, **preset_values(value if key == "preset" else key)})
    key = key.replace("-", "_").removeprefix("sample.")
    if key not in Sample.model_fields:
        hint = (
            _foreign(key, value)
            or did_you_mean(key, Sample.model_fields)
            or f"settings: {', '.join(Sample.model_fields)}"
        )
        raise UsageError(f"there is no setting {key}", hint)
    if not value:
        raise UsageError(f"/set {key} has no value", f"such as: /set {key} {Sample.model_fields[key].default}")
    checked = resolve("sample", settings=[Setting(f"sample.{key}", value, f"/set {key}")], environ={}).config.sample
    return settings.model_copy(update={key: getattr(checked, key)})


def _foreign(key: str, value: str) -> str | None:
    """Answer another program's name of a setting with ours, as it is to be typed where its value needs no rewriting."""
    from pylm.config.foreign import answer, foreign_key

    became = foreign_key(key, "sample")
    section, _, ours = (became.ours if became and became.ours else "").partition(".")
    if became is None or section != "sample":
        return None
    if became.reading == "same" and value:
        return f"it is {ours} here: /set {ours} {value}"
    return (answer(key, "sample") or "").replace("sample.", "")


class Console:
    """A reader of lines: those that begin with a slash are commands, the others go to `answer`."""

    def __init__(self, settings: Sample, answer: Callable[[str], None]) -> None:
        """Start with settings, which /set changes."""
        self.settings = settings
        self.answer = answer
        self.commands: dict[str, tuple[Callable[[str], None], str]] = {
            "set": (self._set, "KEY VALUE: change a setting, or take a preset: " + ", ".join(PRESET_NAMES)),
            "show": (self._show, "the settings"),
            "help": (self._help, "this"),
            "quit": (self._quit, "leave; so does Ctrl-D"),
        }
        self._left = False

    def run(self) -> None:
        """Read until the end; Ctrl-C ends an answer, and what was made of it stays.

        Where nobody sits before it (`echo hi | pylm chat`) an answer that failed is the command's failure at the end.
        """
        if sys.stdin is None:
            raise UsageError("stdin is closed", "type on a terminal, or pass lines: echo TEXT | pylm …")
        failed = False
        for line in self._lines():
            try:
                if line.startswith("/"):
                    self._command(line[1:])
                else:
                    self.answer(line)
            except KeyboardInterrupt:
                click.echo("\n(interrupted)", err=True)
            except PylmError as error:
                failed = failed or not line.startswith("/")
                message, hint = as_typed(error)
                click.echo(f"{message}{f' ({hint})' if hint else ''}", err=True)
            if self._left:
                break
        if failed and not sys.stdin.isatty():
            raise click.exceptions.Exit(1)

    def _lines(self) -> Iterator[str]:
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        if terminal:
            try:
                import readline  # noqa: F401 - importing it gives input() its editing and history
            except ModuleNotFoundError:
                pass
        while True:
            try:
                line = input("> ") if terminal else sys.stdin.readline()
            except EOFError:
                click.echo()
                return
            except KeyboardInterrupt:
                click.echo("\n(/quit or Ctrl-D leaves)", err=True)
                continue
            if not line and not terminal:
                return
            if line.strip():
                yield line.rstrip("\n")

    def _command(self, text: str) -> None:
        name, _, rest = text.strip().partition(" ")
        if name not in self.commands:
            near = did_you_mean(name, self.commands)
            raise UsageError(f"there is no /{name}", near or f"there are /{', /'.join(self.commands)}")
        self.commands[name][0](rest.strip())

    def _set(self, rest: str) -> None:
        key, _, value = rest.replace("=", " ", 1).partition(" ")
        if not key:
            raise UsageError("/set what?", "such as: /set temperature 0.7, or /set creative")
        self.settings = changed(self.settings, key, value.strip())
        self._show("")

    def _show(self, _rest: str) -> None:
        values = self.settings.model_dump()
        shown = {key: value for key, value in values.items() if value not in (None, ()) or key in ("seed",)}
        click.echo(", ".join(f"{key} {value}" for key, value in shown.items()), err=True)

    def _help(self, _rest: str) -> None:
        for name, (_, text) in self.commands.items():
            click.echo(f"/{name:8} {text}", err=True)

    def _quit(self, _rest: str) -> None:
        self._left = True
