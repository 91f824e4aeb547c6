"""A run of several processes: all take the same steps; the first one speaks, writes, and decides what a clock decides.

Each runs the same code from the request on. What must not differ is compared at the start, what only one may do the
others wait for, and whatever makes one of them fail is said by the first, as if it had failed itself.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pylm.checkpoint import Saver, ShardedSaver
from pylm.checkpoint.unsaved import Unsaved
from pylm.config.cascade import Resolved
from pylm.config.schema import Config
from pylm.data.identity import identify
from pylm.data.open import source_of
from pylm.errors import UsageError
from pylm.runs import RunFolder, Stop
from pylm.runs.unwritten import Unwritten
from pylm.training.decisions import Decisions, Segment
from pylm.training.events import Answers
from pylm.training.world import World
from pylm.wording import param

if TYPE_CHECKING:
    from pylm.data.identity import Identity
    from pylm.training.backend import Backend
    from pylm.training.events import Sized
    from pylm.training.loop import Hooks
    from pylm.training.request import Request
    from pylm.training.torch_backend.group import Group
    from pylm.training.torch_backend.parallel import Mode

__all__ = ["ALIKE", "AgreedStop", "Ranks"]

ALIKE = "train on machines that are alike"

Made = TypeVar("Made")
Configured = tuple[Resolved, "Identity", "Sized | None"]
NO_ANSWERS = Answers("", {}, {}, {}, {})  # of a process that asks nothing
# Keys that may differ from process to process: each has a device of its own
OWN = {"device"}


class Ranks:
    """This process among those of a run; alone unless it has a group."""

    def __init__(self, group: Group | None = None) -> None:
        """Take the processes, which have met."""
        self._group = group
        self.world = World() if group is None else group.world
        self._known = 0  # segments of the clock's decisions that all processes have

    @classmethod
    @contextmanager
    def meet(cls, request: Request, stop: Stop, store: Any = None) -> Iterator[Ranks]:
        """Give the processes that the environment names, all of one mind, and part at the end.

        Args:
            request: of the run, the same in all of them.
            stop: of this process.
            store: in which they have met; they meet here unless it is given.
        """
        world = World.of_environment()
        if world.size == 1:
            yield cls()
            return
        config = request.with_begun().resolve().config
        if config.train.parallel == "none":
            raise UsageError(
                f"{param('parallel', 'none')} is of one process, and {world.size} were started",
                f"start one, or leave {param('parallel')} out",
            )
        from pylm.training.torch_backend.group import Group

        group = Group(world, config.train.parallel_timeout, store)
        group.asked = lambda: stop.signal or 0
        try:
            group.same(_code(), "the code", "install the same pylm everywhere")
            group.same(_asked(request), "what is asked", "start all processes with the same line and files")
            yield cls(group)
        except BaseException as error:
            group.fail(error)
            raise
        finally:
            group.close()

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self._group is None

    def led(self, work: Callable[[], Made]) -> Made | None:
        """Return what the first process makes while the others wait; None on those."""
        return work() if self._group is None else self._group.led(work, None)

    def told(self, value: Any) -> Any:
        """Return the first process's value, as JSON gives it back where there are others."""
        return value if self._group is None else self._group.told(value)

    def same(self, value: Any, what: str, hint: str | None = None) -> None:
        """Refuse to go on where processes have another value than the first one."""
        if self._group is not None:
            self._group.same(_hash(value), what, hint)

    def configured(self, work: Callable[[], Configured]) -> Configured:
        """Return the first process's configuration, and what its data is here: who measures sizes it for all."""
        if self._group is None:
            return work()
        made = self._group.led(work, None)
        said = self._group.told(None if made is None else [made[0].config.model_dump(mode="json"), made[0].origins])
        if made is not None:
            return made
        config = Config.model_validate(said[0])
        return Resolved(config, said[1]), identify(source_of(config), config.data.val), None

    def folder(self, out: Path) -> RunFolder:
        """Return the run's folder, held by the first process, and written by nobody else."""
        if self._group is None:
            return RunFolder(out)
        held = self._group.led(lambda: RunFolder(out), None)
        return Unwritten(out) if held is None else held

    def worst(self, held: int, free: int | None) -> tuple[int, int | None]:
        """Return the most bytes that any process holds, and the fewest that are free to any; None: one cannot tell."""
        if self._group is None:
            return held, free
        holding, left = zip(*self._group.rows([held, -1 if free is None else free]), strict=True)
        return int(max(holding)), None if min(left) < 0 else int(min(left))

    def parallelize(self, backend: Backend, config: Config, mode: Mode = "ddp") -> Backend:
        """Return of a backend the one that all processes share; where each has all of it, it has chosen what was open.

        Args:
            backend: of this process.
            config: of the run.
            mode: ddp or fsdp.
        """
        bitwise = config.train.determinism == "bitwise"
        if self._group is None and not bitwise:
            return backend
        from pylm.training.torch_backend.backend import TorchBackend
        from pylm.training.torch_backend.parallel import Group, parallelize

        if not isinstance(backend, TorchBackend):
            raise UsageError(f"{param('determinism', 'bitwise')} is of torch", param("backend", "torch"))
        group = self._group or Group(World())
        if mode == "fsdp":  # or what one gathers would be of another size than what others send
            self.same(backend.precision, f"precision {backend.precision}", ALIKE)
        return parallelize(backend, group, mode)

    def saver(self, run: Path, config: Config, text: str, texts: Mapping[str, str], hold_rows: bool) -> Saver:
        """Return what writes the checkpoints of a run, of which `text` is the configuration."""
        if hold_rows:
            from pylm.training.torch_backend.fsdp import gather_of

            assert self._group is not None
            gather, at_once = gather_of(self._group), config.train.consolidate
            rank, kept = self.world.rank, config.train.keep_last
            return ShardedSaver(run, kept, text, texts, rank=rank, gather=gather, consolidates=at_once)
        return (Saver if self.world.leads else Unsaved)(run, config.train.keep_last, text, texts)

    def shared(self, hooks: Hooks, asks: bool, hold_rows: bool = False) -> Hooks:
        """Return hooks by which all processes take the same way: the first samples, asks and looks at the clock.

        Args:
            hooks: of this process.
            asks: whether the run has questions, which the first process alone has read.
            hold_rows: whether no process has all of the model: then all have read them, and answer and sample alike.
        """
        if self._group is None:
            return hooks
        group, stop = self._group, hooks.stop
        own_sample, own_ask, own_measure = hooks.sample, hooks.ask, hooks.measure

        def sample(backend: Backend, step: int, stopping: Callable[[], bool]) -> list[dict[str, Any]]:
            draw = own_sample
            assert draw is not None
            made = draw(backend, step, Stop()) if hold_rows else self.led(lambda: draw(backend, step, stop))
            group.rows([])  # whoever was asked to stop meanwhile, all know it
            return made or []

        def ask(backend: Backend, stopping: Callable[[], bool]) -> Answers | None:
            if hold_rows and own_ask is not None:  # nobody stops on the way, or the others would wait for ever
                answers = own_ask(backend, Stop())
            else:
                answers = self.led(lambda: None if own_ask is None else own_ask(backend, stop))
            found = group.told(answers is not None)
            group.rows([])
            return (answers or NO_ANSWERS) if found else None

        def measure(samples: Sequence[dict[str, Any]], stopping: Callable[[], bool]) -> dict[str, float | None] | None:
            figures = self.led(lambda: None if own_measure is None else own_measure(samples, stop))
            group.rows([])
            return figures or {}

        return replace(
            hooks,
            stop=AgreedStop(group, stop),
            sample=None if own_sample is None else sample,
            ask=ask if asks else None,
            measure=measure if asks else None,
            agree=self._agree,
        )

    def exchange(self, rows: list[list[float]]) -> list[list[float]]:
        """Return the rows of numbers of all processes, as many of each, the first of all of them first."""
        if self._group is None:
            return rows
        width = len(rows[0])
        flat = self._group.rows([one for row in rows for one in row])
        return [row[at : at + width] for at in range(0, len(rows) * width, width) for row in flat]

    def _agree(self, decisions: Decisions) -> None:
        """Take over what the first process's clock has decided."""
        mine = [list(segment) for segment in decisions.segments[self._known :]]
        new, decisions.look, decisions.looked = self.told([mine, decisions.look, decisions.looked])
        decisions.segments[self._known :] = [Segment(*segment) for segment in new]
        self._known = len(decisions.segments)


class AgreedStop(Stop):
    """Whether any process was asked to stop, as all of them have heard by now, and none before the others."""

    def __init__(self, group: Group, heard: Stop) -> None:
        """Ask the processes; `heard` is asked too where only another one was."""
        super().__init__()
        self._group, self._heard = group, heard

    def __call__(self) -> bool:
        """Whether one has."""
        if self._group.signal and self.signal is None:
            self.ask(self._group.signal)
            self._heard.ask(self._group.signal)
        return self.signal is not None


def _asked(request: Request) -> str:
    """Return a hash of what is asked of a run, wherever its files lie."""
    values = request.configuration().resolve().config.model_dump(mode="json")
    values["train"] = {key: value for key, value in values["train"].items() if key not in OWN}
    return _hash([values, request.names, request.depth, request.resume, request.init_from, request.allow_inexact])


def _code() -> str:
    """Return a hash of the program: of all its files."""
    hashed = hashlib.sha256()
    for package in ("pylm", "pylm_kernels"):
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.origin is not None
        folder = Path(spec.origin).parent
        for path in sorted(one for end in ("py", "so") for one in folder.rglob(f"*.{end}")):
            hashed.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return hashed.hexdigest()


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
