"""One thread: on tensors this small a second one only waits. Without MLX there is nothing to compare."""

from collections.abc import Iterator

import pytest
import torch

collect_ignore_glob = []
try:
    import mlx.core  # noqa: F401
except ImportError:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
