"""Where the program starts, and the one place where errors become sentences and exit codes.

0 done, 1 failed, 2 asked wrongly, 3 a check said no, 75 interrupted with its state saved, 130 Ctrl-C.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from pylm.cli.commands import COMMANDS
from pylm.cli.frame.command import LazyGroup, debug_wanted
from pylm.cli.frame.enduring import enduring_stderr, open_streams
from pylm.cli.frame.printing import plain_wanted, say
from pylm.errors import Interrupted, PylmError, PylmWarning, did_you_mean

PROGRAM = "pylm"
COMPLETE_VARIABLE = "_PYLM_COMPLETE"
NO_NUMBER = re.compile(r"('.*') is not a valid integer")


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from pylm.doctor.version import version_lines

        click.echo("\n".join(version_lines()))
        ctx.exit()


@click.command(
    PROGRAM, cls=LazyGroup, table=COMMANDS, example="pylm train my.txt", subcommand_metavar="COMMAND [ARGS]…"
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    show_default=False,
    callback=_print_version,
    help="Show the versions of everything that runs here.",
)
def root() -> None:
    """Raw text to a trained language model, fast, on the machine you have."""


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code; nothing but the code escapes."""
    if sys.platform == "win32":
        return _fail("pylm does not run on Windows itself", "use WSL: run `wsl --install`, then install pylm in it")
    try:
        with open_streams():
            with enduring_stderr(), _notes():
                code = _dispatch(list(args))
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader (`| head`) has had enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


@contextmanager
def _notes() -> Iterator[None]:
    """Let warnings of ours be sentences, without the line of code that gave them."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if isinstance(message, PylmWarning):
                say(f"{_paint('note:', 'yellow')} {message.marked}")
            else:
                usual(message, category, *where, **more)

        warnings.showwarning = show
        yield


def _dispatch(args: list[str]) -> int:
    instruction = os.environ.get(COMPLETE_VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(root, {}, PROGRAM, COMPLETE_VARIABLE, instruction)
    debug = [False]
    try:
        with root.make_context(PROGRAM, args) as ctx:
            try:
                root.invoke(ctx)
            finally:
                debug[0] = debug_wanted(ctx)
        return 0
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        if debug[0] or debug_wanted():
            import traceback

            traceback.print_exception(error)
        return _explain(error)


def _explain(error: Exception) -> int:
    """Print one sentence and a hint for any error; return the exit code."""
    if isinstance(error, Interrupted):
        message, hint = error.marked
        say(f"{message}\n{hint or ''}".rstrip())
        return error.exit_code
    if isinstance(error, PylmError):
        return _fail(*error.marked, error.exit_code)
    if isinstance(error, click.ClickException):
        return _fail(*_usage_sentence(error), error.exit_code)
    if isinstance(error, ModuleNotFoundError) and error.name in ("pylm._rust", "pylm._native"):
        return _fail(f"{error.name}, a native module, is not built", "pip install .  (in a clone: make build)")
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return _fail(f"{where}{error.strerror.lower()}", None)
    if isinstance(error, MemoryError):
        return _fail("out of memory", "give it less at a time, or a machine with more")
    said = str(error).strip()
    if type(error).__module__.startswith("pylm_kernels."):  # refusals, which are sentences: a forced backend, mostly
        return _fail(said, "attention: auto, and PYLM_KERNELS unset, take a backend that serves")
    return _fail(
        f"unexpected {type(error).__name__}{': ' + said if said else ''}",
        "this is a defect of pylm: please report it, with what the same command prints with --debug",
    )


def _usage_sentence(error: click.ClickException) -> tuple[str, str | None]:
    """Turn click's own complaint into a sentence and a hint in the house's manner."""
    ctx: click.Context | None = getattr(error, "ctx", None)
    where = ctx.command_path if ctx is not None else PROGRAM
    sentence = error.format_message().rstrip(".")
    if isinstance(error, click.NoSuchOption):
        known = [name for param in ctx.command.get_params(ctx) for name in param.opts] if ctx else []
        near = did_you_mean(error.option_name, [name for name in known if name.startswith("-")])
        return f"{where} has no option {error.option_name}", near or f"{where} --help lists its options"
    if isinstance(error, click.BadOptionUsage):
        needs = f"{where}: {error.option_name} needs a value" if "requires" in error.message else f"{where}: {sentence}"
        return needs, f"{where} --help shows what it takes"
    if isinstance(error, click.BadParameter) and error.param is not None and ctx is not None:
        option = isinstance(error.param, click.Option)
        name = error.param.opts[0] if option else error.param.make_metavar(ctx)
        if isinstance(error, click.MissingParameter):
            return (
                f"{where}: {name} is missing",
                f"{where} --help shows {'what it is' if option else 'what goes where'}",
            )
        sentence = f"{where}: {name}: {error.message.rstrip('.')}"
        if isinstance(error.param.type, click.types.IntParamType) and (match := NO_NUMBER.match(error.message)):
            sentence = f"{where}: {name} is a whole number, not {match[1]}"
        if isinstance(error.param.type, click.Choice):
            match = re.match(r"'([^']*)' is not one of", error.message)
            return sentence, did_you_mean(match[1], map(str, error.param.type.choices)) if match else None
        return sentence, f"{where} --help shows what it takes"
    return f"{where}: {sentence[:1].lower()}{sentence[1:]}", f"{where} --help shows how"


def _fail(message: str, hint: str | None, code: int = 1) -> int:
    say(f"{_paint('error:', 'red')} {message}")
    if hint:
        say(f"{_paint('hint:', 'cyan')} {hint}")
    return code


def _paint(word: str, colour: str) -> str:
    """Colour a word on a terminal that wants it."""
    return word if plain_wanted(sys.stderr) else click.style(word, fg=colour, bold=True)
