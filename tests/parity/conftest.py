"""One thread: on tensors this small a second one only waits. Without MLX there is nothing to compare."""

from tests.model.conftest import one_thread

__all__ = ["one_thread"]

collect_ignore_glob = []
try:
    import mlx.core  # noqa: F401
except ImportError:
    collect_ignore_glob = ["test_*.py"]
