"""A jinja2 sandbox for chat templates: nothing is reachable from one, and what it writes is followed and counted.

A template comes with a tokenizer that somebody else made. jinja2's own sandbox keeps it from Python's inside; loops,
calls and whatever makes strings and lists grow are counted here, so that a template that goes too far is told so in a
sentence. What no count sees (time, memory of shared lists) is bounded by the process that `render_child` runs in.
"""

from __future__ import annotations

import datetime
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from pylm.tokenizer.said import Refused, Said, SaidFloat, SaidInt, joined, mark, plain, replaced, spoken, whole

__all__ = ["Sandbox"]

MAX_STEPS = 1_000_000  # turns of loops and calls of functions and macros

STRING_METHODS = frozenset(
    "capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace istitle "
    "isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split "
    "splitlines startswith strip swapcase title upper".split()
)
# Filters by what they do with marks; what builds long strings (center, indent, format, wordwrap, …) is left out.
# These make text of whatever they are given, and are given it as it is spoken: jinja's own str() would forget the marks
TO_TEXT = frozenset("capitalize e escape lower replace safe string title trim upper".split())
TO_NUMBER = frozenset("abs float int round".split())
# these hand out parts of what they are given, with their marks, or count them
TO_PARTS = frozenset(
    "count d default dictsort first items join last length list map max min reject rejectattr reverse select "
    "selectattr sort sum tojson unique".split()
)
FILTERS = TO_TEXT | TO_NUMBER | TO_PARTS

# Templates build control tokens from these (`<|` + role + `|>`); a role by another name is text like any other.
ROLES = frozenset(
    "system developer user human assistant model tool tools function observation ipython environment".split()
)


class _Watched(NodeTransformer):
    """An environment that counts what a loop runs over, and joins with `~` what keeps its marks."""

    def visit_For(self, node: nodes.For, *args: Any, **kwargs: Any) -> nodes.Node:
        self.generic_visit(node, *args, **kwargs)
        node.iter = _through("counted", node.iter)
        return node

    def visit_ScopedEvalContextModifier(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        raise Refused("the chat template uses autoescape, which is not allowed")

    def visit_Concat(self, node: nodes.Concat, *args: Any, **kwargs: Any) -> nodes.Node:
        self.generic_visit(node, *args, **kwargs)
        parts = nodes.List(node.nodes)
        parts.set_lineno(node.lineno)
        return _through("joined", parts)


class _Generation(Extension):
    """The block `{% generation %}` of transformers, around what a model is to write: its borders stand in the text."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the block's own nodes between two that write its borders."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        assert isinstance(self.environment, Sandbox)
        self.environment.marks = True
        begin, end = (nodes.Output([nodes.TemplateData(one)], lineno=line) for one in self.environment.borders)
        return [begin, *body, end]


def _through(name: str, node: Any) -> nodes.Filter:
    made = nodes.Filter(node, name, [], [], None, None)
    made.set_lineno(node.lineno)
    return made


class Sandbox(ImmutableSandboxedEnvironment):
    """A renderer of one template, whose own text is plain and whose variables are marked."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    concat = staticmethod(joined)

    def __init__(self, template: str) -> None:
        """Compile the template, and leave it what those in use need, set up as transformers sets it up."""
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _Generation],
            finalize=spoken,
            cache_size=0,
        )
        # of what a model is to write; nobody outside can know them, so no message can hold one
        self.marks = False  # whether the template has such a block
        secret = secrets.token_hex(16)
        self.borders = f"\x02{secret}\x02", f"\x03{secret}\x03"
        self.steps = 0
        self.filters = {name: value for name, value in self.filters.items() if name in FILTERS}
        self.filters.update(replace=_replace, string=spoken, safe=spoken, e=_escape, escape=_escape, title=_title)
        self.filters.update({name: _to_text(self.filters[name]) for name in TO_TEXT})
        self.filters.update({name: _to_number(self.filters[name]) for name in TO_NUMBER})
        self.filters.update(join=_join, sum=self._sum, tojson=_tojson, counted=self._counted, joined=_concatenated)
        self.globals.clear()
        self.globals.update(
            range=_range, namespace=Namespace, dict=dict, strftime_now=_now, raise_exception=_raise_exception
        )
        self._template = self.from_string(template)

    def rendered(self, named: Mapping[str, str], brought: Mapping[str, Any]) -> str:
        """Return what a template makes of the special tokens that are named to it and of what a conversation brings."""
        self.steps = 0
        given = {name: mark(value) for name, value in brought.items()}
        for message in given["messages"]:
            if message["role"] in ROLES:
                message["role"] = plain(message["role"])
        context = self._template.new_context({**named, **given})
        return joined(self._template.root_render_func(context))

    def _generate(self, source: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._generate(_Watched().visit(source), *args, **kwargs)

    def _step(self) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Refused(f"the chat template takes more than {MAX_STEPS:,} steps")

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._step()
            yield item

    def _sum(self, items: Iterable[Any], attribute: Any = None, start: Any = 0) -> Any:
        total = start
        for item in self._counted(items):
            total = _sized(total + (item if attribute is None else self.getitem(item, attribute)))
        return total

    def call(self, context: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Return what a call of the template gives, if it is harmless; a text that comes of marked ones is marked."""
        self._step()
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if name in ("format", "format_map"):
            raise Refused(f"the chat template calls {name}, which is not allowed")
        if isinstance(owner, str):
            if name not in STRING_METHODS:
                raise Refused(f"the chat template calls {name} of a string, which is not allowed")
            if name == "replace":
                return _replace(owner, *args, **kwargs)
            if name == "join":
                return _join(args[0], owner)
        if isinstance(owner, (bytes, bytearray)):
            raise Refused(f"the chat template calls {name} of bytes, which is not allowed")
        made = super().call(context, function, *args, **kwargs)
        lost = type(made) is str and not isinstance(owner, str) and not isinstance(function, Macro)
        return _like(made, owner, *args, *kwargs.values()) if lost else made

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Return what an operator computes, if what comes out is small."""
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise Refused(f"the chat template uses {operator}, which is not allowed")
        if operator == "*" and _size(left) * _size(right) > MAX_STEPS:
            raise Refused("the chat template makes a huge product")
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            return joined((left, right))
        return _sized(super().call_binop(context, operator, left, right))


def _size(value: Any) -> float:
    return len(value) if hasattr(value, "__len__") else abs(value)


def _sized(value: Any) -> Any:
    if isinstance(value, (list, tuple)) and len(value) > MAX_STEPS:
        raise Refused("the chat template makes a huge string or list")
    return value


def _concatenated(parts: list[Any]) -> str:
    return joined(map(spoken, parts))


def _replace(text: Any, old: Any, new: Any, count: int | None = -1) -> str:
    return replaced(spoken(text), spoken(old), spoken(new), -1 if count is None else count)


def _join(items: Iterable[Any], between: Any = "", attribute: str | None = None) -> str:
    parts: list[str] = []
    for item in items:
        part = spoken(item if attribute is None else item[attribute])
        parts += (spoken(between), part) if parts else (part,)
    return joined(parts)


def _like(made: str, *given: Any) -> str:
    """Return a text, marked, that was made of others by rules that are not followed here."""
    return whole(made) if any(isinstance(part, (Said, SaidInt, SaidFloat)) for part in given) else made


def _to_text(apply: Callable[..., str]) -> Callable[..., str]:
    """Return the same filter, which is never given anything but text."""
    return lambda value, *args, **kwargs: apply(spoken(value), *args, **kwargs)


def _to_number(apply: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same filter, whose number is the conversation's where what it is made of is."""

    def filtered(value: Any, *args: Any, **kwargs: Any) -> Any:
        made = apply(value, *args, **kwargs)
        return mark(made) if isinstance(value, (Said, SaidInt, SaidFloat)) else made

    return filtered


def _escape(text: str) -> str:
    from markupsafe import escape

    return _like(plain(str(escape(plain(text)))), text)


def _title(text: str) -> str:
    from jinja2.filters import do_title

    return _like(do_title(plain(text)), text)


def _range(*bounds: int) -> range:
    made = range(*bounds)
    if len(made) > MAX_STEPS:
        raise Refused(f"the chat template counts past {MAX_STEPS:,}")
    return made


def _now(form: str) -> str:
    return _like(datetime.datetime.now().strftime(form[:100]), form)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    indent = None if indent is None else max(0, min(indent, 16))
    made = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    return made if type(value) in (str, int, float, bool, type(None)) else whole(made)


def _raise_exception(message: str) -> None:
    raise Refused(f"the chat template refuses: {message}")
