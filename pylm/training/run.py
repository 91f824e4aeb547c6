"""From a request to a trained model: the order in which a run is made.

request → data → configuration → folder → plan, backend, probe, plan again → session → loop. The folder is held before
the machine is measured, so that a folder which is taken, or holds another run, is refused within a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pylm.data.identity import identify
from pylm.data.open import source_of
from pylm.errors import Interrupted
from pylm.runs import Run, Stop
from pylm.training import continued, ending, init_from, resume
from pylm.training.beside import CRASHED, FINISHED, STOPPED, Beside
from pylm.training.configuration import configuration
from pylm.training.events import Event
from pylm.training.inputs import open_data
from pylm.training.loop import Hooks, Session
from pylm.training.loop import train as train_to_the_end
from pylm.training.on_incident import program_of
from pylm.training.profiling import profiled
from pylm.training.ranks import Ranks
from pylm.training.session import Beginning, make_session

if TYPE_CHECKING:
    from pylm.config.cascade import Resolved
    from pylm.training.request import Request

__all__ = ["train"]


def train(
    request: Request,
    on_event: Callable[[Event], None] = lambda event: None,
    *,
    stop: Stop | None = None,
    wants_step: Callable[[], bool] = lambda: True,
    store: Any = None,
    ranks: Ranks | None = None,
) -> Run:
    """Train what was asked for, or go on with it, to the end.

    Raises Interrupted once the state is saved where `stop` says that somebody asked to stop.

    Args:
        request: what to train, on what, where.
        on_event: hears what happens, in this thread.
        stop: asked between steps, and while anything takes long; nobody stops it unless given.
        wants_step: whether a step is heard now: its figures cost a little.
        store: in which the processes of the run have met; several that have not meet first.
        ranks: those processes, where they are of one mind already.
    """
    stop = stop or Stop()
    request.check()
    program = program_of(request.on_incident)
    request = request.with_sources()
    with Ranks.meet(request, stop, store) if ranks is None else nullcontext(ranks) as ranks:
        hears = on_event if ranks.world.leads else lambda event: None
        return _train_together(request, ranks, Hooks(stop=stop, on_event=hears, wants_step=wants_step), program)


def _train_together(request: Request, ranks: Ranks, hooks: Hooks, program: tuple[str, ...] | None) -> Run:
    """Do so in each process of a run."""
    stop, on_event = hooks.stop, hooks.on_event
    checkpoint, size, length = resume.find_checkpoint(request.resume, request.out, on_event), None, None
    found = None if checkpoint is None else [checkpoint.step, checkpoint.manifest]
    ranks.same(found, "the checkpoint", "the run's folder is to be on a disk that all processes share")
    if checkpoint is None:
        request = init_from.restarted(request)
        resolved, identity, size = ranks.configured(lambda: configuration(request, on_event))
    else:
        stored = continued.stored_configuration(checkpoint)
        resolved = continued.configuration(checkpoint, stored, request)
        length = continued.replayed_length(checkpoint, stored.config, resolved.config)
        if (why := continued.finished(checkpoint, stored.config, resolved.config, length)) is not None:
            ranks.led(lambda: on_event(ending.finished_before(checkpoint, why, resolved.config.train.keep_last)))
            return Run(resume.home(checkpoint))
        continued.refuse_moved(resolved.config)
        identity = identify(source_of(resolved.config), resolved.config.data.val)
    data = open_data(resolved.config, identity, request.named, on_event)
    if size is not None:
        on_event(size)
    ranks.same([identity.tokenizer, identity.fingerprint], "the data", "give all processes the same files")
    out = request.out or (_default_out(request, resolved) if checkpoint is None else resume.home(checkpoint))
    out = Path(ranks.told(str(out)))
    with stop, ranks.folder(out) as folder:
        stop.last_words = lambda: ending.last_words(folder)
        try:
            ranks.led(lambda: resume.check_folder(out, checkpoint))
            begin = Beginning(resolved, data, checkpoint, length, init_from.new_rows(request, checkpoint), ranks)
            session = make_session(request, begin, folder, hooks)
            _train(session, ranks.world.leads, program, request.profile)
        except Interrupted as interrupted:
            interrupted.exit_code = stop.exit_code
            raise
        except OSError as error:
            raise ending.cannot_write(out, error) from error
    return Run(out)


def _train(session: Session, leads: bool, program: tuple[str, ...] | None, profile: int | None) -> None:
    """Train, and say how it ended; what goes on beside the steps is the first process's."""
    progress, plan, run = session.progress, session.plan, session.files.folder.path
    profiling = profiled(session, profile) if leads and profile is not None else nullcontext()
    beside, how = Beside(session, program) if leads else None, CRASHED
    try:
        with profiling:
            outcome = train_to_the_end(session)
        how = FINISHED
    except Interrupted:
        how = STOPPED
        raise
    finally:
        session.loader.close()
        session.files.saver.finish()
        if beside is not None:
            beside.finish(how)
    session.hooks.on_event(ending.ended(run, vars(progress), outcome.why, plan.parameters))


def _default_out(request: Request, resolved: Resolved) -> Path:
    """Return `runs/<preset>-<date>-<time>`."""
    name, files = request.given.preset, request.given.files
    if name is None:
        name = Path(files[-1]).stem if files else f"depth-{resolved.config.model.n_layers}"
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
