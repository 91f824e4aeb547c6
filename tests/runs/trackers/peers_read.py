"""What packages of trackers find of a run, by their own readers: run by their Python, `{name: [[step, value], …]}`."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, FULL, LAST = 1 << 15, 1, 4
Points = Iterator[tuple[str, int, float]]


def tensorboard(folder: Path) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "a" / "trackers" / "tensorboard"), size_guidance={"scalars": 0})
    read.Reload()
    assert read.Tags()["tensors"], "texts are there"
    for tag in read.Tags()["scalars"]:
        yield from ((tag, point.step, point.value) for point in read.Scalars(tag))


def wandb(folder: Path) -> Points:
    from wandb.proto import wandb_internal_pb2

    for file in sorted((folder / "a" / "trackers" / "wandb").glob("offline-run-*/*.wandb")):
        for data in records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") != "history":
                continue
            row = {one.key or one.nested_key[0]: json.loads(one.value_json) for one in record.history.item}
            yield from ((key, int(row["step"]), value) for key, value in row.items() if "/" in key)


def records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a file of W&B's, which is a log of LevelDB: this version's package reads it in Go alone."""
    assert content[:7] == b":W&B" + struct.pack("<HB", 0xBEE1, 0)
    at, record = 7, b""
    while at + 7 <= len(content):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK  # no header fits into what is left of a block
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (FULL, LAST):
            yield record
            record = b""


def trackio(folder: Path) -> Points:
    (path,) = (folder / "trackio").glob("*.db")
    with sqlite3.connect(path) as base:
        for step, metrics in base.execute("select step, metrics from metrics order by rowid"):
            yield from ((key, step, value) for key, value in json.loads(metrics).items() if "/" in key)


def mlflow(folder: Path) -> Points:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("pylm")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params["train.max_steps"] == "20" and run.info.status == "KILLED"  # no checkpoint says it finished
    for key in run.data.metrics:
        yield from ((key, point.step, point.value) for point in client.get_metric_history(run.info.run_id, key))


def main(tracker: str, folder: str) -> None:
    """Print the points that one found, each name's in the order in which they came."""
    found: dict[str, list[Any]] = {}
    for name, step, value in globals()[tracker](Path(folder)):
        number = (
            value
            if isinstance(value, float) and math.isfinite(value)
            else str(value)
            if isinstance(value, str | float)
            else value
        )
        found.setdefault(name, []).append([step, number])
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
