"""torchrun's agent in this process: it starts the ranks of a machine, and all of them again where one was killed."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from torch.distributed import DistError
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, LogsDest, SignalException, SubprocessContext
from torch.distributed.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousError,
    RendezvousHandler,
    RendezvousTimeoutError,
)

from pylm.errors import PylmError
from pylm.training.launch.codes import GOES_ON, LOST, can_start_again, code_of_all, ended_by
from pylm.wording import param

__all__ = ["SAVING", "run_agent"]

SAVING = 120  # seconds that ranks have to finish their step and save; torchrun's own 30 are less than a big save takes
SETTLING = 1.0  # seconds in which those that lost a rank leave too, and say so by their codes
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1")
TOLD = 2000  # characters of what a rank said last

Say = Callable[[str], None]


def run_agent(
    command: Sequence[str],
    ranks: int,
    meeting: RendezvousHandler,
    *,
    max_restarts: int,
    say: Say,
    saving: int = SAVING,
) -> int:
    """Run a command once a rank until all have left, and return the one code of all.

    Args:
        command: the program and its words.
        ranks: of this machine.
        meeting: where ranks find one another.
        max_restarts: how often all are started again after one was killed.
        say: hears what happens to ranks.
        saving: seconds that ranks have to save after a signal.
    """
    _hush()
    spec = WorkerSpec(
        role="pylm",
        local_world_size=ranks,
        rdzv_handler=meeting,
        entrypoint=command[0],
        args=tuple(command[1:]),
        max_restarts=max_restarts,
        monitor_interval=0.1,
    )
    with TemporaryDirectory(prefix="pylm-ranks-") as logs, _usual_signals():
        agent = _Agent(spec, _LeadSpeaks(Path(logs)), saving, say)
        try:
            agent.run()
        except SignalException as heard:
            return agent.verdict_after(heard.sigval)
        except (RendezvousError, DistError) as error:
            if can_start_again(agent.codes) or not any(agent.codes.values()):
                raise PylmError(_of_machines(error), f"start all of them again; {GOES_ON}") from None
        finally:
            agent.close_files()
            meeting.shutdown()
        return agent.verdict()


class _LeadSpeaks(DefaultLogsSpecs):
    """What ranks write: the first of a machine to where the agent does, the others to files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(log_dir=str(folder))

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """Return where each rank writes."""
        places = super().reify(envs)
        for rank, variables in envs.items():
            if variables["RANK"] != "0":
                places.stdouts[rank] = f"{self.root_log_dir}/{rank}.out"
                places.stderrs[rank] = f"{self.root_log_dir}/{rank}.err"
        return places


class _Agent(LocalElasticAgent):
    """One that starts ranks again where they were killed, and not where they left with a sentence."""

    def __init__(self, spec: WorkerSpec, logs: _LeadSpeaks, saving: int, say: Say) -> None:
        super().__init__(spec, logs, start_method="spawn", shutdown_timeout=saving)
        self._say, self._logs = say, logs
        self.codes: dict[int, int] = {}

    def note_codes(self) -> Mapping[int, int]:
        """Return the codes of the ranks that have left."""
        assert isinstance(self._pcontext, SubprocessContext)
        workers, processes = self._worker_group.workers, self._pcontext.subprocess_handlers
        left = {workers[local].global_rank: handler.proc.poll() for local, handler in processes.items()}
        self.codes = {rank: code for rank, code in left.items() if code is not None}
        self.close_files()
        return self.codes

    def close_files(self) -> None:
        """Close what ranks that have left wrote to: torch does so only for processes that it can still signal."""
        context = self._pcontext
        for handler in context.subprocess_handlers.values() if isinstance(context, SubprocessContext) else ():
            if handler.proc.poll() is not None:
                for file in (handler._stdout, handler._stderr):
                    if file is not None:
                        file.close()

    def verdict(self) -> int:
        """Return the one code of all; where the first rank said nothing of its own, say what the others did."""
        code = code_of_all(self.codes)
        if can_start_again(self.codes):
            most = self._worker_group.spec.max_restarts
            raise PylmError(
                f"{ended_by(self.codes)}, and {f'{most} new starts did not help' if most else 'is not started again'}",
                f"{GOES_ON}; {param('max_restarts')} says how often by itself",
            )
        if code and self.codes.get(0) != code:
            self._say_for(code)
        return code

    def verdict_after(self, number: signal.Signals) -> int:
        """Return the one code of all that were told to leave."""
        code = code_of_all(self.note_codes())
        if set(self.codes.values()) - {0, -number} or not code:
            if code == 1 and can_start_again(self.codes):
                raise PylmError(
                    f"{ended_by(self.codes)}: it had not left {self._shutdown_timeout} s after {number.name}",
                    GOES_ON,
                )
            return code
        return 128 + number  # before anything was trained that could be saved

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        if any(self.note_codes().values()):
            self._settle(worker_group)
        result: RunResult = super()._monitor_workers(worker_group)  # pyright: ignore[reportCallIssue]
        return result

    def _say_for(self, code: int) -> None:
        """Say what a rank that left with a code has said, and that nobody has seen."""
        for rank, own in sorted(self.codes.items()):
            if own == code and (said := _tail(Path(self._logs.root_log_dir, f"{rank}.err"))):
                self._say(f"rank {rank}: {said}")
                return

    def _settle(self, worker_group: WorkerGroup) -> None:
        """Wait for those that lost a rank, then decide: with a sentence all leave, else all start again."""
        waited = time.monotonic() + SETTLING
        while len(self.note_codes()) < len(worker_group.workers) and time.monotonic() < waited:
            time.sleep(0.02)
        if not can_start_again(self.codes):
            self._remaining_restarts = 0
            return
        if 0 not in self.codes:  # the first is stopped or hangs: another has named it
            self._say_for(LOST)
        if self._remaining_restarts:
            which = worker_group.spec.max_restarts - self._remaining_restarts + 1
            most = worker_group.spec.max_restarts
            self._say(
                f"{ended_by(self.codes)}: all start again from the last checkpoint ({which} of {most} new starts)"
            )
        self._kill()

    def _restart_workers(self, worker_group: WorkerGroup) -> None:
        """Start all again, because one of them has died, or one of another machine, which the rendezvous tells."""
        if not any(self.codes.values()):
            self._say("another machine starts again: so does this one, from the last checkpoint")
            self._kill()  # told to save, they would wait for those that are gone
        super()._restart_workers(worker_group)  # pyright: ignore[reportCallIssue]

    def _shutdown(self, death_sig: signal.Signals = signal.SIGTERM, timeout: int = SAVING) -> None:
        """Tell ranks to leave; told so again meanwhile, pass that on: they leave at once, and do not save first."""
        try:
            super()._shutdown(death_sig, timeout)
        except SignalException as again:  # torch's own sends SIGTERM, of which ranks that are leaving just died
            super()._shutdown(again.sigval, timeout)
            raise

    def _kill(self) -> None:
        """End the ranks that are left; one that is stopped would never hear SIGTERM."""
        assert isinstance(self._pcontext, SubprocessContext)
        for handler in self._pcontext.subprocess_handlers.values():
            if handler.proc.poll() is None:
                handler.close(signal.SIGKILL)


def _of_machines(error: Exception) -> str:
    """Return what became of the other machines: torch says it of its own parts."""
    if isinstance(error, RendezvousClosedError):
        return "another machine has given up"
    if isinstance(error, RendezvousTimeoutError):
        return "the other machines have not come in time"
    return "the machine that holds the store is gone"


def _hush() -> None:
    """Let torch say nothing of what is said here in a sentence."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("torch.distributed.elastic", "torchelastic")):
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def _usual_signals() -> Iterator[None]:
    """Let the agent hear what ends it, and give the signals back."""
    before = {name: signal.getsignal(signal.Signals[name]) for name in SIGNALS}
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = ",".join(SIGNALS)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(signal.Signals[name], handler if handler is not None else signal.SIG_DFL)


def _tail(file: Path) -> str:
    """Return what a rank said last."""
    try:
        return file.read_text(errors="replace").strip()[-TOLD:]
    except OSError:
        return ""
