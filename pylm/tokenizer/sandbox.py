"""A jinja2 sandbox for chat templates: nothing is reachable from one, and its steps and its strings are bounded.

A template comes with a tokenizer that somebody else made. jinja2's own sandbox keeps it from Python's inside; it does
not keep it from running for ever or from doubling a string until memory is gone, so loops, calls and whatever makes
strings grow are counted here.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator
from typing import Any

from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

__all__ = ["MAX_OUTPUT", "Refused", "Sandbox"]

MAX_STEPS = 1_000_000  # turns of loops and calls of functions and macros
MAX_OUTPUT = 16 * 1024 * 1024  # characters, of the whole and of any string on the way

STRING_METHODS = frozenset(
    "capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace istitle "
    "isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split "
    "splitlines startswith strip swapcase title upper".split()
)
# what builds long strings from short ones (center, indent, format, wordwrap, …) is left out
FILTERS = frozenset(
    "abs capitalize count d default dictsort e escape first float int items last length list lower map max min reject "
    "rejectattr reverse round safe select selectattr sort string sum title trim unique upper".split()
)


class Refused(Exception):
    """The template went past a limit, or called raise_exception."""


class _Count(NodeTransformer):
    """Puts a filter around what a loop runs over, and around each sum of strings."""

    def visit_For(self, node: nodes.For, *args: Any, **kwargs: Any) -> nodes.Node:
        self.generic_visit(node, *args, **kwargs)
        node.iter = _through("counted", node.iter)
        return node

    def visit_Concat(self, node: nodes.Concat, *args: Any, **kwargs: Any) -> nodes.Node:
        return _through("sized", self.generic_visit(node, *args, **kwargs))

    visit_Add = visit_Concat


def _through(name: str, node: Any) -> nodes.Filter:
    made = nodes.Filter(node, name, [], [], None, None)
    made.set_lineno(node.lineno)
    return made


class Sandbox(ImmutableSandboxedEnvironment):
    """Renders one template, once."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        """Leave templates what those in use need, set up as transformers sets it up."""
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        self.steps = 0
        self.filters = {name: value for name, value in self.filters.items() if name in FILTERS}
        self.filters.update(counted=self._counted, sized=_sized, tojson=_tojson, replace=_replace, join=_join)
        self.globals.clear()
        self.globals.update(
            range=_range, namespace=Namespace, dict=dict, strftime_now=_now, raise_exception=_raise_exception
        )

    def _generate(self, source: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._generate(_Count().visit(source), *args, **kwargs)

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Refused(f"the chat template takes more than {MAX_STEPS:,} steps")

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._step()
            yield item

    def call(self, context: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Call what a template calls, if it is harmless."""
        self._step()
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if name in ("format", "format_map"):
            raise Refused(f"the chat template calls {name}, which is not allowed")
        if isinstance(owner, str):
            if name not in STRING_METHODS:
                raise Refused(f"the chat template calls {name} of a string, which is not allowed")
            if name == "replace":
                return _replace(owner, *args)
            if name == "join":
                return _join(args[0], owner)
        return super().call(context, function, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Multiply and divide, if what comes out is small."""
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise Refused(f"the chat template uses {operator}, which is not allowed")
        if operator == "*" and _size(left) * _size(right) > MAX_STEPS:
            raise Refused("the chat template makes a huge product")
        return super().call_binop(context, operator, left, right)


def _size(value: Any) -> float:
    return len(value) if hasattr(value, "__len__") else abs(value)


def _sized(value: Any) -> Any:
    if (isinstance(value, str) and len(value) > MAX_OUTPUT) or (isinstance(value, list) and len(value) > MAX_STEPS):
        raise Refused("the chat template makes a huge string or list")
    return value


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    text, old, new = str(text), str(old), str(new)
    if len(text) + text.count(old) * len(new) > MAX_OUTPUT:
        raise Refused("the chat template makes a huge string")
    return text.replace(old, new, -1 if count is None else count)


def _join(items: Iterable[Any], between: str = "", attribute: str | None = None) -> str:
    texts = [str(item if attribute is None else item[attribute]) for item in items]
    if sum(map(len, texts)) + len(between) * len(texts) > MAX_OUTPUT:
        raise Refused("the chat template makes a huge string")
    return between.join(texts)


def _range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > MAX_STEPS:
        raise Refused(f"the chat template counts past {MAX_STEPS:,}")
    return made


def _now(form: str) -> str:
    return datetime.datetime.now().strftime(form[:100])


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    indent = None if indent is None else max(0, min(indent, 16))
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise Refused(f"the chat template refuses: {message}")
