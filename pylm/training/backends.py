"""Which backend trains: torch or MLX, by the configuration and the machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from pylm.errors import UsageError
from pylm.training.events import Doing, Event, Note
from pylm.training.probe import MEASURING
from pylm.training.trained import EVERYTHING, Trained
from pylm.training.world import ALONE, World

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.config.schema import Config
    from pylm.config.schema import Model as Shape
    from pylm.training.backend import Backend, Choices

__all__ = ["backend_name", "make_backend", "measured_flops"]

OnEvent = Callable[[Event], None]
LOADING = {"mlx": "loading MLX", "torch": "loading torch"}
PRODUCTS = f"{MEASURING}: its matrix products"


def backend_name(config: Config) -> str:
    """Return `torch` or `mlx`; a backend that was asked for and cannot be is an error."""
    from pylm.model.which import need_mlx, prefers_mlx

    train = config.train
    if train.backend == "torch" or (train.backend == "auto" and not prefers_mlx(train.device)):
        return "torch"
    need_mlx(train.device)
    return "mlx"


def make_backend(
    config: Config,
    shape: Shape,
    checkpoint: Checkpoint | None,
    on_event: OnEvent,
    stopping: Callable[[], bool],
    run_seconds: Callable[[float], float],
    trained: Trained = EVERYTHING,
    world: World = ALONE,
    choices: Choices | None = None,
    *,
    whole: bool = True,
) -> Backend:
    """Return the backend that computes, with a model of this shape.

    Args:
        config: of the run.
        shape: complete.
        checkpoint: the one that the run goes on from: what it chose is chosen again.
        on_event: told what is done, which takes seconds, and what was found out.
        stopping: polled on the way.
        run_seconds: how long the run is at so many seconds a step.
        trained: what of the model learns.
        world: this process, and those that it computes with.
        choices: what another process has found out for all.
        whole: whether it is to compute as it is; else it is about to be cut into what several processes hold.
    """
    name = backend_name(config)
    if name == "mlx" and world.size > 1:
        raise UsageError(f"MLX trains in one process, and {world.size} were started", "start one: a Mac has one device")
    on_event(Doing(LOADING[name]))
    make: Callable[..., Backend]
    if name == "mlx":
        from pylm.training.mlx_backend import make
    else:
        from pylm.training.torch_backend import make as make_torch
        from pylm.training.torch_backend.machine import device_among

        make = partial(make_torch, whole=whole)
    train = config.train
    if world.size > 1:
        train = train.model_copy(update={"device": device_among(train.device, world)})
    on_event(Doing("making the model"))
    return make(
        shape,
        train,
        choices=_replayed_choices(name, config, checkpoint) if choices is None else choices,
        say=lambda text: on_event(Note(text)),
        doing=lambda text: on_event(Doing(text)),
        stopping=stopping,
        run_seconds=run_seconds,
        trained=trained,
    )


def measured_flops(config: Config, on_event: OnEvent) -> float:
    """Return what matrix products reach here, where the backend would compute."""
    train, say = config.train, lambda text: on_event(Note(text))
    name = backend_name(config)
    on_event(Doing(LOADING[name]))
    if name == "mlx":
        from pylm.training.mlx_backend import machine

        on_event(Doing(PRODUCTS))
        device = machine.choose_device(train.device)
        return machine.known_matmul_flops(device, machine.choose_precision(train.precision, device), say)
    from pylm.training.torch_backend import machine as of_torch

    on_event(Doing(PRODUCTS))
    of_torch.keep_memory()
    of_torch.obey_thread_limit()
    torch_device = of_torch.choose_device(train.device)
    precision = of_torch.choose_precision(train.precision, torch_device)
    return of_torch.known_matmul_flops(torch_device, precision, say)


def _replayed_choices(name: str, config: Config, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Return what an earlier run of this backend chose; another's choices say nothing of this one."""
    choices = {} if checkpoint is None else dict(checkpoint.state["choices"])
    if choices.get("backend", "torch") != name:
        return {}
    if choices and config.train.compile != "auto":
        choices.update(compile=config.train.compile, compile_why="it was asked for")
    return choices
