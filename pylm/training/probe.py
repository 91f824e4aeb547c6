"""What is found by trying: the micro-batch that fits and is fast, whether compiling pays, how fast a step is.

The search stands here and knows no framework. What only a framework can do is a `Trial`:
torch_backend/trial.py and mlx_backend/trial.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, NamedTuple, Protocol

from pylm.config.schema import Model as Shape
from pylm.config.schema import Train
from pylm.config.units import format_bytes
from pylm.errors import Interrupted, PylmError
from pylm.training.backend import Choices, MicroBatch
from pylm.training.plan import divisor
from pylm.training.remembered import recall, remember
from pylm.wording import param

__all__ = [
    "BatchOf",
    "Circumstances",
    "Compiler",
    "SWITCHED_OFF",
    "Strategy",
    "Trial",
    "key_of",
    "probe",
    "sizes_tried",
    "too_large",
]

# On a CPU more rows than keep the caches and cores busy only cost memory.
CPU_TOKENS = (2048, 4096, 8192)
GROWING_TOKENS = (1024, 1 << 16)  # of the first micro-batch that is tried, and of the last
GROWING_GAIN = 1.03  # in tokens a second, for which twice as many rows are tried further
OUTLAST = 10  # times the compile that a run must take, for a gain of a tenth to be one
COMPILED_GAIN = 0.97  # of the eager time that a compiled pass may take
DISTURBED = 2.0  # times the eager pass that was measured before: somebody else has the machine, or had it then
PASSES = 3
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
MEASURING = "measuring this machine"
SWITCHED_OFF = "it was switched off"

BatchOf = Callable[[int], MicroBatch]  # gives so many rows
Strategy = Literal["fastest", "largest", "growing"]  # of the search for a micro-batch: SEARCHES


class Circumstances(NamedTuple):
    """What the choices of a backend depend on beside the shape, the precision and the sequences of a step."""

    key_name: str  # how keys of this device begin
    settings: set[str]  # keys of section train
    machine: dict[str, Any]
    variant: bool  # of a pass: torch's windows are packed, MLX's functions are compiled


class Compiler(Protocol):
    """A compiler whose gain is not known before it is tried."""

    name: str
    seconds: float  # what compiling a model may take

    def version(self) -> Any:
        """Return what a verdict on it is bound to, as JSON: one that was mended or changed is tried again."""
        ...

    def compile(self) -> None:
        """Compute compiled from now on."""
        ...

    def uncompile(self) -> None:
        """Compute eagerly again."""
        ...

    def eagerly(self) -> AbstractContextManager[None]:
        """Compute eagerly inside a block."""
        ...

    def failure(self, error: Exception) -> str | None:
        """Return what a compiler said that failed; None where the error is not its own."""
        ...


class Trial(Protocol):
    """What the search asks of a framework: the model of a backend, to be run and to be left as it was."""

    shape: Shape
    train: Train
    precision: str
    device_name: str
    strategy: Strategy
    times: tuple[str, ...]  # names that seconds are remembered by: a pass's, then those of `once_a_step`
    memory_limit: int | None  # bytes past which the system ends the process without a word; None: an error says so
    compiler: Compiler | None

    def circumstances(self, batch: BatchOf) -> Circumstances:
        """Return what the choices depend on."""
        ...

    def untouched(self) -> AbstractContextManager[None]:
        """Leave gradients and random generators after a block as they were before it."""
        ...

    def run(self, micro_batch: MicroBatch) -> None:
        """Compute one forward and backward pass, and wait for it."""
        ...

    def forget(self) -> None:
        """Give up the gradients of a pass."""
        ...

    def may_grow(self, factor: float) -> bool:
        """Return whether a pass of `factor` times the rows of the last one may be tried."""
        ...

    def out_of_memory(self, error: BaseException) -> bool:
        """Return whether an error says that memory ran out."""
        ...

    def in_use(self) -> str:
        """Return how much memory is in use, as it goes on after a device's name."""
        ...

    def once_a_step(self) -> list[float]:
        """Return the seconds of what a step does once, beside its passes."""
        ...

    def settled_compile(self) -> Choices:
        """Return the choice `compile` and why, where there is no compiler to try; refuse what cannot be."""
        ...

    def matmul_flops(self, say: Callable[[str], None]) -> float:
        """Return the most FLOPs a second of matrix products, measured now and ever before."""
        ...


def probe(
    trial: Trial,
    batch: BatchOf,
    sequences: int | None,
    *,
    run_seconds: Callable[[float], float],
    say: Callable[[str], None],
    doing: Callable[[str], None],
    stopping: Callable[[], bool],
) -> Choices:
    """Choose what is left to this machine, from memory where the same was asked before.

    Args:
        trial: of the backend whose model is tried; it is left as it was, but for being compiled.
        batch: gives so many rows.
        sequences: of a step on this device; None: the micro-batch decides.
        run_seconds: the time of the whole run, from the seconds of a step.
        say: told what could not be remembered.
        doing: told what is tried, before it is.
        stopping: asked between passes.
    """
    search = _Search(trial, batch, sequences, run_seconds, doing, stopping)
    compiler = trial.compiler
    settled = trial.settled_compile() if compiler is None else {}  # refuses what cannot be before anything is tried
    key = key_of(trial, batch, sequences)
    remembered = recall(key) or {}
    known = dict(remembered)
    try:
        with trial.untouched():
            recalled = {"micro_batch", *trial.times} <= known.keys()
            if not recalled:
                known = search.measure()
            compile_choice = settled if compiler is None else search.choose_compile(known, compiler)
            choices: Choices = {"micro_batch": known["micro_batch"], **compile_choice}
            choices["seconds_per_step"] = search.seconds_per_step(known, recalled=recalled)
            doing(f"{MEASURING}: its matrix products")
            choices["matmul_flops"] = trial.matmul_flops(say)
    except (RuntimeError, MemoryError) as error:
        if not trial.out_of_memory(error):
            raise
        raise too_large(trial, search.rows_tried) from None
    if known != remembered:
        remember(key, known, say)
    return choices


def key_of(trial: Trial, batch: BatchOf, sequences: int | None) -> str:
    """Return one text for everything that the choices depend on."""
    here = trial.circumstances(batch)
    shape = trial.shape.model_dump(mode="json")
    train = trial.train.model_dump(mode="json", include=here.settings)
    facts = [shape, train, here.machine, trial.precision, here.variant, sequences]
    return f"{here.key_name} {hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]}"


def too_large(trial: Trial, rows: int, fits: int | None = None, needs: str | None = None) -> PylmError:
    """Return the error for a micro-batch that does not fit, with what would."""
    hint = f"lower model.context_length (it is {trial.shape.context_length}) or the model's size"
    if not trial.train.activation_checkpointing:
        hint = f"{param('activation_checkpointing', True)} needs less, or {hint}"
    if rows > 1:
        hint = f"{param('micro_batch', 'auto')} finds what fits, {fits or max(rows // 2, 1)} may; {hint}"
    return PylmError(f"a micro-batch of {rows} does not fit {trial.device_name}{needs or trial.in_use()}", hint)


@dataclass
class _Search:
    """One search: whom it tries, with what, and the rows that it tried last."""

    trial: Trial
    batch: BatchOf
    sequences: int | None
    run_seconds: Callable[[float], float]
    doing: Callable[[str], None]
    stopping: Callable[[], bool]
    rows_tried: int = 1
    compiled_seconds: float | None = None  # of a pass, where compiling was chosen

    def measure(self) -> dict[str, Any]:
        """Return the micro-batch and the seconds of a step's parts: what is remembered."""
        given = self.trial.train.micro_batch
        if isinstance(given, int):
            self._refuse_what_cannot_fit(self._rows(given))
            micro_batch = given
        else:
            micro_batch = SEARCHES[self.trial.strategy](self)
        self.doing(f"{MEASURING}: the time of a step (once for this shape)")
        seconds = [self.seconds(self._rows(micro_batch)), *self.trial.once_a_step()]
        return {"micro_batch": micro_batch, **dict(zip(self.trial.times, seconds, strict=True))}

    def seconds(self, rows: int, passes: int = PASSES) -> float:
        """Return the least seconds of a forward and backward pass; the first one does not count."""
        self.rows_tried = rows
        micro_batch = self.batch(rows)
        self._pass(micro_batch)
        return min(self._pass(micro_batch) for _ in range(passes))

    def choose_compile(self, known: dict[str, Any], compiler: Compiler) -> Choices:
        """Choose whether to compile, and leave the model accordingly; a verdict worth it is added to what is known."""
        wanted, why = self._compile_wanted(known, compiler)
        if not wanted:
            return {"compile": False, "compile_why": why}
        version = compiler.version()
        # a compiler that was mended or changed since is another trial
        verdict = known.get("trial") if known.get("compiler") == version else None
        if verdict is None:
            verdict = self._try_compiling(compiler, self._rows(known["micro_batch"]))
            disturbed = not 1 / DISTURBED < verdict.get("eager", 0.0) / known[self.trial.times[0]] < DISTURBED
            if not disturbed:  # nor is a failure remembered, which has no time
                known |= {"trial": verdict, "compiler": version}
        return self._decide(compiler, verdict)

    def seconds_per_step(self, known: dict[str, Any], *, recalled: bool) -> float:
        """Return the seconds of a step; those of today where a length in time is planned by what was recalled."""
        each = self.compiled_seconds or known[self.trial.times[0]]
        if recalled and self.trial.train.max_time is not None:
            # what was chosen stays; others may be busy on this machine, or gone
            self.doing(f"{MEASURING}: the time of a step, which plans max_time")
            each = self.seconds(self._rows(known["micro_batch"]))
        return self._step_of(known, each)

    def _rows(self, micro_batch: int) -> int:
        return micro_batch if self.sequences is None else min(micro_batch, self.sequences)

    def _step_of(self, known: dict[str, Any], each: float) -> float:
        """Return the seconds of a step whose passes take `each`."""
        passes = 1 if self.sequences is None else max(self.sequences // self._rows(known["micro_batch"]), 1)
        return float(passes * each + sum(known[name] for name in self.trial.times[1:]))

    def _pass(self, micro_batch: MicroBatch) -> float:
        """Return the seconds of one forward and backward pass."""
        if self.stopping():
            raise Interrupted("stopped while probing: nothing was trained, so nothing is lost")
        started = perf_counter()
        self.trial.run(micro_batch)
        seconds = perf_counter() - started
        self.trial.forget()
        return seconds

    def _refuse_what_cannot_fit(self, rows: int) -> None:
        """Where the system would end the process without a word, say what no memory here could hold, and what could.

        Counted is what a pass keeps at the least: what attention and the MLP multiply.
        """
        limit, shape = self.trial.memory_limit, self.trial.shape
        if limit is None:
            return
        assert shape.n_layers and shape.d_model and shape.d_ff
        kept = 2 * shape.d_model if self.trial.train.activation_checkpointing else 4 * shape.d_model + 2 * shape.d_ff
        each = shape.context_length * shape.n_layers * kept * BYTES[self.trial.precision]
        if rows * each > limit:
            needs = f": {format_bytes(rows * each)} and more of {format_bytes(limit)}"
            raise too_large(self.trial, rows, max(limit // each // 2, 1), needs)

    def _compile_wanted(self, known: dict[str, Any], compiler: Compiler) -> tuple[bool, str]:
        """Return whether compiling is worth a trial, and why not where it is not."""
        if self.trial.train.compile == "auto":
            eager_run = self.run_seconds(self._step_of(known, known[self.trial.times[0]]))
            if eager_run < OUTLAST * compiler.seconds:
                return False, "the run is too short to win back the time that compiling takes"
        return bool(self.trial.train.compile), SWITCHED_OFF

    def _try_compiling(self, compiler: Compiler, rows: int) -> dict[str, Any]:
        """Return the seconds of a pass compiled and not, in turns: what shares the machine meanwhile is in both.

        Where it does not compile here, what was said.
        """
        self.doing(f"trying {compiler.name}: about 30 s (once for this shape; {param('compile', False)} skips it)")
        self.rows_tried, micro_batch = rows, self.batch(rows)
        compiler.compile()
        try:
            self._pass(micro_batch)  # compiles
            compiled = eager = float("inf")
            for number in range(PASSES + 1):
                seconds = self._pass(micro_batch)
                with compiler.eagerly():
                    without = self._pass(micro_batch)
                if number:  # the first ones warm up
                    compiled, eager = min(compiled, seconds), min(eager, without)
            return {"compiled": compiled, "eager": eager}
        except Interrupted:
            raise
        except Exception as error:  # compilers fail in every way there is
            said = compiler.failure(error)
            if said is None:
                raise
            compiler.uncompile()
            return {"failure": said}

    def _decide(self, compiler: Compiler, verdict: dict[str, Any]) -> Choices:
        """Compile or not, by what a trial gave."""
        asked = self.trial.train.compile is True
        if "failure" in verdict:
            failed = f"{compiler.name} failed{'' if asked else ' here'}: {verdict['failure']}"
            if asked:
                raise PylmError(failed, "train.compile auto does without")
            return {"compile": False, "compile_why": failed}
        compiled, eager = verdict["compiled"], verdict["eager"]
        chosen = asked or compiled < COMPILED_GAIN * eager
        if chosen:
            compiler.compile()
            self.compiled_seconds = compiled
        else:
            compiler.uncompile()
        why = f"{'' if chosen else 'it gains nothing, '}{compiled:.3g} s a pass with it, {eager:.3g} s without"
        return {"compile": chosen, "compile_why": why}


def sizes_tried(context_length: int, sequences: int | None) -> list[int]:
    """Return the micro-batches that a CPU tries, by their rows."""
    most = sequences or max(CPU_TOKENS[-1] // context_length, 1)
    return sorted({divisor(most, max(tokens // context_length, 1)) for tokens in CPU_TOKENS})


def _fastest(search: _Search) -> int:
    """Return the micro-batch with the most tokens a second, among those that divide a step."""
    sizes = sizes_tried(search.trial.shape.context_length, search.sequences)
    if len(sizes) == 1:
        return sizes[0]
    speeds = {}
    for number, rows in enumerate(sizes, 1):
        search.doing(f"{MEASURING}: {number} of {len(sizes)} batch sizes {_skipped_by(sizes[0])}")
        speeds[rows] = rows / search.seconds(rows, passes=2)
    return max(speeds, key=lambda rows: speeds[rows])


def _largest(search: _Search) -> int:
    """Double the rows until they do not fit, and return the most that fitted and divide a step."""
    fitting, rows = 0, 1
    while rows <= (search.sequences or 1 << 20):
        search.doing(f"{MEASURING}: whether {rows} sequences at a time fit {_skipped_by(max(fitting, 1))}")
        try:
            search.seconds(rows, passes=1)
            fitting = rows
            if not search.trial.may_grow(2):
                break
        except (RuntimeError, MemoryError) as error:
            if not search.trial.out_of_memory(error):
                raise
            break
        finally:
            search.trial.forget()
        rows *= 2
    if not fitting:
        raise too_large(search.trial, 1)
    return divisor(search.sequences, fitting) if search.sequences else fitting


def _growing(search: _Search) -> int:
    """Double the rows while that is faster a token, and while twice the memory that they took will be there.

    For devices that may take the process with them when they run out: nothing is tried that may not fit.
    """
    context_length = search.trial.shape.context_length
    first_tokens, most_tokens = GROWING_TOKENS
    most = search.sequences or max(most_tokens // context_length, 1)
    rows = divisor(most, max(first_tokens // context_length, 1))
    best, best_speed = rows, 0.0
    while True:
        search.doing(f"{MEASURING}: {rows} sequences at a time {_skipped_by(best)}")
        speed = rows / search.seconds(rows, passes=2)
        if speed < GROWING_GAIN * best_speed:
            return best
        best, best_speed = rows, speed
        larger = divisor(most, 2 * rows)
        if larger == rows or larger * context_length > most_tokens or not search.trial.may_grow(larger / rows):
            return best
        rows = larger


def _skipped_by(rows: int) -> str:
    return f"(once for this shape; {param('micro_batch', rows)} skips it)"


SEARCHES: dict[Strategy, Callable[[_Search], int]] = {"fastest": _fastest, "largest": _largest, "growing": _growing}
