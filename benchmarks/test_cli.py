"""How soon the command line answers: a shell's user feels anything past a tenth of a second."""

from __future__ import annotations

from typing import Any

from benchmarks.compare import Compare, Side


def pylm_help() -> dict[str, Any]:
    """The whole process, from the shell's point of view, for the slowest of all commands' help pages."""
    import statistics
    import subprocess
    import sys
    import time
    from pathlib import Path

    from pylm.cli.commands import COMMANDS

    program = Path(sys.executable).with_name("pylm")
    medians = {}
    for command in ("", *COMMANDS):
        line = [str(program), *command.split(), "--help"]
        times = []
        for _ in range(7):
            start = time.perf_counter()
            subprocess.run(line, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        medians[command] = statistics.median(times)
    bare = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        bare.append(time.perf_counter() - start)
    slowest = max(medians, key=lambda name: medians[name])
    return {
        "help_ms": medians[""] * 1e3,
        "slowest_ms": medians[slowest] * 1e3,
        "slowest": slowest,
        "python_ms": statistics.median(bare) * 1e3,
    }


def pylm_data_list() -> dict[str, Any]:
    """The whole process again, for the list of datasets with what is here of them."""
    import statistics
    import subprocess
    import sys
    import time
    from pathlib import Path

    line = [str(Path(sys.executable).with_name("pylm")), "data", "list"]
    times = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run(line, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return {"list_ms": statistics.median(times) * 1e3}


def test_datasets_are_listed_at_once(compare: Compare) -> None:
    run = compare("pylm data list", Side("pylm", pylm_data_list), rounds=3)
    run.at_most(150, "list_ms", "ms")


def test_help_answers_at_once(compare: Compare) -> None:
    run = compare("pylm --help", Side("pylm", pylm_help), rounds=3)
    run.at_most(150, "help_ms", "ms")
    run.at_most(150, "slowest_ms", "ms")
