"""The speed of matrix products: the best that was ever measured, and measured again each time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pylm.training import remembered
from pylm.training.remembered import flops_of_product, largest_flops, recall
from pylm.training.torch_backend import machine


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path))


def test_a_busy_moment_spoils_no_later_run() -> None:
    measured = iter([0.13e12, 0.42e12, 0.2e12, 0.43e12])
    found = [largest_flops("products", lambda: next(measured), print) for _ in range(4)]
    assert found == [0.13e12, 0.42e12, 0.42e12, 0.43e12]
    assert recall("products") == {"flops": 0.43e12}


def test_what_was_remembered_badly_is_measured() -> None:
    remembered.remember("products", {"flops": "many"}, print)
    assert largest_flops("products", lambda: 2.0, print) == 2.0


def test_the_fastest_of_the_products_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [0.04, 0.01, 0.02, 0.5]  # taken from the end: the first warms up, and takes all of the time that there is
    now = [0.0]
    monkeypatch.setattr(remembered.time, "perf_counter", lambda: now[0])

    def multiply() -> None:
        now[0] += seconds.pop()

    assert flops_of_product(multiply, 1.0) == pytest.approx(50.0) and len(seconds) == 2


def test_short_products_are_tried_for_a_tenth_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    tried: list[float] = []
    monkeypatch.setattr(remembered.time, "perf_counter", lambda: now[0])

    def multiply() -> None:
        tried.append(0.001 if len(tried) == 20 else 0.004)  # one moment of quiet is enough
        now[0] += tried[-1]

    assert flops_of_product(multiply, 1.0) == pytest.approx(1000.0)
    assert 0.1 <= sum(tried) < 0.105


def test_a_known_machine_is_measured_at_each_start(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([1e9, 3e9, 2e9])
    monkeypatch.setattr(machine, "matmul_flops", lambda device, dtype: next(measured))
    cpu = torch.device("cpu")
    assert [machine.known_matmul_flops(cpu, "fp32", print) for _ in range(3)] == [1e9, 3e9, 3e9]
