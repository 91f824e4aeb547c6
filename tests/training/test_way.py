"""The way of `pylm train my.txt` through the house: whom it meets, in which order, and that nobody climbs back.

The calls of a run are recorded up to its first step. A room that has called another is left; while it is, nobody below
may call back into it, as a probe once did that reached into the command line for a batch. Training's own functions may
be handed down, errors and the configuration's values and units serve all, and events are heard by whoever listens.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import pylm
from pylm.cli import run as command
from pylm.data.stories import stories
from tests.test_layering import ROOMS, SERVE_ALL

HOUSE = Path(pylm.__file__).resolve().parent
SHAPE = ["--n-layers", "1", "--n-heads", "2", "--d-model", "16", "--context-length", "16", "--batch-tokens", "64"]
LINE = ["train", "my.txt", *SHAPE, "--max-steps", "1", "--device", "cpu", "--no-compile", "--vocab-size", "300",
        "--sample-every", "1", "--backend", "torch"]  # fmt: skip
VALUES = ("pylm.config.values", "pylm.config.units", "pylm.config.schema", "pylm.config.keys", "pylm.config.batch")
# where the way first meets each room, in the order that docs/architecture.md draws
ORDER = ["pylm.cli", "pylm.config", "pylm.training", "pylm.runs", "pylm.data", "pylm.tokenizer", "pylm.checkpoint",
         "pylm.model", "pylm.evaluation"]  # fmt: skip


class Stop(BaseException):
    """The first step is about to be taken."""


class Way:
    """Records each first meeting of a room, every call, and every climb back into a room that was left."""

    def __init__(self) -> None:
        self.met: list[str] = []
        self.climbs: set[str] = set()
        self.calls: dict[str, int] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and (module := module_of(frame)) is not None:
            callers = []
            above = frame.f_back
            while above is not None:
                if above.f_code.co_name == "<module>" and above.f_globals["__name__"].startswith("pylm."):
                    return  # an import: nothing of the run happens there
                if (caller := module_of(above)) is not None:
                    callers.append(caller)
                above = above.f_back
            self.enter(callers[::-1], module, frame.f_code.co_name)

    def enter(self, callers: list[str], module: str, function: str) -> None:
        """Take note of a call by the last of these modules, which the ones before it called."""
        name, room = f"{module}.{function}", room_of(module)
        self.calls[name] = self.calls.get(name, 0) + 1
        if "pylm.cli.frame.narrator" in (module, *callers) or module.startswith(VALUES):
            return
        if room not in self.met:
            self.met.append(room)
        rooms = [room_of(caller) for caller in callers]
        if room in rooms and rooms[-1] != room and room != "pylm.training":
            self.climbs.add(" → ".join(dict.fromkeys([*rooms[rooms.index(room) :], name])))


def module_of(frame: FrameType) -> str | None:
    """Return the module of ours that a frame runs in; None for the rooms that serve all, and for what is imported."""
    name = frame.f_globals.get("__name__", "")
    if not name.startswith("pylm.") or frame.f_code.co_name in ("<module>", "__getattr__", "__dir__"):
        return None
    if any(name == room or name.startswith(room + ".") for room in SERVE_ALL):
        return None
    return str(name)


def room_of(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2])


@pytest.fixture
def way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Way:
    """The way of one line, up to its first step."""
    from pylm.training.torch_backend.backend import TorchBackend

    (tmp_path / "my.txt").write_text("".join(stories(60_000)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYLM_CACHE", str(tmp_path / "cache"))

    def step(*_: Any) -> Any:
        raise Stop

    monkeypatch.setattr(TorchBackend, "step", step)
    recorded = Way()
    sys.setprofile(recorded)
    try:
        with pytest.raises(Stop):
            command(LINE)
    finally:
        sys.setprofile(None)
    return recorded


def test_nobody_climbs_back_and_each_thing_happens_once(way: Way) -> None:
    assert way.climbs == set()
    once = ("config.cascade.resolve", "data.identity.identify", "training.session.make_session", "training.run.train")
    assert {name: way.calls.get(f"pylm.{name}", 0) for name in once} == dict.fromkeys(once, 1)
    assert [room for room in way.met if room in ORDER] == ORDER
    assert set(way.met) <= {room_of(room) for room in ROOMS}


def test_a_climb_is_seen() -> None:
    way = Way()
    way.enter([], "pylm.cli.train", "train")
    way.enter(["pylm.cli.train"], "pylm.training.probe", "probe")
    way.enter(["pylm.cli.train", "pylm.training.probe"], "pylm.data.open", "loader_of")
    assert way.climbs == set()
    way.enter(["pylm.cli.train", "pylm.training.probe"], "pylm.cli.train", "rows")
    assert way.climbs == {"pylm.cli → pylm.training → pylm.cli.train.rows"}
