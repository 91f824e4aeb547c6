"""The search for what a machine does best, on a device that is a few formulas: its clock, its memory, its compiler."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pylm.config.schema import Model, Train
from pylm.config.shape import complete
from pylm.errors import Interrupted, PylmError
from pylm.training import probe
from pylm.training.backend import Choices, MicroBatch
from pylm.wording import in_options

CONTEXT = 16
FOREVER = 1e9


class Full(RuntimeError):
    """Says that memory ran out, on this device."""


@dataclasses.dataclass
class Device:
    """A pass takes 1 s and `row` s a row; what holds more than `room` rows fails."""

    train: Train
    strategy: probe.Strategy = "fastest"
    row: float = 0.0
    room: int = 1 << 30
    grows: Callable[[int], bool] = lambda rows: True  # by the rows that would be next
    compiled_row: float | None = None  # None: no compiler
    memory_limit: int | None = None
    precision: str = "fp32"
    device_name: str = "Formula One"
    times: tuple[str, ...] = ("pass", "optimizer")
    windows_packed: bool = False

    def __post_init__(self) -> None:
        self.shape = complete(Model(n_layers=1, n_heads=1, d_model=16, d_ff=16, context_length=CONTEXT), 50)
        self.now, self.gradients, self.generator = 0.0, 0, 7
        self.ran: list[int] = []
        self.compiled = False
        self.failing: str | None = None
        self.compiler: probe.Compiler | None = None if self.compiled_row is None else Compiles(self)

    def circumstances(self, batch: probe.BatchOf) -> probe.Circumstances:
        return probe.Circumstances(self.device_name, {"micro_batch"}, {"chips": 1}, self.windows_packed)

    @contextmanager
    def untouched(self) -> Iterator[None]:
        before = self.generator
        try:
            yield
        finally:
            self.gradients, self.generator = 0, before

    def run(self, micro_batch: MicroBatch) -> None:
        rows = len(micro_batch.inputs)
        self.ran.append(rows)
        self.gradients += 1
        self.generator += 1
        if rows > self.room:
            raise Full(f"{rows} rows")
        each = self.compiled_row if self.compiled and self.compiled_row is not None else self.row
        self.now += 1 + each * rows + (9 if self.ran.count(rows) == 1 else 0)  # the first one warms up

    def forget(self) -> None:
        self.gradients = 0

    def may_grow(self, factor: float) -> bool:
        return self.grows(int(self.ran[-1] * factor))

    def out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, Full)

    def in_use(self) -> str:
        return f": {self.room} rows in use"

    def once_a_step(self) -> list[float]:
        return [0.5]

    def settled_compile(self) -> Choices:
        return {"compile": False, "compile_why": "there is none"}

    def matmul_flops(self, say: Callable[[str], None]) -> float:
        return 1e9


@dataclasses.dataclass
class Compiles:
    """A compiler that takes ten seconds."""

    device: Device
    name: str = "mill"
    seconds: float = 10.0
    built: int = 1

    def version(self) -> int:
        return self.built

    def compile(self) -> None:
        self.device.compiled = True

    def uncompile(self) -> None:
        self.device.compiled = False

    @contextmanager
    def eagerly(self) -> Iterator[None]:
        compiled, self.device.compiled = self.device.compiled, False
        try:
            yield
        finally:
            self.device.compiled = compiled

    def failure(self, error: Exception) -> str | None:
        return None if isinstance(error, Full) else str(error)


def batch(rows: int) -> MicroBatch:
    return MicroBatch(np.zeros((rows, CONTEXT)), np.zeros((rows, CONTEXT)))


class Probed:
    """Probes devices one after the other with one memory, and keeps what was said."""

    def __init__(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache, self.monkeypatch = cache, monkeypatch
        self.doing: list[str] = []
        self.said: list[str] = []

    def __call__(
        self,
        device: Device,
        sequences: int | None,
        run_seconds: Callable[[float], float] = lambda step: 0.0,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Choices:
        self.monkeypatch.setattr(probe, "perf_counter", lambda: device.now)
        self.doing.clear()
        return probe.probe(
            device,
            batch,
            sequences,
            run_seconds=run_seconds,
            say=self.said.append,
            doing=lambda text: self.doing.append(in_options(text)),
            stopping=stopping,
        )

    def remembered(self) -> dict[str, Any]:
        (value,) = json.loads((self.cache / "probes.json").read_text()).values()
        assert isinstance(value, dict)
        return value


@pytest.fixture
def probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Probed:
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path))
    return Probed(tmp_path, monkeypatch)


def auto(**settings: Any) -> Train:
    return Train(**{"micro_batch": "auto", "compile": "auto", **settings})


@pytest.mark.parametrize(("sequences", "tried"), [(None, {128, 256, 512}), (300, {100, 150, 300}), (96, {96})])
def test_the_fastest_of_three_sizes_is_taken(sequences: int | None, tried: set[int], probed: Probed) -> None:
    device = Device(auto())  # every pass takes a second
    choices = probed(device, sequences)
    assert choices["micro_batch"] == max(tried) and set(device.ran) == tried
    assert choices["seconds_per_step"] == 1.5 and choices["matmul_flops"] == 1e9


def test_a_size_that_is_slower_a_row_is_not_taken(probed: Probed, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(auto())
    plain = device.run

    def slow_when_large(micro_batch: MicroBatch) -> None:
        plain(micro_batch)
        device.now += 5 if len(micro_batch.inputs) > 256 else 0

    monkeypatch.setattr(device, "run", slow_when_large)
    assert probed(device, None)["micro_batch"] == 256


@pytest.mark.parametrize(("room", "sequences", "micro_batch"), [(11, 48, 8), (11, 9, 3), (11, None, 8), (100, 16, 16)])
def test_the_largest_that_fits_and_divides_a_step(
    room: int, sequences: int | None, micro_batch: int, probed: Probed
) -> None:
    device = Device(auto(), strategy="largest", room=room)
    choices = probed(device, sequences)
    assert choices["micro_batch"] == micro_batch
    passes = 1 if sequences is None else sequences // micro_batch
    assert choices["seconds_per_step"] == passes + 0.5
    assert max(device.ran) <= 2 * room and device.gradients == 0


def test_nothing_larger_is_tried_once_memory_is_nearly_full(probed: Probed) -> None:
    device = Device(auto(), strategy="largest", grows=lambda rows: rows <= 8)
    assert probed(device, 64)["micro_batch"] == 8 and max(device.ran) == 8


def test_a_device_that_dies_when_full_is_never_filled(probed: Probed) -> None:
    device = Device(auto(), strategy="growing", grows=lambda rows: rows <= 256)
    assert probed(device, None)["micro_batch"] == 256 and max(device.ran) == 256
    assert probed.doing[:3] == [
        "measuring this machine: 64 sequences at a time (once for this shape; --micro-batch 64 skips it)",
        "measuring this machine: 128 sequences at a time (once for this shape; --micro-batch 64 skips it)",
        "measuring this machine: 256 sequences at a time (once for this shape; --micro-batch 128 skips it)",
    ]


def test_growing_ends_where_rows_gain_less_than_three_percent(probed: Probed) -> None:
    # 64 rows at 1.64 s are 39.0 a second, 128 at 2.28 s 56.1, 256 at 3.56 s 71.9 ... 2048 at 21.48 s 95.3, 4096 97.6
    device = Device(auto(), strategy="growing", row=0.01)
    assert probed(device, None)["micro_batch"] == 2048


def test_what_was_found_is_remembered_and_not_tried_again(probed: Probed, monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = Device(auto()), Device(auto())
    choices = probed(first, 8)
    assert probed.remembered() == {"micro_batch": 8, "pass": 1.0, "optimizer": 0.5}
    monkeypatch.setattr(probe, "remember", lambda *given: pytest.fail("nothing is new"))
    assert probed(again, 8) == choices and again.ran == []
    monkeypatch.undo()
    monkeypatch.setenv("PYLM_CACHE", str(probed.cache))
    other = Device(auto(), windows_packed=True)
    probed(other, 8)
    assert other.ran, "a pass of another kind is another probe"


def test_a_length_in_time_is_planned_by_the_speed_of_today(probed: Probed) -> None:
    probed(Device(auto()), 8)
    busy = Device(auto(max_time=60.0), row=1.0)
    assert probed(busy, 8)["seconds_per_step"] == 9.5
    assert set(busy.ran) == {8} and probed.remembered()["pass"] == 1.0
    assert probed.doing == [
        "measuring this machine: the time of a step, which plans max_time",
        "measuring this machine: its matrix products",
    ]


@pytest.mark.parametrize("sizes", [(4, 8), (4, None), (64, 8)])
def test_what_was_asked_for_is_not_searched(sizes: tuple[int, int | None], probed: Probed) -> None:
    given, sequences = sizes
    device = Device(auto(micro_batch=given))
    choices = probed(device, sequences)
    assert choices["micro_batch"] == given and set(device.ran) == {min(given, sequences or given)}


def test_what_no_memory_could_hold_is_refused_before_it_is_tried(probed: Probed) -> None:
    # 16 tokens x 1 layer x (4 x 16 + 2 x 16) x 4 bytes are 6,144 a row
    device = Device(auto(micro_batch=11), memory_limit=10 * 6144)
    with pytest.raises(
        PylmError, match="a micro-batch of 11 does not fit Formula One: 67.6 kB and more of 61.4 kB"
    ) as no:
        probed(device, None)
    assert device.ran == []
    assert in_options(str(no.value.marked[1])).startswith(
        "--micro-batch auto finds what fits, 5 may; --activation-check"
    )
    assert probed(Device(auto(micro_batch=10), memory_limit=10 * 6144), None)["micro_batch"] == 10


def test_what_does_not_fit_names_the_rows_that_were_tried(probed: Probed) -> None:
    for device in (Device(auto(), room=100), Device(auto(micro_batch=128), room=100, strategy="largest")):
        with pytest.raises(PylmError, match="a micro-batch of 128 does not fit Formula One: 100 rows in use"):
            probed(device, None)
        assert device.gradients == 0 and device.generator == 7 and not (probed.cache / "probes.json").exists()
    with pytest.raises(PylmError, match="a micro-batch of 1 does not fit Formula One"):
        probed(Device(auto(), room=0, strategy="largest"), 8)


def test_other_errors_are_not_taken_for_a_full_memory(probed: Probed, monkeypatch: pytest.MonkeyPatch) -> None:
    for strategy in probe.SEARCHES:
        device = Device(auto(), strategy=strategy)
        monkeypatch.setattr(device, "out_of_memory", lambda error: False)
        device.room = 0
        with pytest.raises(Full):
            probed(device, 8)


def test_whoever_stops_loses_nothing(probed: Probed) -> None:
    device = Device(auto())
    with pytest.raises(Interrupted, match="nothing was trained"):
        probed(device, 8, stopping=lambda: len(device.ran) >= 2)
    assert device.ran == [8, 8] and device.gradients == 0 and device.generator == 7


def test_a_compiler_is_tried_where_the_run_outlasts_it(probed: Probed) -> None:
    # 8 rows take 9 s, with the compiler 5
    short = Device(auto(), row=1.0, compiled_row=0.5)
    choices = probed(short, 8, run_seconds=lambda step: 99.0)
    assert (
        choices["compile"] is False and choices["compile_why"].startswith("the run is too short") and not short.compiled
    )
    long = Device(auto(), row=1.0, compiled_row=0.5)
    choices = probed(long, 8, run_seconds=lambda step: 100.0)
    assert choices["compile"] is True and choices["compile_why"] == "5 s a pass with it, 9 s without" and long.compiled
    assert choices["seconds_per_step"] == 5.5
    assert probed.doing[0] == "trying mill: about 30 s (once for this shape; --no-compile skips it)"
    assert probed.remembered() == {"micro_batch": 8, "pass": 9.0, "optimizer": 0.5, "compiler": 1,
                                   "trial": {"compiled": 5.0, "eager": 9.0}}  # fmt: skip
    again = Device(auto(), row=1.0, compiled_row=0.5)
    assert probed(again, 8, run_seconds=lambda step: 100.0) == choices and again.ran == [] and again.compiled
    mended = Device(auto(), row=1.0, compiled_row=1.0)
    mended.compiler = Compiles(mended, built=2)
    choices = probed(mended, 8, run_seconds=lambda step: FOREVER)
    assert choices["compile_why"] == "it gains nothing, 9 s a pass with it, 9 s without" and not mended.compiled
    assert probed.remembered()["compiler"] == 2


def test_a_compiler_that_is_asked_for_is_taken_slow_or_not(probed: Probed) -> None:
    device = Device(auto(compile=True), row=1.0, compiled_row=2.0)
    assert probed(device, 8)["compile"] is True and device.compiled
    off = Device(auto(compile=False), row=1.0, compiled_row=0.0)
    assert probed(off, 8, run_seconds=lambda step: FOREVER)["compile_why"] == "it was switched off"


def test_a_trial_beside_other_work_is_not_remembered(probed: Probed) -> None:
    probed(Device(auto(compile=False), row=1.0, compiled_row=0.5), 8)
    busy = Device(auto(), row=3.0, compiled_row=1.0)
    assert probed(busy, 8, run_seconds=lambda step: FOREVER)["compile"] is True
    assert "trial" not in probed.remembered() and probed.remembered()["pass"] == 9.0


def test_a_compiler_that_fails_is_told_or_is_an_error(probed: Probed, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Device, micro_batch: MicroBatch) -> None:
        if self.compiled:
            raise error
        plain(self, micro_batch)

    plain = Device.run
    monkeypatch.setattr(Device, "run", broken)
    error: Exception = ValueError("no mill is here")
    device = Device(auto(), compiled_row=0.0)
    choices = probed(device, 8, run_seconds=lambda step: FOREVER)
    assert choices["compile"] is False and choices["compile_why"] == "mill failed here: no mill is here"
    assert not device.compiled and "trial" not in probed.remembered()
    with pytest.raises(PylmError, match="^mill failed: no mill is here"):
        probed(Device(auto(compile=True), compiled_row=0.0), 8)
    error = Full("too much")
    with pytest.raises(PylmError, match="a micro-batch of 8 does not fit"):
        probed(Device(auto(compile=True), compiled_row=0.0), 8)
