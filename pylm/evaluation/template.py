"""Templates of tasks: a row's fields put into a text, and nothing else that jinja can do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from pylm.errors import DataError

__all__ = ["Template"]

FILTERS = ("capitalize", "lower", "replace", "title", "trim", "upper")
LONGEST = 10_000  # characters of a template
# what a text of fields needs; no attributes, no calls, no loops, no definitions, no arithmetic
ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Filter,
    nodes.Getitem,
    nodes.If,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
)
WHAT_THERE_IS = f"a template has {{{{ field }}}}, {{{{ field[0] }}}}, {{% if %}} and the filters {', '.join(FILTERS)}"


class Lacking(StrictUndefined):
    """A place that a list does not have: it may be asked for, and no text is made of it."""

    __slots__ = ()

    def __bool__(self) -> bool:  # type: ignore[override]
        """Say that it is not there."""
        return False


class Template:
    """A text with fields of a row."""

    def __init__(self, text: str) -> None:
        """Take a template that looks like `Question: {{ question }}`."""
        self.text = text
        sandbox = ImmutableSandboxedEnvironment(keep_trailing_newline=True, undefined=Lacking, finalize=_text)
        sandbox.filters = {name: sandbox.filters[name] for name in FILTERS}
        sandbox.globals = {}
        sandbox.tests = {}
        if len(text) > LONGEST:
            raise DataError(f"a template of {len(text):,} characters is too long", f"at most {LONGEST:,}")
        try:
            for node in sandbox.parse(text).iter_child_nodes():
                _check(node)
            self._made = sandbox.from_string(text)
        except TemplateError as error:
            raise DataError(f"the template {text!r} cannot be read: {error}", WHAT_THERE_IS) from None

    def __call__(self, row: Mapping[str, Any], place: str) -> str:
        """Return the text of a row, every field of which must be there."""
        from jinja2.meta import find_undeclared_variables

        lacking = sorted(find_undeclared_variables(self._made.environment.parse(self.text)) - set(row))
        if lacking:
            raise DataError(
                f"{place}: the template names {', '.join(lacking)}", f"the row has {', '.join(sorted(row))}"
            )
        try:
            return self._made.render(row)
        except (TemplateError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{place}: the template does not fit: {error}", WHAT_THERE_IS) from None


def _text(value: Any) -> Any:
    """Return what is put into the text; refuse what would stand there in Python's own writing."""
    if value is None or isinstance(value, (list, tuple, dict)):
        raise TemplateError(f"a field is {'null' if value is None else 'a list or a mapping'}, and no text")
    return value


def _check(node: nodes.Node) -> None:
    if not isinstance(node, ALLOWED):
        raise TemplateError(f"{type(node).__name__.lower()} is not allowed")
    # a text in brackets would find attributes, too
    if isinstance(node, nodes.Getitem) and not (isinstance(node.arg, nodes.Const) and type(node.arg.value) is int):
        raise TemplateError("only a number may stand in brackets")
    for child in node.iter_child_nodes():
        _check(child)
