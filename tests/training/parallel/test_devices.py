"""Which device each of several processes has, and what they are told where there is none for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pylm.errors import UsageError
from pylm.training.torch_backend import machine
from pylm.training.world import World


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Two GPUs, as far as torch says; the devices that were made the current one."""
    chosen: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    return chosen


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_each_process_of_a_machine_has_a_gpu(gpus, asked):
    assert machine.device_among(asked, World(3, 4, 1, 2)) == "cuda:1" and gpus == [1]
    assert machine.device_among("cpu", World(3, 4, 1, 4)) == "cpu"


@pytest.mark.parametrize(
    ("asked", "world", "match", "hint"),
    [
        (
            "auto",
            World(0, 4, 0, 4),
            "^4 processes were started here, and there are 2 GPUs",
            'start 2 here, or device="cpu"',
        ),
        ("cuda:1", World(0, 2, 0, 2), '^device="cuda:1" names one GPU, and 2 processes have one each', 'device="cuda"'),
    ],
)
def test_too_many_processes_are_told_how_many_gpus_there_are(gpus, asked, world, match, hint):
    with pytest.raises(UsageError, match=match) as refused:
        machine.device_among(asked, world)
    assert refused.value.hint == hint and gpus == []


def test_a_torch_without_nccl_is_named(gpus, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    with pytest.raises(UsageError, match="^this torch has no NCCL"):
        machine.device_among("auto", World(0, 2, 0, 2))


def test_a_mac_trains_in_one_process(monkeypatch):
    monkeypatch.setattr(machine, "choose_device", lambda asked: torch.device("mps"))
    with pytest.raises(UsageError, match="^an Apple GPU trains in one process, and 2 were started"):
        machine.device_among("auto", World(0, 2, 0, 2))
