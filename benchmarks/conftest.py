"""Fixtures of the comparisons, and the tables at the end of the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from benchmarks import corpora, report
from benchmarks.compare import Compare

if TYPE_CHECKING:
    from benchmarks.gpu import Gpu

REPORT = pytest.StashKey[report.Report]()
GPU_REPORT = pytest.StashKey[report.Report]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.timeout(0))  # each side has a limit of its own
    if not config.getoption("--full"):
        slow = pytest.mark.skip(reason="slow: runs with --full")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(slow)
    on_gpu = [item for item in items if "gpu" in getattr(item, "fixturenames", ())]
    if on_gpu and (why := no_gpu()):
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason=why))


def no_gpu() -> str:
    """Why nothing can be compared on a GPU here, empty where it can."""
    try:
        import torch
    except ImportError:
        return "PyTorch is not installed: make setup"
    return "" if torch.cuda.is_available() else "there is no GPU here that PyTorch sees: this comparison runs on one"


@pytest.fixture
def compare(request: pytest.FixtureRequest, benchmark: object) -> Iterator[Compare]:
    """Runs two or more sides in turn; its rows belong to the subject named by the file (test_<subject>.py)."""
    subject = request.path.stem.removeprefix("test_")
    stash = request.config.stash
    if REPORT not in stash:
        stash[REPORT] = report.Report(request.config.rootpath / "benchmarks" / "results")
    yield Compare(request.path, subject, stash[REPORT], benchmark)


@pytest.fixture
def gpu(request: pytest.FixtureRequest, benchmark: object) -> Gpu:
    """What compares on a GPU; its rows go to the folder of that GPU."""
    from benchmarks import gpu as module

    stash = request.config.stash
    if GPU_REPORT not in stash:
        folder = request.config.rootpath / "benchmarks" / "results"
        stash[GPU_REPORT] = report.Report(folder, module.name(), module.describe())
    return module.Gpu(request.path.stem.removeprefix("test_"), stash[GPU_REPORT], benchmark)


@pytest.fixture
def text(request: pytest.FixtureRequest) -> corpora.Texts:
    """The corpora: real ones from --corpora, generated ones otherwise."""
    return corpora.Texts(request.config.getoption("--corpora"), request.config.getoption("--vocabs"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for key in (REPORT, GPU_REPORT):
        found = config.stash.get(key, None)
        if found is not None:
            terminalreporter.write_line("")
            for line in found.finish():
                terminalreporter.write_line(line)
