"""The frame of the command line: help, spelling, suggestions, exit codes, pipes and signals."""

import json
import os
import signal
import subprocess
import sys
import types

import click
import pytest

from pylm import errors
from pylm.cli import run
from pylm.cli.commands import COMMANDS
from pylm.cli.frame.command import Group, command, group, json_option
from pylm.cli.frame.entry import root
from pylm.cli.frame.printing import print_json
from pylm.cli.frame.types import BYTES, COUNT, DURATION

PYLM = [sys.executable, "-m", "pylm"]
HEAVY = (
    "torch",
    "numpy",
    "mlx",
    "pydantic",
    "rich",
    "yaml",
    "safetensors",
    "pylm_kernels",
    "pylm._rust",
    "pylm._native",
)


def every_command():
    """The words after `pylm` of every command and subcommand."""

    def walk(words, found):
        yield words
        if isinstance(found, Group):
            ctx = click.Context(found)
            for name in found.list_commands(ctx):
                yield from walk([*words, name], found.get_command(ctx, name))

    ctx = click.Context(root)
    yield []
    for name in COMMANDS:
        yield from walk([name], root.get_command(ctx, name))


ALL = list(every_command())


@pytest.fixture
def made_up(monkeypatch):
    """Puts a command named `made-up` in the table."""

    def add(made):
        module = types.ModuleType("made_up_command")
        module.it = made
        monkeypatch.setitem(sys.modules, "made_up_command", module)
        monkeypatch.setitem(COMMANDS, "made-up", ("made_up_command:it", "Made up."))

    return add


def raising(error):
    @command(example="pylm made-up")
    def it():
        """Raise."""
        raise error

    return it


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_is_light_and_ends_with_an_example(words):
    program = (
        "import sys; from pylm.cli import run; code = run(sys.argv[1:] + ['-h']);"
        f"print(code, [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    assert done.stderr.strip() == "0 []"
    assert done.stdout.startswith(f"Usage: {' '.join(['pylm', *words])}")
    # a group's own help lists its commands, each of which has an example
    assert "\nExample:\n  pylm " in done.stdout or "\nCommands:\n" in done.stdout


@pytest.mark.parametrize("words", ALL[1:], ids=" ".join)
def test_every_option_is_explained_and_spelled_with_dashes(words):
    ctx, found = click.Context(root), root
    for word in words:
        _, summary = found.table[word]
        found = found.get_command(ctx, word)
    assert found.help and found.get_short_help_str(200).endswith(".")
    assert summary.endswith(".") and len(summary) <= 60 and found.name == words[-1]
    for param in found.params:
        if isinstance(param, click.Option):
            assert param.help, (words, param.name)
            assert not any("_" in name for name in param.opts), param.opts
    if found.example:
        assert found.example.startswith(" ".join(["pylm", *words]))


def test_the_table_says_what_the_command_says():
    ctx = click.Context(root)
    for name, (_, line) in COMMANDS.items():
        assert line.endswith(".") and len(line) <= 60, name
        assert root.get_command(ctx, name).name == name


def test_no_arguments_print_the_help_and_fail(capsys):
    assert run([]) == 2
    out, err = capsys.readouterr()
    assert not out and "Commands:" in err


@pytest.mark.parametrize(
    ("args", "sentence", "hint"),
    [
        (["completio"], "no such command: pylm completio", "did you mean completion?"),
        (["xyzzy"], "no such command: pylm xyzzy", "pylm --help lists what there is"),
        (["--verson"], "pylm has no option --verson", "did you mean --version?"),
        (["completion"], "pylm completion: {bash|zsh|fish} is missing", "pylm completion --help shows what goes where"),
        (["why", "runs/x", "abc"], "STEP is a whole number, not 'abc'", "pylm why --help shows what it takes"),
        (["sample", "--prompt"], "pylm sample: --prompt needs a value", "pylm sample --help shows what it takes"),
        (["completion", "fsh"], "is not one of", "did you mean fish or zsh?"),
    ],
)
def test_usage_errors_say_what_and_what_next(capsys, args, sentence, hint):
    assert run(args) == 2
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert not out
    assert first.startswith("error: ") and sentence in first
    assert second == f"hint: {hint}"


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (errors.UsageError("a is wrong", "do b"), 2, "error: a is wrong\nhint: do b\n"),
        (errors.ConfigError("a is wrong"), 2, "error: a is wrong\n"),
        (errors.DataError("a is wrong"), 1, "error: a is wrong\n"),
        (errors.CheckError("a differs", "b"), 3, "error: a differs\nhint: b\n"),
        (
            errors.Interrupted("stopped at step 5", "pylm train --resume auto"),
            75,
            "stopped at step 5\npylm train --resume auto\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (FileNotFoundError(2, "No such file or directory", "a/b"), 1, "error: a/b: no such file or directory\n"),
    ],
)
def test_each_error_has_its_exit_code(capsys, made_up, error, code, shown):
    made_up(raising(error))
    assert run(["made-up"]) == code
    assert capsys.readouterr().err == shown


def test_an_unexpected_error_is_one_sentence_and_debug_shows_where(capsys, made_up, monkeypatch):
    made_up(raising(KeyError("spam")))
    assert run(["made-up"]) == 1
    plain = capsys.readouterr().err
    assert plain.startswith("error: unexpected KeyError: 'spam'\nhint: ") and "--debug" in plain
    assert "Traceback" not in plain
    for args in (["made-up", "--debug"], ["--debug", "made-up"]):
        assert run(args) == 1
        shown = capsys.readouterr().err
        assert "Traceback" in shown and "in it" in shown and shown.endswith(plain)
    monkeypatch.setenv("PYLM_DEBUG", "1")
    assert run(["made-up"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_underscores_and_units_are_understood(capsys, made_up):
    @command(example="pylm made-up")
    @click.option("--shard-tokens", type=COUNT, default="100M", help="Tokens.")
    @click.option("--memory", type=BYTES, default="2GiB", help="Bytes.")
    @click.option("--max-time", type=DURATION, default="2h", help="Seconds.")
    @click.option("--model", type=click.Choice(["bpe", "sp-bpe"]), default="bpe", help="Model.")
    @json_option
    def it(as_json, **values):
        """Print."""
        print_json({**values, "json": as_json})

    made_up(it)
    assert run(["made_up", "--shard_tokens", "1e6", "--model", "sp_bpe", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values == {"shard_tokens": 10**6, "memory": 2**31, "max_time": 7200.0, "model": "sp-bpe", "json": True}
    assert run(["made-up", "-h"]) == 0
    shown = capsys.readouterr().out
    assert "[default: 100M]" in shown and "[default: 2GiB]" in shown
    assert run(["made-up", "--shard-tokens", "1.5"]) == 2
    assert "pylm made-up: --shard-tokens: '1.5' is not a whole number" in capsys.readouterr().err
    assert run(["made-up", "--memory", "-1"]) == 2
    assert run(["made-up", "--max-tiem", "1"]) == 2
    assert "hint: did you mean --max-time?" in capsys.readouterr().err


def test_a_group_suggests_among_its_own(capsys, made_up):
    @group("made-up", table={"verify": ("made_up_command:verify", "Verify.")})
    def it():
        """Hold one."""

    @command("verify", example="pylm made-up verify")
    def verify():
        """Verify."""
        click.echo("verified")

    made_up(it)
    sys.modules["made_up_command"].verify = verify
    assert run(["made-up", "verify"]) == 0
    assert run(["made-up", "verfy"]) == 2
    assert "error: no such command: pylm made-up verfy\nhint: did you mean verify?" in capsys.readouterr().err
    assert run(["made-up"]) == 2
    assert "verify" in capsys.readouterr().err


def test_json_has_no_nan(capsys):
    print_json({"loss": float("nan"), "all": [float("inf"), 1.5], 3: "ü"})
    out = capsys.readouterr().out
    assert json.loads(out, parse_constant=lambda name: pytest.fail(name)) == {
        "loss": None,
        "all": [None, 1.5],
        "3": "ü",
    }
    assert "ü" in out


def test_errors_cross_processes_whole():
    import pickle

    for name in errors.__all__:
        made = getattr(errors, name)
        if isinstance(made, type) and issubclass(made, errors.PylmError):
            error = pickle.loads(pickle.dumps(made("a", "b")))
            assert type(error) is made and (error.message, error.hint) == ("a", "b")


def test_windows_is_sent_to_wsl(capsys, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert run(["--help"]) == 1
    assert "WSL" in capsys.readouterr().err


def test_version_names_the_builds(capsys):
    assert run(["--version"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["pylm", "pylm-kernels", "rust", "c++", "python"]
    assert any(profile in lines[2] for profile in ("release", "quick", "debug"))
    assert "cpu variant " in lines[3]


@pytest.mark.parametrize("args", [["completion", "bash"], ["config", "schema"], ["--help"]], ids=" ".join)
@pytest.mark.parametrize("how", ["echo", "print"])
def test_a_reader_that_leaves_is_no_error(args, how):
    # print leaves its text in the buffer, which Python would flush, and complain of, at exit
    program = "import sys, click\nfrom pylm.cli import run\n"
    program += "click.echo = lambda text='', nl=True, err=False, **_: print(text)\n" if how == "print" else ""
    program += "sys.exit(run(sys.argv[1:]))"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", program, *args], env=env, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_while_the_command_line_loads_is_no_traceback():
    program = (
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'click': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from pylm.cli import run\n"
        "sys.exit(run(['config', 'show']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_ctrl_c_leaves_with_130_and_no_traceback():
    program = """
import sys, time
from pylm.cli.frame import entry
entry.root.invoke = lambda ctx: (print("up", flush=True), time.sleep(30))
sys.exit(entry.run(["completion", "bash"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "interrupted\n")


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("no_color", [True, False])
def test_colour_only_on_a_terminal_that_wants_it(terminal, no_color):
    env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
    env |= {"TERM": "xterm"} | ({"NO_COLOR": "1"} if no_color else {})
    master, slave = os.openpty()
    stream = slave if terminal else subprocess.PIPE
    done = subprocess.run([*PYLM, "xyzzy"], env=env, stdout=subprocess.DEVNULL, stderr=stream)
    shown = os.read(master, 4096) if terminal else done.stderr
    os.close(master)
    os.close(slave)
    assert done.returncode == 2
    assert b"no such command" in shown
    assert (b"\x1b[" in shown) == (terminal and not no_color)
