"""One of several processes that train a model: it goes on where an earlier start left off, and never waits for ever."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pylm.errors import PylmError
from pylm.training import run
from pylm.training.launch.codes import GOES_ON, LOST
from pylm.training.launch.pulse import Pulse
from pylm.training.launch.restarted import agreed, counted, restarted
from pylm.training.world import World

if TYPE_CHECKING:
    from pylm.runs import Run, Stop
    from pylm.training.events import Event
    from pylm.training.request import Request

__all__ = ["LostRank", "train"]

# what gloo, NCCL and their sockets say once another process is gone; they have no type of error that says it
GONE = re.compile(r"gloo|nccl|connection (closed|reset)|broken pipe|timed? ?out|socket|process group", re.IGNORECASE)
PLACE = re.compile(r"^\[\S+\.\w+:\d+\] ")


class LostRank(PylmError):
    """Another process of the run is gone, and this one cannot go on: all are started again, or none."""

    exit_code = LOST


def train(
    request: Request,
    on_event: Callable[[Event], None],
    *,
    stop: Stop,
    wants_step: Callable[[], bool],
    work: Callable[..., Run] | None = None,
) -> Run:
    """Train, as `work` does where it is given, in this process of a world that the environment names.

    Raises LostRank where another process is gone, or has not moved for `parallel_timeout`.
    """
    world, work = World.of_environment(), work or run.train
    if world.size == 1:
        return work(restarted(request, counted()), on_event, stop=stop, wants_step=wants_step, store=None)
    patience = request.with_begun().resolve().config.train.parallel_timeout
    from pylm.training.torch_backend.meeting import meet

    with lost_to_others():
        store: Any = meet(world, patience)  # whose stubs know no clone
        request = restarted(request, agreed(store, world))
        with Pulse(world, request.out, patience, stop, store.clone) as pulse:
            heard = pulse.listening(on_event if world.leads else lambda event: None)
            wants = pulse.wants_step(wants_step if world.leads else lambda: False)
            return work(request, heard, stop=stop, wants_step=wants, store=store)


@contextmanager
def lost_to_others() -> Iterator[None]:
    """Say of an error of torch's that another process is gone, where it is that."""
    try:
        yield
    except RuntimeError as error:
        if not is_of_another(error):
            raise
        raise LostRank(f"the other processes are gone: {_first_words(error)}", GOES_ON) from error


def is_of_another(error: RuntimeError) -> bool:
    """Say whether an error of torch's is that another process cannot be reached."""
    from torch import distributed

    return isinstance(error, distributed.DistError) or GONE.search(str(error)) is not None


def _first_words(error: RuntimeError) -> str:
    """Return what an error of torch's says, without the place in its sources and the advice that follows."""
    return PLACE.sub("", str(error).splitlines()[0]).partition(". ")[0]
