"""Sentences that name parameters, said in the words of whoever reads them.

A room writes `f"name another with {param('out')}"`. Python reads `name another with out=`, the command line
`name another with --out`: until it is printed, the name stands in the text between two marks that no text has.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

__all__ = ["call", "in_options", "in_python", "options_marked", "param"]

BEGIN, END = "\x02", "\x03"
_MARKED = re.compile(f"{BEGIN}(.*?){END}", re.DOTALL)
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*[a-z])(?: (replace|llmc|\d+|[A-Z][A-Z_]*)(?![\w.+]))?")
_PLACE = re.compile(r"[A-Z][A-Z_]*(\.\w+)?")  # `DIR`, `FILE.bin`: what the reader puts there
_UNSET: Any = object()
# Parameters whose option is another word: it is repeated for each, or Python has taken the word
OPTIONS = {"specials": "special", "continue_from": "continue"}
_PARAMETERS = {option: name for name, option in OPTIONS.items()}

# The commands that are functions too; the others are commands for everybody
FUNCTIONS = {
    "train": "pylm.train",
    "tokenize": "pylm.prepare",
    "sample": "pylm.generate",
    "plan": "pylm.plan",
    "eval": "pylm.evaluate",
    "soup": "pylm.soup",
    "finetune": "pylm.finetune",
    "export": "pylm.export",
    "import": "pylm.import_",
}


def param(name: str, value: Any = _UNSET) -> str:
    """Return the mark of a parameter, with the value that it is given: `out=`, `max_steps=100`, `force=True`."""
    return _mark({"name": name} if value is _UNSET else {"name": name, "value": _plain(value)})


def call(command: str, *args: Any, **parameters: Any) -> str:
    """Return the mark of a whole call: `pylm train my.txt --out runs/a`, or `pylm.train("my.txt", out="runs/a")`."""
    given = {name: _plain(value) for name, value in parameters.items()}
    return _mark({"command": command, "args": [_plain(one) for one in args], "parameters": given})


def options_marked(text: str) -> str:
    """Return the text of a native module with its `--options` as marks of parameters."""
    if BEGIN in text:  # it came from a room, through the native module
        return text
    return _OPTION.sub(_option_marked, text)


# of the native module's options: those that are yes or no, those whose value is text though it be digits, and another
# program's, which a hint names
FLAGS, TEXTS, FOREIGN = ("force", "skip-bad"), ("field", "column"), ("headless", "convert-to")


def _option_marked(match: re.Match[str]) -> str:
    """Return an option as the mark of its parameter, with its value where that can be told from what follows."""
    option, value = match.groups()
    if option in FOREIGN:
        return match[0]
    name = _PARAMETERS.get(option, option.replace("-", "_"))
    if value is not None:
        is_count = option not in TEXTS and value.isdecimal() and str(int(value)) == value
        return param(name, int(value) if is_count else value)
    return param(name, True) if option in FLAGS else param(name)


def in_python(text: str) -> str:
    """Return a text in the words of a Python program."""
    return _MARKED.sub(lambda match: _as_python(json.loads(match[1])), text)


def in_options(text: str) -> str:
    """Return a text in the words of the command line."""
    return _MARKED.sub(lambda match: _as_options(json.loads(match[1])), text)


def _mark(content: dict[str, Any]) -> str:
    return f"{BEGIN}{json.dumps(content)}{END}"  # json escapes the marks within values


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _as_python(content: dict[str, Any]) -> str:
    if "command" in content:
        function = FUNCTIONS.get(content["command"])
        if function is None:
            return _as_options(content)
        pairs = [f"{name}={_literal(value)}" for name, value in content["parameters"].items()]
        args = list(map(_literal, content["args"]))
        several = [f"[{', '.join(args)}]"] if len(args) > 1 else args  # sources are one argument
        return f"{function}({', '.join([*several, *pairs])})"
    name: str = content["name"]
    return f"{name}={_literal(content['value']) if 'value' in content else ''}"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return value if _PLACE.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    return repr(value)


def _as_options(content: dict[str, Any]) -> str:
    if "command" in content:
        words = [shlex.quote(str(one)) for one in content["args"]]
        options = [_option(name, value) for name, value in content["parameters"].items()]
        return " ".join(["pylm", content["command"], *words, *options])
    return _option(content["name"], content.get("value", _UNSET))


def _option(name: str, value: Any) -> str:
    key = name.rpartition(".")[2]
    option = OPTIONS.get(key, key.replace("_", "-"))
    if value is _UNSET or value is True:
        return f"--{option}"
    if value is False:
        return f"--no-{option}"
    return f"--{option} {'null' if value is None else shlex.quote(str(value))}"
