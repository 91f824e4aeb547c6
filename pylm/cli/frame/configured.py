"""Commands that take the keys of the configuration as options, in any of four spellings.

`--max_steps 50`, `--max-steps 50`, `--train.max_steps 50` and `max_steps=50` are one. A command is made with
`configured("train", …)` instead of `command(…)` and receives `given`, from which `given.resolve()` makes the
configuration: until then nothing heavy is imported.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pylm.cli.frame.command import Command, command
from pylm.errors import ConfigError, PylmError, UsageError

if TYPE_CHECKING:
    pass

__all__ = ["ConfiguredCommand", "complete_file", "configured"]

SETTINGS = "pylm.settings"
OPEN = "pylm.open"  # the key whose value is being typed
_ASSIGNMENT = re.compile(r"([A-Za-z_][\w.-]*)=(.*)", re.DOTALL)
SURE = 0.85  # how near a word is that leaves no doubt
_BOOLEAN = re.compile(r"true|false|yes|no|on|off|0|1|auto", re.IGNORECASE)


class ConfiguredCommand(Command):
    """A command whose unknown options are keys of the configuration."""

    def __init__(self, *args: Any, section: str | None = None, **kwargs: Any) -> None:
        """Take what Command takes, and the section where short keys are sought first."""
        super().__init__(*args, **kwargs)
        self.section = section

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the settings out, and leave click its own."""
        settings: list[tuple[str, str, str]] = []
        try:
            rest = list(self._without_settings(ctx, args, settings))
        except PylmError:
            if not ctx.resilient_parsing:  # a shell that completes a half-typed line
                raise
            rest = []
        ctx.meta[SETTINGS] = tuple(settings)
        return super().parse_args(ctx, rest)

    def invoke(self, ctx: click.Context) -> Any:
        """Hand the function what was given."""
        preset = ctx.params.pop("preset")
        files = ctx.params.pop("config_files")
        from pylm.config.given import Given

        ctx.params["given"] = Given(self.section, preset, tuple(files), ctx.meta[SETTINGS])
        return super().invoke(ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete the keys, beside the options."""
        if OPEN in ctx.meta:
            return complete_file(ctx, None, incomplete)
        found: list[Any] = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("--"):
            from click.shell_completion import CompletionItem

            from pylm.config.schema import SECTIONS

            keys = {f"--{key.replace('_', '-')}" for kind in SECTIONS.values() for key in kind.model_fields}
            found += [CompletionItem(key) for key in sorted(keys) if key.startswith(incomplete.replace("_", "-"))]
        return found

    def _without_settings(
        self, ctx: click.Context, args: Sequence[str], settings: list[tuple[str, str, str]]
    ) -> Iterator[str]:
        own = self._own_options(ctx)
        words = list(args)
        while words:
            word = words.pop(0)
            if word == "--":
                yield from (word, *words)
                return
            assignment = _ASSIGNMENT.fullmatch(word)
            if word.startswith("--"):
                name, equals, value = word.partition("=")
                option = own.get(name.replace("_", "-"))
                if option is not None:
                    if not equals and _may_stand_alone(option):
                        # written with `=`, for click would take the next word, a setting or a text, as its value
                        alone = not words or words[0].startswith("-") or self._is_setting(words[0])
                        yield f"{word}={option.flag_value if alone else words.pop(0)}"
                        continue
                    yield word
                    if not equals and not option.is_flag:
                        yield from _take(words, option.nargs)
                else:
                    settings.append(self._setting(ctx, own, name, value if equals else None, words))
            elif word.startswith("-") and len(word) == 2 and word in own and not own[word].is_flag:
                yield word
                yield from _take(words, own[word].nargs)
            elif assignment and self._is_setting(word):
                settings.append(self._setting(ctx, own, f"--{assignment[1]}", assignment[2], words, word))
            else:
                yield word

    def _is_setting(self, word: str) -> bool:
        return _ASSIGNMENT.fullmatch(word) is not None and not Path(word).exists()

    def _own_options(self, ctx: click.Context) -> dict[str, click.Option]:
        options = (param for param in self.get_params(ctx) if isinstance(param, click.Option))
        return {name: option for option in options for name in (*option.opts, *option.secondary_opts)}

    def _setting(
        self,
        ctx: click.Context,
        own: dict[str, click.Option],
        option: str,
        value: str | None,
        words: list[str],
        typed: str | None = None,
    ) -> tuple[str, str, str]:
        """Read one setting, taking its value from the words that follow where it is not yet there."""
        from pylm.config.keys import find_key, is_flag

        word = option[2:]
        try:
            section, key = find_key(word, self.section, None if typed else option)
        except ConfigError as error:
            negated = self._negated(word) if value is None else None
            if negated is not None:
                return negated, "false", option
            if typed is not None:
                raise
            taken = words[0] if words and value is None and not words[0].startswith("-") else value
            if (ours := _answered(word, taken, self.section)) is not None:
                raise ConfigError(error.marked[0], ours) from None
            if (near := _nearest(word, own)) is not None:
                raise UsageError(f"{ctx.command_path} has no option {option}", near) from None
            raise
        if value is None:
            if is_flag(section, key) and not (words and _BOOLEAN.fullmatch(words[0])):
                value = "true"
            elif words and not words[0].startswith("--"):
                value = words.pop(0)
            else:
                ctx.meta[OPEN] = section, key
                raise UsageError(f"{option} has no value", f"such as: {option} {_example(section, key)}")
        return f"{section}.{key}", value, typed or option

    def _negated(self, word: str) -> str | None:
        """Return the key that `no-KEY` switches off."""
        from pylm.config.keys import find_key, is_flag

        if not word.startswith(("no-", "no_")):
            return None
        try:
            section, key = find_key(word[3:], self.section)
        except ConfigError:
            return None
        return f"{section}.{key}" if is_flag(section, key) else None


def _may_stand_alone(option: click.Option) -> bool:
    """Say whether an option takes a value or none, as `--resume` does."""
    return not option.is_flag and isinstance(option.flag_value, str)


def _answered(word: str, value: str | None, asked: str | None) -> str | None:
    """Answer whoever types an option of another program with ours, whole where its value needs no rewriting."""
    from pylm.config.foreign import OF_WRITING, answer, foreign_key
    from pylm.config.schema import SECTIONS

    section, _, key = word.replace("-", "_").rpartition(".")
    if asked == "sample" and section in ("", asked) and key in OF_WRITING:
        return f"{answer(key, asked)}: {OF_WRITING[key][0]}{'' if value is None else f' {shlex.quote(value)}'}"
    became = foreign_key(key, section)
    said = answer(key, section)
    if became is None or became.ours is None or said is None:
        return said
    home, _, name = became.ours.partition(".")
    alone = sum(name in kind.model_fields for kind in SECTIONS.values()) == 1
    ours = f"--{name if alone else became.ours}".replace("_", "-")
    if became.reading == "drop":
        return said
    if became.reading == "same" and value is not None:
        ours += f" {shlex.quote(value)}"
    return f"{said}: {ours}"


def _nearest(word: str, own: Mapping[str, Any]) -> str | None:
    """Name the nearest of the command's own options, where no key is: by their words, for all have the dashes."""
    from difflib import get_close_matches

    from pylm.config.keys import all_keys

    options = [name[2:] for name in own if name.startswith("--")]
    keys = [key.partition(".")[2].replace("_", "-") for key in all_keys()]
    typed = word.lower().replace("_", "-")
    near = get_close_matches(typed, [*options, *keys], n=2)
    near = get_close_matches(typed, near, n=2, cutoff=SURE) or near  # `resum` is hardly `slurm`
    if not near or near[0] not in options:
        return None
    return f"did you mean {' or '.join(f'--{name}' for name in near if name in options)}?"


def _take(words: list[str], count: int) -> list[str]:
    taken, words[:] = words[:count], words[count:]
    return taken


def complete_file(ctx: click.Context, _param: click.Parameter | None, incomplete: str) -> list[Any]:
    """Complete what stands alone: the value of a key that was typed before it, else a file."""
    from click.shell_completion import CompletionItem

    if OPEN in ctx.meta:
        return [CompletionItem(word) for word in _choices(*ctx.meta[OPEN]) if word.startswith(incomplete)]
    return [CompletionItem(incomplete, type="file")]


def _choices(section: str, key: str) -> list[str]:
    """Return the words that a key accepts, where it accepts so few."""
    from pylm.config.schema import SECTIONS
    from pylm.config.values import Flag, Value, Word

    for item in SECTIONS[section].model_fields[key].metadata:
        if isinstance(item, Value):
            words = list(item.of) if isinstance(item, Word) else ["true", "false"] if isinstance(item, Flag) else []
            return [*words, *item.words, *(["auto"] if item.auto else []), *(["null"] if item.none else [])]
    return []


def _example(section: str, key: str) -> object:
    from pylm.config.schema import SECTIONS

    default = SECTIONS[section].model_fields[key].default
    return 100 if default is None else default


def _presets(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from pylm.config.preset_files import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


def configured(
    section: str | None,
    name: str | None = None,
    *,
    example: str,
    presets: tuple[Sequence[str], str] | None = None,
    **attributes: Any,
) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command that takes `--preset`, `--config` and every key; it receives `given`.

    `presets` are the names of the command's own and the help of its `--preset`; the configuration's, unless given.
    """

    def decorate(function: Callable[..., Any]) -> Command:
        file_type = click.Path(dir_okay=False)
        function = click.option(
            "--config",
            "config_files",
            multiple=True,
            type=file_type,
            metavar="FILE",
            help="A YAML file; later ones win.",
        )(function)
        if presets is None:
            said = "Start from a preset, such as tiny or gpt2-124m."
            preset = click.option("--preset", metavar="NAME", shell_complete=_presets, help=said)
        else:
            preset = click.option("--preset", type=click.Choice(presets[0]), help=presets[1])
        function = preset(function)
        return command(name, example=example, cls=ConfiguredCommand, section=section, **attributes)(function)

    return decorate
