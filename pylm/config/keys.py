"""Finds the key that a word means: qualified, short, spelled with dashes, or one of an older tool's."""

from __future__ import annotations

from pylm.config.foreign import FOREIGN_SECTIONS, answer, answer_section
from pylm.config.schema import SECTIONS
from pylm.config.values import Flag
from pylm.errors import ConfigError, did_you_mean
from pylm.wording import param

__all__ = ["all_keys", "find_key", "is_flag", "unknown_key", "unknown_section"]

SOUGHT = {"finetune": ("finetune", "train", "sample")}  # where a command seeks a short key, if not in its section alone


def all_keys() -> list[str]:
    """Name every key, qualified: `model.n_layers` and so on."""
    return [f"{section}.{key}" for section, kind in SECTIONS.items() for key in kind.model_fields]


def is_flag(section: str, key: str) -> bool:
    """Say whether a key is a yes or no, which may stand on a command line without its value."""
    return any(isinstance(item, Flag) for item in SECTIONS[section].model_fields[key].metadata)


def find_key(word: str, section: str | None = None, where: str | None = None) -> tuple[str, str]:
    """Return the section and key that a word means.

    Args:
        word: `train.max_steps`, `max_steps` or `max-steps`.
        section: the running command's, where a short key is sought first.
        where: what an error says of where the word stands; the word itself where None.
    """
    spelled = word.replace("-", "_")
    at = f" ({where})" if where else ""
    if "." in spelled:
        first, _, key = spelled.partition(".")
        if first not in SECTIONS:
            raise unknown_section(first, where, key)
        if key in SECTIONS[first].model_fields:
            return first, key
        raise unknown_key(f"{first}.{key}", where)
    for home in () if section is None else SOUGHT.get(section, (section,)):
        if spelled in SECTIONS[home].model_fields:
            return home, spelled
    homes = [name for name, kind in SECTIONS.items() if spelled in kind.model_fields]
    if len(homes) == 1:
        return homes[0], spelled
    if homes:
        raise ConfigError(
            f"{word} could be {' or '.join(f'{home}.{spelled}' for home in homes)}{at}",
            f"say which: --{homes[0]}.{spelled}",
        )
    raise unknown_key(spelled, where)


def unknown_key(word: str, where: str | None = None) -> ConfigError:
    """Return the error for a key that is none of ours: an older tool's is answered with ours, else the nearest."""
    section, _, key = word.rpartition(".")
    at = f" ({where})" if where else ""
    hint = answer(key, section)
    if hint is None:
        # nearest in its own section, else in any
        known = all_keys()
        near = did_you_mean(word, known) if section else None
        if near is None:
            short = {name.partition(".")[2]: name for name in reversed(known)}
            near = did_you_mean(key, short)
        hint = near or "pylm config show lists every key"
    return ConfigError(f"no such key: {word}{at}", hint)


def unknown_section(word: str, where: str | None = None, key: str = "") -> ConfigError:
    """Return the error for a section that is none of ours."""
    at = f" ({where})" if where else ""
    spelled = word.replace("-", "_")
    ours = FOREIGN_SECTIONS.get(spelled)
    if ours and key in SECTIONS[ours].model_fields:
        hint: str | None = f"it is {ours}.{key} here"
    elif any(spelled in kind.model_fields for kind in SECTIONS.values()):
        homes = [name for name, kind in SECTIONS.items() if spelled in kind.model_fields]
        hint = f"{spelled} belongs under {' or '.join(homes)}: write it there"
    else:
        hint = (answer(key) if key else None) or answer_section(spelled) or answer(spelled)
    if key in ("yaml", "yml", "json"):
        hint = f"a file is named by an option: {param('config', f'{word}.{key}')}"
    hint = hint or did_you_mean(word, SECTIONS) or f"the sections are {', '.join(SECTIONS)}"
    return ConfigError(f"no such section: {word}{at}", hint)
