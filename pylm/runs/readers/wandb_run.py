"""`wandb:ID`: the local run that was sent there, else W&B's offline file, else what its service has."""

from __future__ import annotations

import glob
import json
import netrc
import os
import re
from pathlib import Path

from pylm.errors import DataError, UsageError
from pylm.runs.finding import RUNS, runs_of
from pylm.runs.lines import flat
from pylm.runs.readers.logged import Logged, logged
from pylm.runs.readers.wandb_file import OWN, read_offline, rows_of

__all__ = ["open_wandb"]

ID = re.compile(r"[\w.-]+")


def open_wandb(name: str, rest: str) -> Path | Logged:
    """Return a run by its id, `ENTITY/PROJECT/ID`, or by the file or folder of an offline one."""
    path = Path(rest)
    if path.suffix == ".wandb" or path.is_dir():
        files = sorted(path.glob("*.wandb")) if path.is_dir() else [path]
        if not all(file.is_file() for file in files) or not files:
            raise UsageError(f"{path} holds no file of W&B", "such as wandb/offline-run-…/run-ID.wandb")
        return read_offline(name, files)
    own = rest.rpartition("/")[2]
    if not ID.fullmatch(own):
        raise UsageError(f"{name} names no run", "wandb:ID, wandb:ENTITY/PROJECT/ID or wandb:FILE.wandb")
    if (local := _local(own)) is not None:
        return local
    folder = Path(os.environ.get("WANDB_DIR", "."), "wandb")
    files = sorted(map(Path, glob.glob(f"{glob.escape(str(folder))}/*run-*-{own}/run-{own}.wandb")))
    return read_offline(name, files) if files else _fetched(name, rest, f"it is neither in {RUNS}/ nor in {folder}/")


def _local(own: str) -> Path | None:
    """Return the run here that was sent to W&B under an id, or a part of it that is not sent yet."""
    for run in runs_of(RUNS):
        if any((run / "trackers" / "wandb").glob(f"*run-*-{glob.escape(own)}")):
            return run
        try:
            kept = json.loads((run / "trackers" / "wandb.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(kept, dict) and kept.get("id") == own:
            return run
    return None


def _fetched(name: str, rest: str, elsewhere: str) -> Logged:
    """Return what W&B's service has of a run."""
    if os.environ.get("PYLM_OFFLINE") == "1":
        raise UsageError(f"{name} is not here: {elsewhere}", "the service is not asked while PYLM_OFFLINE=1 is set")
    try:
        import wandb
    except ImportError:
        raise UsageError(f"{name} is not here: {elsewhere}, and W&B is not installed", "pip install wandb") from None
    if not _has_key():
        raise UsageError(f"{name} is not here: {elsewhere}, and its service asks for a key", "wandb login") from None
    try:
        run = wandb.Api().run(rest)
        config = {key: value for key, value in flat(run.config) if key.partition(".")[0] not in OWN}
        return logged(name, rows_of(run.scan_history()), config)
    except DataError:
        raise
    except Exception as error:  # of its many classes none is promised
        raise UsageError(f"{name} cannot be had from W&B: {error}", f"{elsewhere}; name it ENTITY/PROJECT/ID") from None


def _has_key() -> bool:
    """Say whether W&B finds a key without asking anybody."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return any("wandb" in host for host in netrc.netrc().hosts)
    except (OSError, netrc.NetrcParseError):
        return False
