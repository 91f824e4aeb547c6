"""Packages of trackers that write down what they are asked, as files for a process beside to import."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

__all__ = ["calls", "plant"]

RECORDED = """
import json, os, time
def note(**what):
    with open({log!r}, "a") as file:
        file.write(json.dumps(what, default=str) + "\\n")
def behave():
    if os.environ.get("STUB") == "raises":
        raise RuntimeError("the service is on fire")
    if os.environ.get("STUB") == "sleeps":
        time.sleep(600)
    if os.environ.get("STUB") == "is slow":
        time.sleep(0.01)
    if os.environ.get("STUB") == "computes":
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass
class Recorded:
    def __init__(self, *args, **more): pass
    def log(self, values, step=None):
        behave()
        note(call="log", values=values, step_given=step)
    def finish(self, exit_code=None): note(call="finish", exit_code=exit_code)
"""
WANDB = """
class Settings:
    def __init__(self, **values): self.sync_dir = "SYNC"
def login(prompt, verify): return "WANDB_API_KEY" in os.environ
Table = Recorded
class Run(Recorded):
    settings = Settings()
    def define_metric(self, *args, step_metric=None):
        note(call="define_metric", args=[*args, *([step_metric] if step_metric else [])])
    def alert(self, title, text): note(call="alert", title=title, text=text)
def init(**what):
    note(call="init", **what)
    return Run()
"""
TRACKIO = """
Markdown = Recorded
def alert(title, text): note(call="alert", title=title, text=text)
def init(**what):
    note(call="init", **what)
    return Recorded()
"""
MLFLOW = """
class info: run_id, start_time = "r1", 1_000_000
class MlflowClient:
    def get_experiment_by_name(self, name): return None
    def create_experiment(self, name):
        note(call="create_experiment", name=name)
        return "1"
    def create_run(self, experiment, run_name, tags): return self.get_run("r1")
    def get_run(self, run): return type("Run", (), {"info": info})
    def log_batch(self, run, metrics=(), params=()):
        behave()
        note(call="log_batch", metrics=[list(one) for one in metrics], params=[list(one) for one in params])
    def set_tag(self, run, key, value): note(call="set_tag", key=key, value=value)
    def log_text(self, run, text, file): note(call="log_text", text=text, file=file)
    def set_terminated(self, run, status): note(call="set_terminated", status=status)
"""


def plant(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a package where it is imported from, here and in processes beside, and return what it writes."""
    log, top = folder / f"{name}.log", folder / "planted"
    text = RECORDED.replace("{log!r}", repr(str(log)))
    package = top / name
    package.mkdir(parents=True)
    if name == "mlflow":
        (package / "__init__.py").write_text("")
        (package / "tracking.py").write_text(text + MLFLOW)
        (package / "entities.py").write_text(
            "from collections import namedtuple\nMetric = namedtuple('Metric', 'key value timestamp step')\n"
            "Param = namedtuple('Param', 'key value')\n"
        )
    else:
        (package / "__init__.py").write_text(text + (WANDB if name == "wandb" else TRACKIO))
    for module in [one for one in sys.modules if one.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.syspath_prepend(str(top))
    for variable in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR", "TRACKIO_PROJECT"):
        monkeypatch.delenv(variable, raising=False)
    return log


def calls(log: Path) -> list[dict[str, Any]]:
    """What a planted package was asked."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
