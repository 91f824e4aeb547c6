"""The walls of the house: who may import whom, read from the imports themselves, and no file past 500 lines."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parent.parent

# A room is a module or package of pylm; the longest name that fits a file is its room.
# The rooms that it may import from, at the top of a file or inside a function:
ROOMS: dict[str, set[str]] = {
    "pylm": {"*"},  # the package's own face: names found on first use
    "pylm.__main__": {"pylm.cli"},
    "pylm.errors": set(),  # this and the four below serve every room: SERVE_ALL
    "pylm.cache": set(),
    "pylm.host": set(),
    "pylm.durable": set(),
    "pylm.wording": set(),
    "pylm.cli": {"*"},  # but inside the command functions only: see TOP_OF_CLI
    "pylm.config": set(),
    "pylm.checkpoint": {"pylm.config"},
    "pylm.runs": {"pylm.config", "pylm.checkpoint", "pylm.statistics", "pylm._rust"},
    "pylm.tokenizer": {"pylm._rust", "pylm.tokenizer"},
    "pylm.tokenizer.train": {"pylm._rust", "pylm.tokenizer", "pylm.data"},  # the text, wherever it lies
    "pylm.data": {"pylm.tokenizer", "pylm.config", "pylm._rust", "pylm._native"},
    "pylm.native_kernels": {"pylm._native"},
    "pylm.model": {"pylm.config"},
    "pylm.model.torch": {"pylm.config", "pylm.native_kernels", "pylm.model"},
    "pylm.model.torch_codecs": {"pylm.model"},
    "pylm.model.torch_dropout": {"pylm.model"},
    "pylm.model.torch_lora": {"pylm.model"},
    "pylm.model.mlx": {"pylm.config", "pylm.model"},
    "pylm.training": {  # what makes a run: the way from a request to the loop
        "pylm.config",
        "pylm.tokenizer",  # the type of what samples are written with; data loads it
        "pylm.data",
        "pylm.checkpoint",
        "pylm.runs",
        "pylm.model",
        "pylm.generation",
        "pylm.evaluation",
        "pylm.training",
    },
    "pylm.training.plan": {"pylm.config", "pylm.model"},
    "pylm.training.decisions": set(),
    "pylm.training.world": set(),
    "pylm.training.timekeeper": {"pylm.training.decisions", "pylm.training.due", "pylm.training.plan"},
    "pylm.training.progress": set(),
    "pylm.training.pace": {"pylm.training.progress"},
    "pylm.training.due": {
        "pylm.config",
        "pylm.training.decisions",
        "pylm.training.plan",
        "pylm.training.progress",
    },
    "pylm.training.events": {"pylm.config", "pylm.training.plan", "pylm.training.schedule"},
    "pylm.training.schedule": {"pylm.config"},
    "pylm.training.backend": {"pylm.checkpoint"},  # its Tensor is what both sides speak of
    "pylm.training.average": {"pylm.config"},
    "pylm.training.between_steps": {"pylm.training.average", "pylm.training.events", "pylm.training.loop"},
    "pylm.training.record": {
        "pylm.training.backend",
        "pylm.training.events",
        "pylm.training.loop",
        "pylm.training.pace",
    },
    "pylm.training.loop": {
        "pylm.config",
        "pylm.data",
        "pylm.checkpoint",
        "pylm.runs",
        "pylm.training.average",
        "pylm.training.backend",
        "pylm.training.decisions",
        "pylm.training.due",
        "pylm.training.events",
        "pylm.training.between_steps",
        "pylm.training.plan",
        "pylm.training.progress",
        "pylm.training.record",
        "pylm.training.schedule",
        "pylm.training.timekeeper",
    },
    "pylm.training.remembered": set(),
    "pylm.training.trained": {"pylm.config", "pylm.model"},
    "pylm.training.probe": {"pylm.config", "pylm.training.backend", "pylm.training.plan", "pylm.training.remembered"},
    "pylm.training.optim": {"pylm.config", "pylm.native_kernels"},
    "pylm.training.torch_backend": {
        "pylm.checkpoint",  # pieces of tensors, and how those of several processes are read
        "pylm.config",
        "pylm.model",
        "pylm.training.backend",
        "pylm.training.optim",
        "pylm.training.probe",
        "pylm.training.remembered",
        "pylm.training.trained",
        "pylm.training.world",
        "pylm.native_kernels",
    },
    "pylm.training.mlx_backend": {
        "pylm.config",
        "pylm.model",
        "pylm.training.backend",
        "pylm.training.optim",
        "pylm.training.probe",
        "pylm.training.remembered",
        "pylm.training.trained",
    },
    "pylm.doctor": {"pylm.config", "pylm._rust", "pylm._native"},
    "pylm.generation": {
        "pylm.model",
        "pylm.tokenizer",
        "pylm.checkpoint",
        "pylm.data",
        "pylm.config",
        "pylm.native_kernels",
        "pylm._native",
    },
    "pylm.evaluation": {
        "pylm.generation",
        "pylm.model",
        "pylm.tokenizer",
        "pylm.checkpoint",
        "pylm.data",
        "pylm.runs",
        "pylm.config",
        "pylm.statistics",
    },
    "pylm.track": {
        "pylm.data",
        "pylm.tokenizer",
        "pylm.generation",
        "pylm.evaluation",
        "pylm._native",
    },  # trains by the command
    "pylm.soups": {
        "pylm.checkpoint",
        "pylm.config",
        "pylm.data",
        "pylm.evaluation",
        "pylm.model",
        "pylm.statistics",
    },
    "pylm.recipes": {  # its steps are commands, which it starts by name
        "pylm.checkpoint",
        "pylm.config",
        "pylm.data",
        "pylm.runs",
    },
    "pylm.finetuning": {
        "pylm.config",
        "pylm.tokenizer",
        "pylm.data",
        "pylm.checkpoint",
        "pylm.runs",
        "pylm.model",
        "pylm.generation",
        "pylm.evaluation",
        "pylm.training",
    },
    # rooms to come: what they may import is settled
    "pylm.interchange": {
        "pylm.interchange",
        "pylm.generation",
        "pylm.model",
        "pylm.tokenizer",
        "pylm.checkpoint",
        "pylm.data",
        "pylm.runs",
        "pylm.config",
    },
    "pylm.interchange.torch_file": {"pylm.model", "pylm.interchange"},
    "pylm.interchange.pickle_child": {"pylm.model", "pylm.checkpoint"},
    "pylm.interchange.engines": {"pylm.model", "pylm.checkpoint"},
    "pylm.serving": {
        "pylm.generation",
        "pylm.model",
        "pylm.tokenizer",
        "pylm.checkpoint",
        "pylm.data",
        "pylm.runs",
        "pylm.config",
    },
    "pylm.statistics": set(),
}
SERVE_ALL = {"pylm.cache", "pylm.durable", "pylm.errors", "pylm.host", "pylm.wording"}
FRAMEWORKS = {"torch", "triton", "mlx", "pylm_kernels"}
# Rooms that may name a framework, and which
FRAMEWORKS_IN: dict[str, set[str]] = {
    "pylm": set(),
    "pylm.doctor": {"torch", "triton", "mlx"},  # it looks at what is installed
    "pylm.model": {"pylm_kernels"},
    "pylm.model.torch": {"torch", "pylm_kernels"},
    "pylm.model.torch_codecs": {"torch"},
    "pylm.model.torch_dropout": {"torch"},
    "pylm.model.torch_lora": {"torch", "pylm_kernels"},
    "pylm.model.mlx": {"mlx", "pylm_kernels"},
    "pylm.native_kernels": {"torch", "pylm_kernels"},
    "pylm.training.torch_backend": {"torch", "pylm_kernels"},
    "pylm.training.mlx_backend": {"mlx", "pylm_kernels"},
    "pylm.training.optim": {"torch", "mlx"},
    "pylm.generation": {"torch", "mlx", "pylm_kernels"},
    "pylm.interchange.torch_file": {"torch"},
    "pylm.interchange.pickle_child": {"torch"},
    "pylm.interchange.engines": {"torch", "mlx"},
}
# What a command's file may import before the command runs: `pylm --help` must answer at once
TOP_OF_CLI = {"click", "pylm.cli", "pylm.errors", "pylm.wording"}
LIGHT = ("pylm.config.units.",)  # plain Python, no pydantic
CEILING = 500
CLI_CEILING = 120  # a command is a page; what several share stands in cli/frame
WRITTEN = {".py", ".pyi", ".rs", ".cpp", ".hpp", ".h", ".cu", ".metal"}


def room_of(module: str, rooms: dict[str, set[str]]) -> str:
    """The room that a module stands in, or itself where the table names none."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if (name := ".".join(parts[:length])) in rooms and (name != "pylm" or length == len(parts)):
            return name
    return ".".join(parts[:2])


def imports(root: Path, path: Path) -> Iterator[tuple[int, str, bool]]:
    """Line, dotted name and whether it runs when the file is imported, for each import."""
    tree = ast.parse((root / path).read_text(encoding="utf-8"))
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside.update(ast.walk(node))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for part in node.body:
                inside.update(ast.walk(part))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, node not in inside
        elif isinstance(node, ast.ImportFrom):
            package = list(path.with_suffix("").parts)
            base = ".".join(package[: len(package) - node.level]) + "." if node.level else ""
            module = (base + (node.module or "")).rstrip(".")
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}", node not in inside


def violations(root: Path) -> Iterator[str]:
    """Every import below `root` that a wall forbids."""
    for path in sorted((root / "pylm").rglob("*.py")):
        relative = path.relative_to(root)
        module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        here = room_of(module, ROOMS)
        for line, name, at_top in imports(root, relative):
            there = room_of(name, ROOMS) if name.split(".")[0] == "pylm" else ""
            framework = name.split(".")[0]
            if framework in FRAMEWORKS and framework not in FRAMEWORKS_IN.get(here, set()):
                yield f"{relative}:{line}: {here} may not name {framework}"
            light = framework in STANDARD or room_or_package(name) in TOP_OF_CLI or name.startswith(LIGHT)
            if here == "pylm.cli" and at_top and not light:
                yield f"{relative}:{line}: a command imports {name} inside its function, not at the top"
            if not there or there == here or there == "pylm" or there in SERVE_ALL:
                continue
            allowed = ROOMS.get(here)
            if allowed is None:
                yield f"{relative}:{line}: {here} is in no room of the table"
            elif "*" not in allowed and not any(there == room or there.startswith(room + ".") for room in allowed):
                yield f"{relative}:{line}: {here} may not import {there}"
    for path in sorted((root / "kernels").rglob("*.py")):
        for line, name, _ in imports(root, path.relative_to(root)):
            if name.split(".")[0] == "pylm":
                yield f"{path.relative_to(root)}:{line}: pylm_kernels serves others and never imports pylm"


def words_of_the_command_line(root: Path, ours: set[str]) -> Iterator[str]:
    """Every place outside of cli that imports click, or writes one of our options with its dashes."""
    for path in sorted((root / "pylm").rglob("*.py")):
        relative = path.relative_to(root)
        if relative.parts[1] == "cli":
            continue
        for line, name, _ in imports(root, relative):
            if name.split(".")[0] == "click":
                yield f"{relative}:{line}: only cli knows click"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        docstrings = {id(node.body[0].value) for node in ast.walk(tree)
                      if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)}  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                if "{param(" in node.value or "{call(" in node.value:
                    yield f"{relative}:{node.lineno}: a mark that no f-string fills in"
                for option in OPTION.findall(node.value):
                    if option in ours:
                        yield f"{relative}:{node.lineno}: writes {option}: a room names parameters (pylm.wording)"


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
# words that other programs have too, in lines that are typed for them: `pip install --…`, `docker run --gpus`
OF_OTHERS = {"--version", "--help", "--all", "--format", "--gpus"}


def our_options() -> set[str]:
    """Return every option of every command, with its dashes."""
    from pylm.cli.frame.entry import root
    from pylm.config.keys import all_keys

    keys = {f"--{key.partition('.')[2].replace('_', '-')}" for key in all_keys()}

    def of(command: click.Command, ctx: click.Context) -> Iterator[str]:
        for parameter in command.get_params(ctx):
            yield from (name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--"))
        if isinstance(command, click.Group):
            for name in command.list_commands(ctx):
                found = command.get_command(ctx, name)
                assert found is not None
                yield from of(found, ctx)

    return (keys | set(of(root, click.Context(root)))) - OF_OTHERS


def public_doors(root: Path) -> Iterator[str]:
    """Every import by cli of a name that a room keeps to itself."""
    for path in sorted((root / "pylm" / "cli").rglob("*.py")):
        relative = path.relative_to(root)
        for line, name, _ in imports(root, relative):
            parts = name.split(".")
            if parts[0] == "pylm" and any(part.startswith("_") and part not in NATIVE for part in parts[1:]):
                yield f"{relative}:{line}: {name} is a room's own"


NATIVE = {"_rust", "_native", "__version__", "__init__"}


def room_or_package(name: str) -> str:
    return room_of(name, ROOMS) if name.startswith("pylm.") else name.split(".")[0]


def standard_library() -> set[str]:
    import sys

    return set(sys.stdlib_module_names) | {"__future__"}


STANDARD = standard_library()


def tracked(root: Path) -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [root / name for name in names.splitlines() if (root / name).is_file()]


def plant(root: Path, file: str, text: str) -> None:
    """Write a file of a house that has nothing else."""
    path = root / file
    path.parent.mkdir(parents=True)
    path.write_text(text + "\n")


def test_nobody_imports_through_a_wall() -> None:
    assert list(violations(ROOT)) == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("pylm/config/schema.py", "import torch", "may not name torch"),
        ("pylm/training/loop.py", "def step():\n    import mlx.core", "may not name mlx"),
        ("pylm/tokenizer/load.py", "from pylm.data import sources", "may not import pylm.data"),
        ("pylm/model/torch.py", "from pylm.checkpoint import read", "may not import pylm.checkpoint"),
        ("pylm/cli/train.py", "from pylm.training import loop", "inside its function"),
        ("pylm/cli/train.py", "import numpy", "inside its function"),
        ("pylm/newcomer/x.py", "from pylm.data import y", "in no room"),
        ("pylm/tokenizer/load.py", "from ..data import sources", "may not import pylm.data"),
        ("kernels/pylm_kernels/x.py", "def f():\n    import pylm.errors", "never imports pylm"),
    ],
)
def test_a_forbidden_import_is_seen(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    plant(tmp_path, file, line)
    (found,) = violations(tmp_path)
    assert complaint in found


def test_rooms_speak_of_parameters_and_only_cli_knows_click() -> None:
    assert list(words_of_the_command_line(ROOT, our_options())) == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("pylm/data/x.py", "import click", "only cli knows click"),
        ("pylm/runs/x.py", "def f():\n    from click import echo", "only cli knows click"),
        ("pylm/data/x.py", 'HINT = "name another with --out"', "writes --out"),
        ("pylm/data/x.py", 'HINT = "name another with {param(1)}"', "no f-string"),
        ("pylm/data/x.py", 'def f(n):\n    """Take --out."""\n    return f"--max-steps {n} is too few"', "--max-steps"),
    ],
)
def test_an_option_or_click_in_a_room_is_seen(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    plant(tmp_path, file, line)
    (found,) = words_of_the_command_line(tmp_path, our_options())
    assert complaint in found


def test_commands_come_in_by_the_front_door(tmp_path: Path) -> None:
    assert list(public_doors(ROOT)) == []
    plant(tmp_path, "pylm/cli/x.py", "def f():\n    from pylm.training.loop import _save")
    (found,) = public_doors(tmp_path)
    assert "a room's own" in found


def test_a_command_is_a_page() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in (ROOT / "pylm" / "cli").rglob("*.py")
        if "frame" not in path.parts and (lines := len(path.read_text(encoding="utf-8").splitlines())) > CLI_CEILING
    }
    assert long == {}


def test_each_language_keeps_to_its_room() -> None:
    for path in tracked(ROOT):
        relative = path.relative_to(ROOT).as_posix()
        if path.suffix == ".rs" and relative.startswith("rust/src/"):
            if not relative.startswith("rust/src/python/"):
                assert "pyo3" not in path.read_text(), f"{relative} names pyo3: only rust/src/python does"
        if relative.startswith("csrc/") and path.suffix in WRITTEN:
            source = path.read_text()
            assert "torch/" not in source and "#include <ATen" not in source, f"{relative} includes torch"
            if not relative.startswith("csrc/bind/"):
                assert "pybind11" not in source, f"{relative} names pybind11: only csrc/bind does"


def test_no_file_is_past_the_ceiling() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in tracked(ROOT)
        if path.suffix in WRITTEN and "generated" not in path.name
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > CEILING
    }
    assert long == {}
