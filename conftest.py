"""`pytest` runs the tests; `pytest --benchmark` runs the comparisons in benchmarks/ and prints their tables."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("comparisons")
    group.addoption("--benchmark", action="store_true", help="run the comparisons in benchmarks/ instead of the tests")
    group.addoption("--full", action="store_true", help="the slow comparisons too; without --benchmark, the slow tests")
    group.addoption(
        "--corpora",
        type=Path,
        metavar="DIR",
        help="with --benchmark: a folder with prose.txt, multilingual.txt, code.txt (those absent are generated)",
    )
    group.addoption(
        "--vocabs", type=Path, metavar="DIR", help="with --benchmark: a folder with vocab.bpe, encoder.json, *.tiktoken"
    )
    group.addoption(
        "--checkouts", type=Path, metavar="DIR", help="with --benchmark: a folder that holds nanochat and nanoGPT"
    )
    group.addoption(
        "--before", type=Path, metavar="DIR", help="with --benchmark: a built tree of this project at an earlier commit"
    )
    parser.addoption(
        "--seeds",
        type=int,
        default=3,
        metavar="N",
        help="with --full: runs of each side of track 0, of the clock, and to a baseline's bits",
    )


# before pytest-benchmark reads these options
@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--benchmark"):
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            config.args = [str(config.rootpath / "benchmarks")]
        config.option.benchmark_only = True
    elif not config.option.benchmark_only:
        # the tests measure nothing, and pytest-benchmark warns when it meets xdist while enabled
        config.option.benchmark_disable = True
