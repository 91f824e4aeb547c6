"""Reads a YAML file with its line numbers, and refuses what YAML allows and a configuration has no use for.

Plain scalars stay texts (but null, true and false), so that `1e-3`, which YAML 1.1 calls a text, `on` and `1:30` mean
what they mean on the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pylm.errors import ConfigError

__all__ = ["Mapped", "read_yaml"]

# The largest configuration of the older tools is 3 kB. A file of 1 kB with nested aliases can mean gigabytes.
MOST_BYTES = 1 << 20
MOST_VALUES = 20_000
MOST_DEPTH = 20
SECTIONS, EXAMPLE = "sections (model:, train:, …)", "pylm config show prints what such a file looks like"
PLAIN_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Mapped:
    """A mapping with the line that each of its keys stands on."""

    values: dict[str, Any]
    lines: dict[str, int]

    def items(self) -> Iterator[tuple[str, Any, int]]:
        """Yield key, value and line, in the order of the file."""
        return ((key, value, self.lines[key]) for key, value in self.values.items())


def read_yaml(path: Path, name: str | None = None, *, holds: str = SECTIONS, example: str = EXAMPLE) -> Mapped:
    """Read a file whose top is a mapping (JSON is YAML too).

    Args:
        path: where it lies.
        name: what messages call it; the path where None.
        holds: what its top is of.
        example: where one can be seen.
    """
    name = name or str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {(error.strerror or str(error)).lower()}") from None
    if len(raw) > MOST_BYTES:
        raise ConfigError(f"{name} has {len(raw)} bytes: too much for a configuration, which may have {MOST_BYTES}")
    try:
        node = yaml.compose(raw.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 text: byte {error.start} cannot be read") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{name}{line}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{name} is nested too deeply for a configuration") from None
    if node is None or (isinstance(node, yaml.ScalarNode) and node.style is None and not node.value):
        return Mapped({}, {})
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(
            f"{name}:{_line(node)}: expected {holds}, found a {_KINDS[type(node)]}",
            example,
        )
    mapped = _Reader(name).value(node, 0)
    assert isinstance(mapped, Mapped)
    return mapped


_KINDS = {yaml.ScalarNode: "single value", yaml.SequenceNode: "list", yaml.MappingNode: "mapping"}


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


class _Reader:
    """A reader that turns nodes into values and counts them: an alias costs what it stands for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0

    def value(self, node: yaml.Node, depth: int) -> Any:
        """Read one node."""
        self.count += 1
        if self.count > MOST_VALUES:
            raise ConfigError(f"{self.name}: more than {MOST_VALUES} values once its aliases are followed")
        if depth > MOST_DEPTH:
            raise ConfigError(f"{self.name}:{_line(node)}: nested more than {MOST_DEPTH} deep")
        if not str(node.tag).startswith("tag:yaml.org,2002:") or ":python/" in str(node.tag):
            raise ConfigError(f"{self.name}:{_line(node)}: the tag {node.tag} has no meaning here")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> Mapped:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{self.name}:{_line(key_node)}: a key must be a word")
            key = self._text(key_node)
            if key in values:
                raise ConfigError(
                    f"{self.name}:{_line(key_node)}: {key} is given twice, first on line {lines[key]}",
                    "delete one of the two",
                )
            values[key] = self.value(value_node, depth + 1)
            lines[key] = _line(key_node)
        return Mapped(values, lines)

    def _scalar(self, node: yaml.Node) -> Any:
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        text = self._text(node)
        return PLAIN_WORDS.get(text.lower(), text) if plain else text

    def _text(self, node: yaml.Node) -> str:
        """Join the two halves in which JSON escapes what lies beyond U+FFFF; PyYAML leaves them apart."""
        try:
            return str(node.value).encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise ConfigError(f"{self.name}:{_line(node)}: half a character: {node.value!r}") from None
