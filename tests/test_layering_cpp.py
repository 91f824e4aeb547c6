"""The walls of csrc: which folder may include which, read from the #include lines, and who knows Python."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parent.parent / "csrc"

# What each folder of csrc ("" is its root) may include beside itself, and single files alone, by folder or by file; "*"
# is everything.
MAY_INCLUDE: dict[str, set[str]] = {
    "": set(),  # errors, types, threads: they serve every folder and know none
    "bind": {"*"},
    "loader": {""},
    "sampler": {""},
    "cpu": {""},
    "cpu/table.cpp": {"cpu/table.hpp", "cpu/kernels"},  # the one door to the kernels, compiled once a variant
    "cpu/table.hpp": {"cpu/args.hpp"},
    "cpu/args.hpp": set(),
    "cpu/simd": set(),
    "cpu/kernels": {"cpu/simd", "cpu/args.hpp"},
    "cpu/drive": {"", "cpu"},
    "cpu/engine": {"", "cpu", "cpu/drive"},
    "tests": {"*"},
}
# What is compiled for one instruction set includes no library header that could bring inline functions along: the
# linker would keep one copy for the whole program, which a processor without that set cannot run.
A_VARIANT = ("cpu/table.", "cpu/args.hpp", "cpu/kernels/", "cpu/simd/")
PLAIN_HEADERS = {"stdint.h", "string.h", "immintrin.h", "arm_neon.h"}
PYTHON = re.compile(r"pybind11|\bPython\.h\b")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def folder_of(file: str) -> str:
    """The folder that a file of csrc stands in; "" for csrc itself."""
    return file.rpartition("/")[0]


def allowed(file: str, included: str) -> bool:
    """Whether the table lets `file` include `included`, both as paths below csrc."""
    folder = folder_of(file)
    rule = MAY_INCLUDE.get(file, MAY_INCLUDE.get(folder, set()) | {folder})
    return bool({"*", included, folder_of(included)} & rule)


def violations(csrc: Path) -> Iterator[str]:
    """Every line below `csrc` that goes through a wall."""
    for path in sorted(path for path in csrc.rglob("*") if path.suffix in {".cpp", ".hpp"}):
        file, source = path.relative_to(csrc).as_posix(), path.read_text(encoding="utf-8")
        if folder_of(file) not in MAY_INCLUDE:
            yield f"{file}: {folder_of(file)} is in no line of the table"
        if PYTHON.search(source) and not file.startswith("bind/"):
            yield f"{file} names Python: only bind does"
        if not source.startswith("//"):
            yield f"{file} begins without a line that says what it holds"
        for quote, included in INCLUDE.findall(source):
            if quote == '"' and not (csrc / included).is_file():
                yield f"{file}: {included} is no file of csrc: includes are named from there"
            elif quote == '"' and not allowed(file, included):
                yield f"{file} may not include {included}"
            elif quote == "<" and file.startswith(A_VARIANT) and included not in PLAIN_HEADERS:
                yield f"{file} is compiled for one instruction set and may not include <{included}>"


def test_nobody_includes_through_a_wall() -> None:
    assert list(violations(CSRC)) == []
    assert {folder_of(name) for name in MAY_INCLUDE} <= {
        path.relative_to(CSRC).as_posix().removeprefix(".") for path in [CSRC, *CSRC.rglob("*")]
    }, "the table has a folder that is not there"


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("threads.cpp", '#include "loader/ring.hpp"', "may not include loader/ring.hpp"),
        ("loader/ring.cpp", '#include "cpu/dispatch.hpp"', "may not include cpu/dispatch.hpp"),
        ("loader/ring.cpp", '#include "sampler/sampler.hpp"', "may not include sampler/sampler.hpp"),
        ("sampler/sampler.cpp", '#include "cpu/args.hpp"', "may not include cpu/args.hpp"),
        ("cpu/dispatch.cpp", '#include "cpu/drive/blocks.hpp"', "may not include cpu/drive/blocks.hpp"),
        ("cpu/dispatch.cpp", '#include "cpu/kernels/norm.hpp"', "may not include cpu/kernels/norm.hpp"),
        ("cpu/simd/math.hpp", '#include "cpu/kernels/norm.hpp"', "may not include cpu/kernels/norm.hpp"),
        ("cpu/simd/math.hpp", '#include "cpu/args.hpp"', "may not include cpu/args.hpp"),
        ("cpu/simd/math.hpp", "#include <cmath>", "may not include <cmath>"),
        ("cpu/kernels/norm.hpp", '#include "cpu/table.hpp"', "may not include cpu/table.hpp"),
        ("cpu/kernels/norm.hpp", '#include "dtype.hpp"', "may not include dtype.hpp"),
        ("cpu/kernels/norm.hpp", "#  include <algorithm>", "may not include <algorithm>"),
        ("cpu/args.hpp", '#include "cpu/dispatch.hpp"', "may not include cpu/dispatch.hpp"),
        ("cpu/table.cpp", '#include "cpu/drive/blocks.hpp"', "may not include cpu/drive/blocks.hpp"),
        ("cpu/args.hpp", "#include <vector>", "may not include <vector>"),
        ("cpu/drive/norm.cpp", '#include "cpu/engine/engine.hpp"', "may not include cpu/engine/engine.hpp"),
        ("cpu/engine/pass.cpp", '#include "cpu/kernels/norm.hpp"', "may not include cpu/kernels/norm.hpp"),
        ("cpu/engine/pass.cpp", '#include "loader/ring.hpp"', "may not include loader/ring.hpp"),
        ("cpu/engine/pass.cpp", '#include "engine.hpp"', "is no file of csrc"),
        ("cpu/engine/pass.cpp", "#include <pybind11/pybind11.h>", "names Python"),
        ("error.hpp", "#include <Python.h>", "names Python"),
        ("serving/socket.cpp", "", "in no line of the table"),
    ],
)
def test_a_forbidden_include_is_seen(tmp_path: Path, file: str, line: str, complaint: str) -> None:
    for named in re.findall(r'"([a-z_/]+/[a-z_]+\.hpp|dtype\.hpp)"', line):
        (tmp_path / named).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / named).write_text("// A neighbour.\n")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(f"// What it holds.\n{line}\n")
    (found,) = violations(tmp_path)
    assert file in found and complaint in found


def test_a_file_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "threads.cpp").write_text("#include <thread>\n")
    (found,) = violations(tmp_path)
    assert found == "threads.cpp begins without a line that says what it holds"
