"""Which backend trains: torch or MLX, by the configuration and the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pylm.checkpoint import Checkpoint
    from pylm.config.schema import Config
    from pylm.training.backend import Backend

PRODUCTS = "measuring this machine: its matrix products"


def backend_name(config: Config) -> str:
    """`torch` or `mlx`; a backend that was asked for and cannot be is an error."""
    from pylm.model.which import need_mlx, prefers_mlx

    train = config.train
    if train.backend == "torch" or (train.backend == "auto" and not prefers_mlx(train.device)):
        return "torch"
    need_mlx(train.device)
    return "mlx"


def backend_module(config: Config, doing: Callable[[str], None]) -> Any:
    """The package with `make`; `doing` is told what is loaded, which takes seconds."""
    if backend_name(config) == "mlx":
        doing("loading MLX")
        from pylm.training import mlx_backend

        return mlx_backend
    doing("loading torch")
    from pylm.training import torch_backend

    return torch_backend


def measured_flops(config: Config, say: Callable[[str], None], doing: Callable[[str], None]) -> float:
    """What matrix products reach here, where the backend would compute."""
    train = config.train
    if backend_name(config) == "mlx":
        doing("loading MLX")
        from pylm.training.mlx_backend import machine

        doing(PRODUCTS)
        device = machine.choose_device(train.device)
        return machine.known_matmul_flops(device, machine.choose_precision(train.precision, device), say)
    doing("loading torch")
    from pylm.training.torch_backend import machine as of_torch

    doing(PRODUCTS)
    of_torch.keep_memory()
    found = of_torch.choose_device(train.device)
    return of_torch.known_matmul_flops(found, of_torch.choose_precision(train.precision, found), say)


def replayed_choices(config: Config, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """What an earlier run of this backend chose; another's choices say nothing of this one."""
    choices = {} if checkpoint is None else dict(checkpoint.state["choices"])
    if choices.get("backend", "torch") != backend_name(config):
        return {}
    if choices and config.train.compile != "auto":
        choices.update(compile=config.train.compile, compile_why="it was asked for")
    return choices


def place(backend: Backend, choices: dict[str, Any]) -> str:
    """Where it is computed."""
    if backend.name == "torch":
        threads = f"{choices['threads']} thread{'' if choices['threads'] == 1 else 's'}"
        return f"{backend.device} ({choices['device_name']}, {threads})"
    slow = ": for correctness only, MLX is made for Apple GPUs" if backend.device == "cpu" else ""
    return f"MLX {choices['mlx']} on the {backend.device} ({choices['device_name']}){slow}"
