"""The walls of the house: who may import whom, read from the imports themselves, and no file past 500 lines."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

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
    "pylm.runs": {"pylm.config", "pylm.checkpoint"},
    "pylm.tokenizer": {"pylm._rust"},
    "pylm.data": {"pylm.tokenizer", "pylm.config", "pylm._rust", "pylm._native"},
    "pylm.native_kernels": {"pylm._native"},
    "pylm.model": {"pylm.config"},
    "pylm.model.torch": {"pylm.config", "pylm.native_kernels", "pylm.model"},
    "pylm.model.torch_dropout": {"pylm.model"},
    "pylm.model.mlx": {"pylm.config", "pylm.model"},
    "pylm.training": {"pylm.config"},
    "pylm.training.plan": {"pylm.config", "pylm.model", "pylm.training"},
    "pylm.training.backend": {"pylm.checkpoint"},  # its Tensor is what both sides speak of
    "pylm.training.loop": {
        "pylm.config",
        "pylm.data",
        "pylm.checkpoint",
        "pylm.runs",
        "pylm.training",
    },
    "pylm.training.remembered": set(),
    "pylm.training.optim": {"pylm.config", "pylm._native"},
    "pylm.training.torch_backend": {
        "pylm.config",
        "pylm.model",
        "pylm.training.backend",
        "pylm.training.optim",
        "pylm.training.remembered",
        "pylm.training.parallel",
        "pylm.native_kernels",
    },
    "pylm.training.mlx_backend": {
        "pylm.config",
        "pylm.model",
        "pylm.training.backend",
        "pylm.training.optim",
        "pylm.training.remembered",
    },
    "pylm.generation": {"pylm.model", "pylm.tokenizer", "pylm.checkpoint", "pylm.data", "pylm.config", "pylm._native"},
    "pylm.evaluation": {"pylm.model", "pylm.tokenizer", "pylm.checkpoint", "pylm.data", "pylm.config"},
    "pylm.doctor": {"pylm.config", "pylm._rust", "pylm._native"},
    "pylm.finetune": {"pylm.model", "pylm.tokenizer", "pylm.checkpoint", "pylm.data", "pylm.config"},
    "pylm.soup": {"pylm.checkpoint", "pylm.config"},
    "pylm.export": {"pylm.model", "pylm.tokenizer", "pylm.checkpoint", "pylm.config"},
    "pylm.serve": {"pylm.generation", "pylm.tokenizer", "pylm.checkpoint", "pylm.config"},
}
SERVE_ALL = {"pylm.cache", "pylm.durable", "pylm.errors", "pylm.host", "pylm.wording"}
FRAMEWORKS = {"torch", "triton", "mlx", "pylm_kernels"}
# Rooms that may name a framework, and which
FRAMEWORKS_IN: dict[str, set[str]] = {
    "pylm": set(),
    "pylm.doctor": {"torch", "triton", "mlx"},  # it looks at what is installed
    "pylm.model": {"pylm_kernels"},
    "pylm.model.torch": {"torch", "pylm_kernels"},
    "pylm.model.torch_dropout": {"torch"},
    "pylm.model.mlx": {"mlx", "pylm_kernels"},
    "pylm.native_kernels": {"torch", "pylm_kernels"},
    "pylm.training.torch_backend": {"torch", "pylm_kernels"},
    "pylm.training.mlx_backend": {"mlx", "pylm_kernels"},
    "pylm.training.optim": {"torch", "mlx"},
    "pylm.training.parallel": {"torch"},
    "pylm.generation": {"torch", "mlx", "pylm_kernels"},
    "pylm.evaluation": {"torch", "mlx"},
    "pylm.finetune": {"torch", "mlx"},
    "pylm.export": {"torch"},
}
# What a command's file may import before the command runs: `pylm --help` must answer at once
TOP_OF_CLI = {"click", "pylm.cli", "pylm.errors", "pylm.wording"}
LIGHT = ("pylm.config.units.",)  # plain Python, no pydantic
CEILING = 500
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
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    (found,) = violations(tmp_path)
    assert complaint in found


def test_each_language_keeps_to_its_room() -> None:
    for path in tracked(ROOT):
        relative = path.relative_to(ROOT).as_posix()
        if path.suffix == ".rs" and relative.startswith("rust/src/"):
            if not relative.startswith("rust/src/python/"):
                assert "pyo3" not in path.read_text(), f"{relative} names pyo3: only rust/src/python does"
        if relative.startswith("csrc/") and path.suffix in WRITTEN:
            source = path.read_text()
            assert "torch/" not in source and "#include <ATen" not in source, f"{relative} includes torch"
            if not (path.name == "module.cpp" or path.name.startswith("bind_")):
                assert "pybind11" not in source, f"{relative} names pybind11: only module.cpp and bind_*.cpp do"


def test_no_file_is_past_the_ceiling() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in tracked(ROOT)
        if path.suffix in WRITTEN and "generated" not in path.name
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > CEILING
    }
    assert long == {}
