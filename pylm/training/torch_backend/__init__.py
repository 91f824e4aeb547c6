"""Training with torch, on a CPU, a CUDA device or an Apple GPU."""

from pylm.training.torch_backend.backend import TorchBackend, make

__all__ = ["TorchBackend", "make"]
