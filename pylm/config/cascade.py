"""Puts a configuration together, and remembers where every value came from.

Later wins: defaults, preset, YAML files in their order, environment (`PYLM_TRAIN__MAX_STEPS`), command line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pylm.config.keys import find_key, unknown_key, unknown_section
from pylm.config.preset_files import preset_names, preset_path
from pylm.config.schema import SECTIONS, Config
from pylm.config.yaml_file import Mapped, read_yaml
from pylm.errors import ConfigError

__all__ = ["DEFAULT", "Resolved", "Setting", "resolve"]

DEFAULT = "default"
BATCH_KEYS = ("batch_tokens", "micro_batch", "grad_accum_steps")


@dataclass(frozen=True)
class Setting:
    """One value that somebody gave: the word for its key, the text, and where (`--max-steps`, `mine.yaml:4`)."""

    key: str
    value: Any
    origin: str


@dataclass(frozen=True)
class Resolved:
    """A configuration with the origin of each of its values, by qualified key."""

    config: Config
    origins: dict[str, str]

    def origin(self, key: str) -> str:
        """Return where a value came from; `default` where nobody gave it."""
        return self.origins.get(key, DEFAULT)

    def completed(self, values: Mapping[str, Any], origin: str) -> Resolved:
        """Return the configuration with these values, by qualified key, where nobody gave one."""
        open_values = {key: value for key, value in values.items() if self.origin(key) == DEFAULT}
        given = {
            f"{section}.{key}": value
            for section in SECTIONS
            for key, value in getattr(self.config, section).model_dump(exclude_unset=True).items()
        }
        origins = {**self.origins, **dict.fromkeys(open_values, origin)}
        return Resolved(_validate({**given, **open_values}, origins), origins)

    def to_yaml(self, keys: Iterable[str] | None = None) -> str:
        """Return it as a file that gives this very configuration when it is read."""
        return dump(self.config, keys)


def resolve(
    section: str | None = None,
    preset: str | None = None,
    files: Sequence[str | Path] = (),
    settings: Sequence[Setting] = (),
    environ: Mapping[str, str] | None = None,
) -> Resolved:
    """Return the configuration that its layers make together.

    Args:
        section: the running command's section, where short keys are sought first.
        preset: a name among the presets.
        files: YAML files, later ones over earlier.
        settings: what the command line gave, later over earlier.
        environ: the environment; this process's where None.
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    ranks: dict[str, int] = {}
    for rank, layer in enumerate(layers(section, preset, files, settings, environ)):
        for setting in layer:
            values[setting.key], origins[setting.key], ranks[setting.key] = setting.value, setting.origin, rank
    for key in _outvoted(values, ranks):
        del values[key], origins[key]
    return Resolved(_validate(values, origins), origins)


def layers(
    section: str | None = None,
    preset: str | None = None,
    files: Sequence[str | Path] = (),
    settings: Sequence[Setting] = (),
    environ: Mapping[str, str] | None = None,
) -> Iterator[list[Setting]]:
    """Yield what each layer says, as `resolve` takes them: the last one wins."""
    if preset is not None:
        yield list(_read(preset_path(preset), f"preset {preset_path(preset).stem}", ()))
    for file in files:
        yield list(_read(Path(file), str(file), ()))
    yield list(_from_environment(os.environ if environ is None else environ))
    yield [_place(setting, section) for setting in settings]


def dump(config: Config, keys: Iterable[str] | None = None) -> str:
    """Write a configuration as YAML; only `keys` (qualified) where given."""
    wanted = None if keys is None else set(keys)
    lines: list[str] = []
    for section in SECTIONS:
        part = getattr(config, section).model_dump(mode="json")
        chosen = {key: value for key, value in part.items() if wanted is None or f"{section}.{key}" in wanted}
        if chosen:
            lines.append(f"{section}:")
            lines += [f"  {key}: {_inline(value)}" for key, value in chosen.items()]
    return "\n".join(lines) + "\n"


def _inline(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6, sort_keys=False)
    return text.removesuffix("...\n").rstrip("\n")


def _read(path: Path, name: str, within: tuple[Path, ...]) -> Iterator[Setting]:
    """Yield what a file sets, after what the files that it extends set."""
    real = path.resolve()
    if real in within:
        raise ConfigError(f"{name} extends itself, by way of {' and '.join(part.name for part in within)}")
    top = read_yaml(path, name)
    for base in _bases(top, name):
        yield from _read(*_find_base(base, path, f"{name}:{top.lines['extends']}"), (*within, real))
    for section, mapped, line in top.items():
        where = f"{name}:{line}"
        if section == "extends":
            continue
        if section not in SECTIONS:
            raise unknown_section(section, where)
        if mapped is None:
            continue
        if not isinstance(mapped, Mapped):
            raise ConfigError(f"{where}: {section} holds keys, one a line beneath it, not {mapped!r}")
        for key, value, key_line in mapped.items():
            if key not in SECTIONS[section].model_fields:
                raise unknown_key(f"{section}.{key}", f"{name}:{key_line}")
            yield Setting(f"{section}.{key}", _plain(value), f"{name}:{key_line}")


def _bases(top: Mapped, name: str) -> list[str]:
    bases = top.values.get("extends")
    listed = [bases] if isinstance(bases, str) else bases
    if listed is None:
        return []
    if not isinstance(listed, list) or not all(isinstance(base, str) for base in listed):
        raise ConfigError(f"{name}:{top.lines['extends']}: extends names a preset or a file, or a list of them")
    return listed


def _find_base(base: str, path: Path, where: str) -> tuple[Path, str]:
    """Return the file that `extends` names: one beside the file that says so, else a preset."""
    beside = path.parent / base
    if base in preset_names() and not (beside.suffix and beside.is_file()):
        return preset_path(base), f"preset {base}"
    if beside.is_file():
        return beside, str(beside)
    hint = f"extends names a file beside this one or a preset: {', '.join(preset_names())}"
    raise ConfigError(f"{where}: there is no {base}", hint)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapped):
        return {key: _plain(item) for key, item in value.values.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _from_environment(environ: Mapping[str, str]) -> Iterator[Setting]:
    """Yield what PYLM_SECTION__KEY sets; PYLM_ names without two underscores are not configuration."""
    for name, value in sorted(environ.items()):
        if name.startswith("PYLM_") and "__" in name:
            section, _, key = name[5:].lower().partition("__")
            yield Setting(".".join(find_key(f"{section}.{key}", None, name)), _text(value), name)


def _place(setting: Setting, section: str | None) -> Setting:
    return Setting(".".join(find_key(setting.key, section)), _text(setting.value), setting.origin)


def _text(value: Any) -> Any:
    """Return a typed value, a list or a mapping read in YAML's short form; any other text stays as it is."""
    if isinstance(value, str) and value[:1] + value[-1:] in ("[]", "{}"):
        try:
            return yaml.load(value, Loader=yaml.BaseLoader)
        except (yaml.YAMLError, RecursionError):
            return value
    return value


def _outvoted(values: Mapping[str, Any], ranks: Mapping[str, int]) -> list[str]:
    """Return the key, if any, that two others, given later, settle.

    A preset's batch_tokens yields to a command line's other two.
    """
    keys = [f"train.{key}" for key in BATCH_KEYS]
    if not all(values.get(key) not in (None, "auto") for key in keys):
        return []
    least = min(ranks[key] for key in keys)
    lowest = [key for key in keys if ranks[key] == least]
    return lowest if len(lowest) == 1 else []


def _validate(values: Mapping[str, Any], origins: Mapping[str, str]) -> Config:
    tree: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = value
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        sentences = []
        hint = None
        for problem in error.errors(include_url=False):
            key = ".".join(str(part) for part in problem["loc"][:2])
            context = problem.get("ctx", {})
            sentence = context.get("sentence") or str(context.get("error") or problem["msg"])
            # a check between keys names them: say where each of them came from
            named = (
                [key]
                if key in origins
                else [name for name in origins if re.search(rf"\b{name[name.find('.') + 1 :]}\b", sentence)]
            )
            where = f" ({', '.join(origins[name] for name in named)})" if named else ""
            sentences.append(f"{key}{where}: {sentence}" if key in origins else f"{sentence}{where}")
            hint = hint or context.get("hint")
        raise ConfigError("; ".join(sentences), hint) from None
