"""Training with MLX, on Apple GPUs; on a CPU for correctness only."""

from pylm.training.mlx_backend.backend import MlxBackend, make

__all__ = ["MlxBackend", "make"]
