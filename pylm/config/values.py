"""What a key accepts: the same reading of a value whether it stands in YAML, the environment or on the command line.

Each class is put beside a field's type (`Annotated[int, Whole(least=1)]`); pydantic calls it, and it says in one
sentence what is wrong. `none` lets `none` and `null` through, `auto` the word `auto`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from pylm.config.units import parse_count, parse_duration, parse_number
from pylm.errors import did_you_mean

__all__ = [
    "Cleaning",
    "Device",
    "Duration",
    "Flag",
    "Real",
    "Reals",
    "Scaling",
    "Text",
    "Texts",
    "Weights",
    "Whole",
    "Word",
]

NONE_WORDS = ("none", "null", "~")
TRUE_WORDS = ("true", "yes", "on", "1")
FALSE_WORDS = ("false", "no", "off", "0")
# What each way to scale rotary positions is told: needed, and what may be said beside it
SCALINGS: dict[str, tuple[set[str], set[str]]] = {
    "linear": ({"factor"}, set()),
    "ntk": ({"factor"}, set()),
    "yarn": ({"factor", "original_max_positions"}, {"beta_fast", "beta_slow", "attention_factor"}),
    "llama3": ({"factor", "original_max_positions"}, {"low_freq_factor", "high_freq_factor"}),
}


@dataclass(frozen=True, kw_only=True)
class Value(ABC):
    """A reader of one value; the `hint` of an error travels in its context."""

    none: bool = False
    auto: bool = False
    words: tuple[str, ...] = ()  # that stand for a value, such as `inherit`

    @abstractmethod
    def _read(self, value: Any) -> Any:
        """Return the value in its own type, or raise ValueError with a sentence."""

    @abstractmethod
    def _schema(self) -> dict[str, Any]:
        """Describe to an editor what may be written."""

    def __call__(self, value: Any) -> Any:
        if isinstance(value, str) and self.auto and value.lower() == "auto":
            return "auto"
        if isinstance(value, str) and value.lower() in self.words:
            return value.lower()
        if value is None or (self.none and isinstance(value, str) and value.lower() in NONE_WORDS):
            if self.none:
                return None
            raise PydanticCustomError("pylm", "a value is needed here", {"hint": None})
        try:
            return self._read(value)
        except ValueError as error:
            sentence, hint = (*error.args, None)[:2]
            raise PydanticCustomError("pylm", "{sentence}", {"sentence": str(sentence), "hint": hint}) from None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        kinds = [self._schema()]
        kinds += [{"const": word} for word in (*self.words, *(["auto"] if self.auto else []))]
        kinds += [{"type": "null"}] if self.none else []
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


_NUMBER_TEXT = {"type": "string", "pattern": "^[+-]?[0-9._]+([eE][+-]?[0-9]+)? *[kKmMgGbBtT]?$"}


@dataclass(frozen=True, kw_only=True)
class Whole(Value):
    """A whole number: 50, 1e6, 10M."""

    least: int = 0

    def _read(self, value: Any) -> int:
        if isinstance(value, str):
            value = parse_count(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != math.floor(value):
            raise ValueError(f"{value!r} is not a whole number")
        if value < self.least:
            raise ValueError(f"{value} is less than {self.least}")
        return int(value)

    def _schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer", "minimum": self.least}, _NUMBER_TEXT]}


@dataclass(frozen=True, kw_only=True)
class Real(Value):
    """A number in a range, whose ends may be excluded."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def _read(self, value: Any) -> float:
        if isinstance(value, str):
            value = parse_number(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{value!r} is not a number")
        if value < self.least:
            raise ValueError(f"{value} is less than {self.least}")
        if value > self.most:
            raise ValueError(f"{value} is more than {self.most}")
        if value <= self.above:
            raise ValueError(f"{value} is not above {self.above}")
        if value >= self.below:
            raise ValueError(f"{value} is not below {self.below}")
        return float(value)

    def _schema(self) -> dict[str, Any]:
        limits = {
            "minimum": self.least,
            "maximum": self.most,
            "exclusiveMinimum": self.above,
            "exclusiveMaximum": self.below,
        }
        number = {"type": "number", **{name: limit for name, limit in limits.items() if math.isfinite(limit)}}
        return {"anyOf": [number, _NUMBER_TEXT]}


@dataclass(frozen=True, kw_only=True)
class Duration(Value):
    """A time in seconds, or as 90s, 2h, 1h30m."""

    def _read(self, value: Any) -> float:
        seconds = parse_duration(value) if isinstance(value, str) else value
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise ValueError(f"{value!r} is not a time")
        if not 0 < seconds < math.inf:
            raise ValueError(f"{value} is not a time above zero")
        return float(seconds)

    def _schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": "^[0-9. smhdin]+$"}]}


@dataclass(frozen=True, kw_only=True)
class Flag(Value):
    """A yes or no: true, false, yes, no, on, off."""

    def _read(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = str(value).lower()
        if word in TRUE_WORDS:
            return True
        if word in FALSE_WORDS:
            return False
        raise ValueError(f"{value!r} is neither true nor false")

    def _schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, kw_only=True)
class Word(Value):
    """One of a few words."""

    of: tuple[str, ...] = ()

    def _read(self, value: Any) -> str:
        word = str(value).lower().replace("_", "-")
        spelled = {one.replace("_", "-"): one for one in self.of}
        if word not in spelled:
            known = [*(["auto"] if self.auto else []), *self.of]
            raise ValueError(f"{value!r} is none of {', '.join(known)}", did_you_mean(word, known))
        return spelled[word]

    def _schema(self) -> dict[str, Any]:
        return {"enum": list(self.of)}


@dataclass(frozen=True, kw_only=True)
class Device(Value):
    """Where to compute: cpu, cuda, cuda:1, mps."""

    def _read(self, value: Any) -> str:
        kind, _, index = str(value).lower().partition(":")
        known = ("auto", "cpu", "cuda", "mps")
        if kind not in known[1:] or (index and not (kind == "cuda" and index.isdecimal() and index.isascii())):
            raise ValueError(f"{value!r} is none of auto, cpu, cuda, cuda:N, mps", did_you_mean(kind, known))
        return str(value).lower()

    def _schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^(cpu|cuda|cuda:[0-9]+|mps)$"}


@dataclass(frozen=True, kw_only=True)
class Text(Value):
    """Any text, such as a path."""

    def _read(self, value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError(f"{value!r} is not a text" if value != "" else "it is empty")
        return value

    def _schema(self) -> dict[str, Any]:
        return {"type": "string"}


@dataclass(frozen=True, kw_only=True)
class Texts(Value):
    """A list of texts; one alone need not stand in brackets, nor several names `apart` by commas."""

    apart: bool = False

    def _read(self, value: Any) -> tuple[str, ...]:
        items = (value.split(",") if self.apart else [value]) if isinstance(value, str) else value
        if not isinstance(items, Sequence) or not all(isinstance(item, str) and item for item in items):
            raise ValueError(f"{value!r} is not a list of texts")
        return tuple(items)

    def _schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}


@dataclass(frozen=True, kw_only=True)
class Reals(Value):
    """A fixed count of numbers in a range: [0.9, 0.95], or 0.9,0.95."""

    count: int = 2
    each: Real = Real()

    def _read(self, value: Any) -> tuple[float, ...]:
        items = value.strip("[]() ").split(",") if isinstance(value, str) else value
        if not isinstance(items, Sequence) or len(items) != self.count:
            raise ValueError(f"{value!r} is not {self.count} numbers such as 0.9,0.95")
        return tuple(self.each._read(item) for item in items)

    def _schema(self) -> dict[str, Any]:
        number = self.each._schema()
        return {"type": "array", "items": number, "minItems": self.count, "maxItems": self.count}


@dataclass(frozen=True, kw_only=True)
class Weights(Value):
    """Names with weights: {data/x: 0.7, data/y: 0.3}, or data/x=0.7,data/y=0.3."""

    def _read(self, value: Any) -> dict[str, float]:
        if isinstance(value, str):
            pairs = [part.rpartition("=") for part in value.split(",")]
            value = {name.strip(): weight for name, _, weight in pairs}
        if not isinstance(value, Mapping) or not value or not all(isinstance(name, str) and name for name in value):
            raise ValueError(f"{value!r} is not a list of weights such as data/x=0.7,data/y=0.3")
        return {name: Real(above=0.0)._read(weight) for name, weight in value.items()}

    def _schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": {"anyOf": [{"type": "number"}, _NUMBER_TEXT]}}


@dataclass(frozen=True, kw_only=True)
class Cleaning(Value):
    """Rules of cleaning, or its options with values: {rules: gopher, near: 0.9}, or rules=gopher,near=0.9."""

    def _read(self, value: Any) -> str | dict[str, Any]:
        if isinstance(value, str) and value:
            pairs = [part.partition("=") for part in value.split(",")]
            if not all(name.strip().isidentifier() and equals for name, equals, _ in pairs):
                return value
            value = {name.strip(): told.strip() for name, _, told in pairs}
        if not isinstance(value, Mapping) or not value or not all(isinstance(name, str) for name in value):
            raise ValueError(f"{value!r} is neither rules such as fineweb nor options such as rules=gopher,near=0.9")
        return {name: _written(told) for name, told in value.items()}

    def _schema(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, {"type": "object"}]}


def _written(value: Any) -> Any:
    """Return a value with its numbers as texts, as a file has them: cleaning reads each as its option wants it."""
    if isinstance(value, Mapping):
        return {str(name): _written(told) for name, told in value.items()}
    if isinstance(value, list | tuple):
        return [_written(one) for one in value]
    return value if value is None or isinstance(value, bool) else str(value)


@dataclass(frozen=True, kw_only=True)
class Scaling(Value):
    """How rotary positions are scaled: {type: llama3, factor: 8, …}, or type=llama3,factor=8."""

    def _read(self, value: Any) -> dict[str, str | float]:
        if isinstance(value, str):
            pairs = [part.partition("=") for part in value.split(",")]
            value = {name.strip(): told for name, _, told in pairs}
        kind = value.get("type") if isinstance(value, Mapping) else None
        if not isinstance(kind, str) or kind not in SCALINGS:
            raise ValueError(f"{value!r} has no type among {', '.join(SCALINGS)}")
        needed, allowed = SCALINGS[kind]
        assert isinstance(value, Mapping)
        if missing := needed - value.keys():
            raise ValueError(f"{kind} needs {' and '.join(sorted(missing))}")
        if strange := value.keys() - needed - allowed - {"type"}:
            raise ValueError(f"{kind} knows no {' or '.join(sorted(map(str, strange)))}")
        read = {name: Real(above=0.0)._read(told) for name, told in value.items() if name != "type"}
        if read["factor"] < 1:
            raise ValueError(f"factor {read['factor']} is less than 1")
        return {"type": kind, **read}

    def _schema(self) -> dict[str, Any]:
        number = {"anyOf": [{"type": "number"}, _NUMBER_TEXT]}
        return {
            "type": "object",
            "properties": {"type": {"enum": list(SCALINGS)}},
            "required": ["type", "factor"],
            "additionalProperties": number,
        }
