"""Every Triton kernel compiles for GPUs that are not here, within their means, and no worse than was committed.

The five take two minutes when nothing is cached: without --full it is one of each maker, Hopper and MI300.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")
HERE = Path(__file__).parent
COMMITTED: dict[str, dict[str, dict[str, int]]] = json.loads((HERE / "ahead_of_time.json").read_text())
ALWAYS = ("sm_90", "gfx942")
SHARED = {"sm_80": 163, "sm_90": 227, "sm_100": 227, "sm_120": 99, "gfx942": 64}


@pytest.fixture(scope="session")
def built(request: pytest.FixtureRequest) -> dict[str, Any]:
    """In a process of its own: here the kernels are interpreted."""
    targets = SHARED if request.config.getoption("--full", default=False) else ALWAYS
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, str(HERE / "ahead_of_time.py"), *targets],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("target", SHARED)
def test_it_compiles_within_the_chip(built: dict[str, Any], target: str) -> None:
    for name, rows in built["table"].items():
        if target not in rows:
            pytest.skip("compiled for with --full")
        found = rows[target]
        assert found["shared"] <= SHARED[target] * 1024, f"{name}: {found}"
        assert found["stack"] == 0, f"{name} keeps {found['stack']} on the stack: {found}"


def test_hopper_uses_its_tensor_cores(built: dict[str, Any]) -> None:
    products = [name for name in built["table"] if "rope_attention" in name or "linear_cross" in name]
    products = [name for name in products if "qk_norm_rope" not in name and not name.endswith("delta")]
    assert len(products) >= 11
    for name in products:
        if not ("256" in name and "forward" not in name):  # 64 rows of 256 do not fit the registers of the backward
            assert built["table"][name]["sm_90"].get("wgmma", 0) > 0, name


def test_no_worse_than_committed(built: dict[str, Any]) -> None:
    import triton

    if not triton.__version__.startswith("3.7."):
        pytest.skip("the committed table is that of triton 3.7")
    assert built["table"].keys() == COMMITTED.keys()
    worse = [
        f"{name} on {target}: {figure} {found[figure]} > {COMMITTED[name][target][figure]}"
        for name, rows in built["table"].items()
        for target, found in rows.items()
        for figure in ("registers", "stack", "shared")
        if found[figure] > COMMITTED[name][target][figure]
    ]
    assert not worse, "\n".join(worse)
