"""What is shown of runs: a million lines in a new process each time, a thousand runs, TensorBoard on the same figures.

TensorBoard asks for an environment of its own: `make peers-runs`.
"""

from __future__ import annotations

import compileall
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.compare import Compare, Side

ROOT = Path(__file__).resolve().parent.parent
PEERS = str(ROOT / ".venv" / "peers-runs" / "bin" / "python")
LINES = 1_000_000
FEWER = 100_000  # of the comparison: TensorBoard writes these for a minute
PIXELS = 1200
SPIKES = 1000
RUNS = 1000
STEPS = 20_000
TRAINED = 1500  # steps, 11 s: 2 % of 600 are 0.09 s, which the process beside takes of the processor to start
FIGURES = ("loss", "lr", "grad_norm", "tokens_per_second", "mfu", "memory")


# the sides


def command(*words: str) -> float:
    """The seconds of a whole process."""
    import pylm._rust  # noqa: F401 - so that a quick build is refused

    begun = time.perf_counter()
    subprocess.run([str(Path(sys.executable).with_name("pylm")), *words], check=True, capture_output=True)
    return time.perf_counter() - begun


def opened(folder: str, words: list[str]) -> dict[str, Any]:
    index = Path(folder, "metrics.idx")
    index.unlink(missing_ok=True)
    first = command(*words)
    return {"first": first, "seconds": command(*words)}


def served(folder: str) -> dict[str, Any]:
    """From the start of the process to the first event of the page."""
    import http.client

    import pylm._rust  # noqa: F401

    Path(folder, "metrics.idx").unlink(missing_ok=True)
    times = []
    for _ in range(2):
        begun = time.perf_counter()
        words = [str(Path(sys.executable).with_name("pylm")), "watch", folder, "--web"]
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        ) as child:
            assert child.stdout is not None
            port = int(child.stdout.readline().split("/")[2].split(":")[1])
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/events")
            response = connection.getresponse()
            while not response.readline().startswith(b"data: "):
                pass
            times.append(time.perf_counter() - begun)
            child.terminate()
    return {"first": times[0], "seconds": times[1]}


def reported(folder: str) -> dict[str, Any]:
    seconds = command("report", folder)
    return {"seconds": seconds, "megabytes": Path(folder, "report.html").stat().st_size / 1e6}


def listed(folder: str) -> dict[str, Any]:
    return {"milliseconds": 1e3 * command("runs", "ls", folder)}


def spikes_seen(folder: str) -> dict[str, Any]:
    """How many of the planted spikes stand out of their column of pixels in what is drawn."""
    from pylm._rust import Metrics

    planted = json.loads(Path(folder, "spikes.json").read_text())
    xs, ys = Metrics(f"{folder}/metrics.jsonl").curve("loss", columns=PIXELS)
    drawn = {column(x) for x, y in zip(xs, ys, strict=True) if y > 20}
    return {"seen": sum(column(step) in drawn for step in planted)}


def column(step: float) -> int:
    return min(int((step - 1) / (LINES - 1) * PIXELS), PIXELS - 1)


def watched(folder: str) -> dict[str, Any]:
    """The share of a core that watching takes while a line comes twice a second."""
    import pty
    import resource
    import threading

    import pylm._rust  # noqa: F401

    master, slave = pty.openpty()
    threading.Thread(target=drained, args=(master,), daemon=True).start()
    words = [str(Path(sys.executable).with_name("pylm")), "watch", folder]
    with subprocess.Popen(words, stdin=slave, stdout=slave, env={**os.environ, "TERM": "xterm"}) as child:
        time.sleep(3)
        before = cpu_of(child.pid)
        begun = time.perf_counter()
        with Path(folder, "metrics.jsonl").open("a") as file:
            for step in range(LINES + 1, LINES + 61):
                file.write(line(step, 2.0))
                file.flush()
                time.sleep(0.5)
        share = (cpu_of(child.pid) - before) / (time.perf_counter() - begun)
        os.write(master, b"q")
    return {"percent": 100 * share, "children": resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime}


def drained(handle: int) -> None:
    while os.read(handle, 1 << 16):
        pass


def cpu_of(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ours_loaded(folder: str, events: str) -> dict[str, Any]:
    """Every figure of every line, without an index."""
    from pylm._rust import Metrics

    begun = time.perf_counter()
    read = Metrics(f"{folder}/metrics.jsonl", index=False)
    found = {key: read.points(key) for key in FIGURES}
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "result": [len(found["loss"][1]), float(found["loss"][1].sum())]}


def tensorboard_loaded(folder: str, events: str) -> dict[str, Any]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    begun = time.perf_counter()
    read = EventAccumulator(events, size_guidance={"scalars": 0})
    read.Reload()
    found = {key: read.Scalars(key) for key in FIGURES}
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "result": [len(found["loss"]), float(sum(one.value for one in found["loss"]))]}


def tensorboard_written(folder: str, events: str) -> dict[str, Any]:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(events, max_queue_size=10_000, flush_secs=600)
    with Path(folder, "metrics.jsonl").open() as lines:
        for written in lines:
            record = json.loads(written)
            for key in FIGURES:
                summary = Summary(value=[Summary.Value(tag=key, simple_value=record[key])])
                writer.add_event(Event(step=record["step"], wall_time=record["seconds"], summary=summary))
    writer.close()
    return {}


def stepped(folder: str, trackers: list[str]) -> dict[str, Any]:
    """What sending adds to steps of a millisecond that each write a line: 20,000 without, then as many with."""
    from pylm.runs import RunFolder
    from pylm.runs.trackers import FINISHED, Tracking

    sys.path.insert(0, packages_of_peers())
    folder = tempfile.mkdtemp(dir=folder)  # or the second time each line would be one that services have already
    beside = {
        "WANDB_MODE": "offline",
        "TRACKIO_DIR": f"{folder}/trackio",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/ml.db",
    }
    os.environ.update(beside)
    found = {}
    for name in ("without", "with"):
        with RunFolder(Path(folder, name)) as run:
            (run.path / "config.yaml").write_text("train: {max_steps: 20000}\n")
            tracking = Tracking(run.path, trackers, finish=120) if name == "with" else None
            found[name] = sorted(steps_of(run.metrics.append, tracking.news if tracking else tuple))
            dropped = [one.dropped for one in (tracking.finish(FINISHED) if tracking else ()) if one.dropped]
    assert not dropped, dropped
    p50, p99 = ((found["with"][at] - found["without"][at]) * 1e6 for at in (STEPS // 2, STEPS * 99 // 100))
    return {"p50": p50, "p99": p99}


def steps_of(write: Callable[[dict[str, Any]], None], news: Callable[[], Any]) -> Iterator[float]:
    """The seconds of each step: a millisecond of computing, a line, a look at what was said."""
    record = json.loads(line(1, 2.0))
    for step in range(1, STEPS + 1):
        begun = time.perf_counter()
        while time.perf_counter() - begun < 1e-3:
            pass
        write({**record, "step": step})
        news()
        yield time.perf_counter() - begun


def packages_of_peers() -> str:
    line = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return subprocess.run([PEERS, "-c", line], capture_output=True, text=True, check=True).stdout.strip()


def trained(folder: str, sink: str | None) -> dict[str, Any]:
    """A training, sent to a sink that sleeps, raises or writes until its disk is full; or to none."""
    import shutil

    import pylm
    from pylm.training.events import TrackerDropped

    shutil.rmtree(Path(folder, "run"), ignore_errors=True)
    os.chdir(folder)
    os.environ.update({"SINK": sink or "", "PYLM_CACHE": f"{folder}/cache"})
    sys.path.insert(0, folder)
    warnings: list[Any] = []
    shape = {"n_layers": 2, "n_heads": 2, "d_model": 64, "context_length": 64, "batch_tokens": 1024, "micro_batch": 16}
    run = pylm.train(
        data="ids", out="run", max_steps=TRAINED, log_every=1, eval_every=None, save_every=None, sample_every=None,
        compile=False, device="cpu", trackers=["wandb"] if sink else [], tracker_finish=1.0, **shape,
        on_event=lambda event: warnings.append(event) if isinstance(event, TrackerDropped) else None,
    )  # fmt: skip
    lines = [record for record in run.metrics() if "loss" in record]
    seconds = lines[-1]["seconds"] - lines[0]["seconds"]
    return {"seconds": seconds, "result": [one["loss"] for one in lines], "warnings": len(warnings)}


def trained_alone(folder: str, sink: str) -> dict[str, Any]:
    return trained(folder, None)


BAD_SINK = """
import os, resource, time
class Settings:
    sync_dir = "none"
    def __init__(self, **values): pass
def login(prompt, verify): return False
class Run:
    settings = Settings()
    def define_metric(self, *args, **more): pass
    def finish(self, exit_code=None): pass
    def log(self, values):
        if os.environ["SINK"] == "sleeps 10 s": time.sleep(10)
        if os.environ["SINK"] == "raises": raise RuntimeError("no service")
        if os.environ["SINK"] == "fills the disk":
            with open("full", "wb") as file:
                while True: file.write(bytes(1 << 16))
def init(**what):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))  # as if the disk had half a megabyte left
    return Run()
"""


# the material


def line(step: int, loss: float) -> str:
    phase = '{"data": 0.029862, "forward": 0.101834, "backward": 0.07766, "optimizer": 0.027161}'
    return (
        f'{{"step": {step}, "tokens": {step * 64}, "seconds": {step / 100:.3f}, "loss": {loss!r}, "lr": 0.00035229, '
        f'"grad_norm": {loss / 7!r}, "tokens_per_second": 2472.3, "mfu": 0.005, "memory": 640950272, '
        f'"phase": {phase}}}\n'
    )


def written(folder: Path, lines: int) -> str:
    """A run of so many lines, a thousand of them spikes."""
    folder.mkdir()
    draw = random.Random(1)
    spikes = sorted(draw.sample(range(1, lines), SPIKES))
    (folder / "spikes.json").write_text(json.dumps(spikes))
    (folder / "config.yaml").write_text("train: {max_steps: 9}\n")
    high = set(spikes)
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(1, lines + 1):
            loss = 2 + 6 * math.exp(-8 * step / lines) + draw.gauss(0, 0.05)
            file.write(line(step, loss + 25 * (step in high)))
    return str(folder)


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # as pip leaves what it installs: where PYTHONDONTWRITEBYTECODE is set, each start would compile 60 ms of it again
    compileall.compile_dir(ROOT / "pylm", quiet=1)
    yield written(tmp_path_factory.mktemp("runs") / "million", LINES)


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("thousand")
    for number in range(RUNS):
        run = folder / f"run{number:04}"
        (run / "checkpoints" / "step_400").mkdir(parents=True)
        (run / "config.yaml").write_text("train: {max_steps: 400}\n")
        (run / "metrics.jsonl").write_text("".join(line(step, 2.0) for step in range(10, 401, 10)))
        (run / "checkpoints" / "last").write_text("step_400\n")
        state = {"progress": {"finished": "400 steps"}, "rng": {"torch": "A" * 7000}}
        (run / "checkpoints" / "step_400" / "state.json").write_text(json.dumps(state, indent=1))
    return str(folder)


# the rows


@pytest.mark.parametrize("name", ["plot", "watch"])
def test_a_million_lines_are_opened(compare: Compare, million: str, name: str, tmp_path: Path) -> None:
    words = [name, million, *(["--out", str(tmp_path / "p.svg")] if name == "plot" else [])]
    run = compare(f"pylm {name}, a million lines", Side("pylm", opened), rounds=5, folder=million, words=words)
    run.at_most(2, "first", "s")
    run.at_most(0.2, "seconds", "s")


def test_a_million_lines_are_served(compare: Compare, million: str) -> None:
    run = compare("pylm watch --web, a million lines", Side("pylm", served), rounds=5, folder=million)
    run.at_most(2, "first", "s")
    run.at_most(0.2, "seconds", "s")


def test_a_million_steps_are_reported(compare: Compare, million: str) -> None:
    run = compare("pylm report, a million steps", Side("pylm", reported), rounds=5, folder=million)
    run.at_most(5, "seconds", "s")
    run.at_most(2, "megabytes", "MB")


def test_every_spike_is_drawn(compare: Compare, million: str) -> None:
    run = compare(
        "1,000 spikes in a million steps at 1,200 pixels", Side("pylm", spikes_seen), rounds=1, folder=million
    )
    run.at_least(SPIKES, "seen", "spikes")


def test_a_thousand_runs_are_listed(compare: Compare, thousand: str) -> None:
    run = compare("pylm runs ls, 1,000 runs", Side("pylm", listed), rounds=7, folder=thousand)
    run.at_most(300, "milliseconds", "ms")


def test_watching_takes_nothing_from_a_training(compare: Compare, million: str) -> None:
    run = compare("pylm watch, share of a core", Side("pylm", watched), rounds=1, folder=million)
    run.at_most(1, "percent", "%")


def test_steps_do_not_feel_five_trackers(compare: Compare, tmp_path: Path) -> None:
    name = "added to a step of 1 ms by five trackers, of 20,000"
    trackers = ["csv", "tensorboard", "wandb", "trackio", "mlflow"]
    if not Path(PEERS).exists():
        compare.unmeasured(name, "no trackers are installed: make peers-runs", "≤ 20 µs, ≤ 200 µs")
    run = compare(name, Side("pylm", stepped), rounds=1, folder=str(tmp_path), trackers=trackers)
    run.at_most(20, "p50", "µs")
    run.at_most(200, "p99", "µs")


@pytest.mark.parametrize("sink", ["sleeps 10 s", "raises", "fills the disk"])
def test_a_training_does_not_feel_a_bad_sink(compare: Compare, sink: str, tmp_path: Path) -> None:
    from tests.support.shards import write_shards

    write_shards(tmp_path / "ids", 500, np.random.default_rng(2), count=100_000)
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "__init__.py").write_text(BAD_SINK)
    without = Side("pylm", trained_alone, label="without")
    run = compare(f"a sink that {sink}", Side("pylm", trained), [without], rounds=5, folder=str(tmp_path), sink=sink)
    run.leaner(1.02, "without", "seconds", "s")
    run.at_most(1, "warnings", "warnings")


def close(ours: list[float], peer: list[float]) -> bool:
    return ours[0] == peer[0] and math.isclose(ours[1], peer[1], rel_tol=1e-5)


def test_all_figures_are_loaded(compare: Compare, tmp_path: Path) -> None:
    bar, name = "20× as fast as tensorboard", "every figure of 100,000 lines, loaded"
    sides: dict[str, Callable[..., dict[str, Any]]] = {"read": tensorboard_loaded, "write": tensorboard_written}
    peer = {key: Side("tensorboard", function, python=PEERS) for key, function in sides.items()}
    if not Path(PEERS).exists() or peer["read"].version() is None:
        compare.unmeasured(name, "tensorboard is not installed: make peers-runs", bar)
    folder, events = written(tmp_path / "run", FEWER), str(tmp_path / "events")
    compare.once(peer["write"], folder=folder, events=events)
    run = compare(name, Side("pylm", ours_loaded), [peer["read"]], rounds=3, agree=close, folder=folder, events=events)
    run.faster(20, "tensorboard")
