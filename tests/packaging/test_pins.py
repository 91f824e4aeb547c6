"""The pins that pip reads and those that `uv sync` reads are the same."""

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_constraints_are_written_alike() -> None:
    import tomllib

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    for_pip = {str(Requirement(line)) for line in lines if line and not line.startswith("#")}
    with (ROOT / "pyproject.toml").open("rb") as file:
        for_uv = {str(Requirement(line)) for line in tomllib.load(file)["tool"]["uv"]["constraint-dependencies"]}
    assert for_pip == for_uv
