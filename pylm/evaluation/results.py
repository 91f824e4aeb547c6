"""What an evaluation found, as a value, and as the lines that a run keeps of it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.checkpoint.directory import AVERAGE
from pylm.durable import naming
from pylm.errors import UsageError
from pylm.runs.documents import Documents, keep_documents
from pylm.runs.lines import plain
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.evaluation.breakdown import Bin
    from pylm.evaluation.suites import SuiteResult
    from pylm.evaluation.tally import Units
    from pylm.evaluation.tasks import TaskResult
    from pylm.evaluation.written import Written

__all__ = ["EVALUATIONS", "Evaluation", "apart", "append", "fingerprint", "keep", "perplexity", "ready"]

EVALUATIONS = "evaluations.jsonl"
METRICS = (
    "loss",
    "perplexity",
    "accuracy",
    "bits_per_byte",
    "bits_per_byte_with_eot",
    "bits_per_character",
    "calibration_error",
)


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth; a number that nobody knows is None."""

    checkpoint: Path
    step: int | None
    engine: str  # what computed
    settings: Mapping[str, Any]  # what else the numbers depend on
    data: str | None = None  # what it was judged by
    loss: float | None = None  # the mean nats of a target
    perplexity: float | None = None
    accuracy: float | None = None  # the share of targets that were the likeliest token
    bits_per_byte: float | None = None
    bits_per_byte_with_eot: float | None = None
    bits_per_character: float | None = None
    calibration_error: float | None = None
    stderr: Mapping[str, float] = field(default_factory=dict)  # of some of these, by document
    tokens: int = 0  # targets
    bytes: int | None = None
    characters: int | None = None
    by: Mapping[str, Sequence[Bin]] = field(default_factory=dict)
    tasks: Sequence[TaskResult] = ()  # those of the suite among them
    texts: Written | None = None  # what it writes is like
    suite: SuiteResult | None = None  # its score, and what is missing
    units: Units | None = field(default=None, repr=False)  # the sums of each document, for comparisons

    @property
    def fingerprint(self) -> str:
        """The settings in a few letters: numbers of one fingerprint compare."""
        return fingerprint(self.settings)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for programs."""
        made: dict[str, Any] = {"checkpoint": str(self.checkpoint), "step": self.step, "engine": self.engine}
        made |= {"data": self.data, "settings": dict(self.settings), "fingerprint": self.fingerprint}
        if self.data is not None:
            made |= {metric: getattr(self, metric) for metric in METRICS}
            made |= {"stderr": dict(self.stderr), "tokens": self.tokens, "bytes": self.bytes}
            made |= {"characters": self.characters, "documents": 0 if self.units is None else len(self.units.keys)}
        if self.by:
            made["by"] = {name: [each._asdict() for each in bins] for name, bins in self.by.items()}
        made["tasks"] = [each.as_dict() for each in self.tasks]
        for name, found in (("suite", self.suite), ("texts", self.texts)):
            if found is not None:
                made[name] = found.as_dict()
        return made

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield a record for each number: what evaluations.jsonl keeps."""
        folder = self.checkpoint
        same = {
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "checkpoint": f"{folder.parent.name}/{AVERAGE}" if folder.name == AVERAGE else folder.name,
            "step": self.step,
            "settings": self.fingerprint,
            "engine": self.engine,
        }
        for metric in METRICS if self.data is not None else ():
            if (value := getattr(self, metric)) is not None:
                yield {
                    "task": self.data, "metric": metric, "value": value, "n": self.tokens,
                    "stderr": self.stderr.get(metric), **same,
                }  # fmt: skip
        for found in (*self.tasks, self.suite, self.texts):
            for record in () if found is None else found.records():  # whose settings are its own
                yield {**same, **record}


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Return settings in 16 letters."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def perplexity(loss: float) -> float:
    """Return the exponential of a loss; infinite where no float holds it."""
    return math.inf if loss >= 700 else math.exp(loss)


def ready(path: Path) -> None:
    """Refuse a file that results cannot be appended to, before they cost anything; nothing is made or changed."""
    lacks = f"results cannot be appended to {path}"
    if path.is_dir():
        raise UsageError(f"{lacks}: it is a folder", "name a file")
    if not path.parent.is_dir():
        raise UsageError(f"{lacks}: there is no folder {path.parent}", "make it, or name a file elsewhere")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{lacks}: it may not be written to", param("out", "FILE") + " names another file")
    if path.is_file():
        with path.open("rb") as file:
            first = file.readline()
        torn = first.startswith(b"{") and not first.endswith(b"\n")
        if first and not torn and not _is_record(first):
            raise UsageError(f"{lacks}: it holds something else", "name a file of its own for them")


def apart(path: Path, read: Iterable[Any]) -> None:
    """Refuse a file of results that is one of those that are read."""
    for one in read:
        if isinstance(one, str | os.PathLike) and os.path.exists(one) and path.exists() and path.samefile(one):
            raise UsageError(f"results cannot be appended to {path}: it is what is asked", "name a file of its own")


def append(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Append records, a line each, all in one write that others who append do not cut in two.

    A last line that a killed process or a full disk left torn is taken away first, or the next would be joined to it.
    One that lacks no more than its end stays.
    """
    lines = "".join(json.dumps(plain(each), ensure_ascii=False, allow_nan=False) + "\n" for each in records).encode()
    with naming(path), path.open("a+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        held = path.read_bytes()
        whole = held.rfind(b"\n") + 1
        if _is_record(held[whole:]):
            lines = b"\n" + lines
        elif whole < len(held):
            file.truncate(whole)
        while lines:
            lines = lines[file.write(lines) :]
        os.fsync(file.fileno())


def keep(run: Path, found: Evaluation, records: Sequence[Mapping[str, Any]]) -> None:
    """Keep in a run what was found of each document, for comparisons with runs that were judged by the same."""
    if found.units is None or not records:
        return
    of = {key: records[0][key] for key in ("checkpoint", "time")}
    sums = {name: getattr(found.units, name) for name in ("keys", "nats", "tokens", "text_nats", "bytes")}
    keep_documents(run, found.fingerprint, Documents(data=found.settings["data"], name=str(found.data), **of, **sums))


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
