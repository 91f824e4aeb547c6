"""The sides of benchmarks/test_metal.py compute the same, wherever MLX runs: on a Mac they are timed."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("mlx.core")
from benchmarks import test_metal as benchmark  # noqa: E402 (after the question whether mlx is there)


@pytest.mark.parametrize("operation", ["rms_norm", "rms_norm_residual", "qk_norm_rope", "rope_attention"])
def test_sides_agree(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "ROUNDS", 1)
    sizes: dict[str, int] = {"rows": 64, "width": 96, "b": 2, "t": 33, "h": 4, "kv": 2, "d": 16}
    found: list[dict[str, Any]] = [
        side(operation, sizes, backward=True) for side in (benchmark.ours, benchmark.fast, benchmark.plain)
    ]
    for peer in found[1:]:
        assert benchmark.close(found[0]["result"], peer["result"])
    assert not benchmark.close(found[0]["result"], [1.02 * x for x in found[0]["result"]])
    assert {name for name, _ in benchmark.CASES.values()} >= {operation}
