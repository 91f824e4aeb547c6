"""What the native module says about the processor, and how PYLM_CPU forces a variant."""

import os
import subprocess
import sys

import pytest

from pylm import _native
from pylm.errors import KernelError, UsageError


def under(value: str, code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYLM_CPU": value}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_every_variant_that_runs_here_can_be_forced() -> None:
    variants = _native.cpu_info()["variants"]
    assert variants[0] == "scalar"
    for name in variants:
        ran = under(name, "from pylm import _native; print(_native.cpu_info()['variant'])")
        assert ran.stdout.strip() == name


FOREIGN = "avx2" if "neon" in _native.cpu_info()["variants"] else "neon"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (FOREIGN, ": this processor does not run that variant"),
        ("amx", " names no variant"),
        ("AVX512", " names no variant"),
        ("fastest", " names no variant"),
    ],
)
def test_a_variant_that_does_not_run_here_is_refused(name: str, said: str) -> None:
    ran = under(name, "from pylm import _native; _native.cpu_info()")
    assert ran.returncode == 1 and f"PYLM_CPU={name}{said}" in ran.stderr
    with pytest.raises((UsageError, KernelError)) as caught:
        _native.force_variant(name)
    assert "scalar" in (caught.value.hint or "")


def test_torchs_threads_are_borrowed_where_torch_is() -> None:
    code = "import torch; from pylm import _native; print(_native.share_openmp(), _native.cpu_info()['pool'])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() in (["True", "openmp"], ["False", "own"])
    if sys.platform == "linux":
        assert ran.stdout.split() == ["True", "openmp"]
