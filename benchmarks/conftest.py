"""Fixtures of the comparisons, and the tables at the end of the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import corpora, report
from benchmarks.compare import Compare

REPORT = pytest.StashKey[report.Report]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.timeout(0))  # each side has a limit of its own
    if not config.getoption("--full"):
        slow = pytest.mark.skip(reason="slow: runs with --full")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(slow)


@pytest.fixture
def compare(request: pytest.FixtureRequest, benchmark: object) -> Iterator[Compare]:
    """Runs two or more sides in turn; its rows belong to the subject named by the file (test_<subject>.py)."""
    subject = request.path.stem.removeprefix("test_")
    stash = request.config.stash
    if REPORT not in stash:
        stash[REPORT] = report.Report(request.config.rootpath / "benchmarks" / "results")
    yield Compare(request.path, subject, stash[REPORT], benchmark)


@pytest.fixture
def text(request: pytest.FixtureRequest) -> corpora.Texts:
    """The corpora: real ones from --corpora, generated ones otherwise."""
    return corpora.Texts(request.config.getoption("--corpora"), request.config.getoption("--vocabs"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(REPORT, None)
    if found is not None:
        terminalreporter.write_line("")
        for line in found.finish():
            terminalreporter.write_line(line)
