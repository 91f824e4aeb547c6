"""What the distribution promises: importing costs nothing, and a missing torch is one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import pylm_kernels
from pylm_kernels import dispatch, rms_norm

WITHOUT_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Absent())
"""


def python(program: str) -> subprocess.CompletedProcess[str]:
    folder = str(Path(pylm_kernels.__file__).parent.parent)
    program = f"import sys; sys.path.insert(0, {folder!r})\n{program}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_importing_loads_no_framework() -> None:
    done = python("import pylm_kernels; print(sorted({'torch', 'triton', 'mlx', 'numpy'} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr


def test_without_torch_there_is_one_sentence() -> None:
    done = python(
        WITHOUT_TORCH
        + "import pylm_kernels\n"
        + "for name in pylm_kernels.__all__:\n"
        + "    try: getattr(pylm_kernels, name)\n"
        + "    except ImportError as error: print(error)\n"
    )
    lines = done.stdout.splitlines()
    assert lines == [
        f"pylm_kernels.{name} needs PyTorch, which is not installed: pip install torch" for name in pylm_kernels.__all__
    ], done.stderr


def test_every_exported_name_is_there() -> None:
    for name in pylm_kernels.__all__:
        assert callable(getattr(pylm_kernels, name))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pylm_kernels.nonsense  # noqa: B018


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A backend called twice, which counts its calls and serves rows of up to 8."""
    pylm_kernels.backends()
    calls: list[str] = []
    monkeypatch.setattr(dispatch, "_registered", {op: dict(have) for op, have in dispatch._registered.items()})

    def forward(x, weight, residual, eps, offset):  # type: ignore[no-untyped-def]
        calls.append("forward")
        return x * 2, x.new_empty(0), x.new_zeros(x.shape[:-1])

    def serves(device, dtype, facts):  # type: ignore[no-untyped-def]
        if facts:
            return None if facts["width"] <= 8 else "rows are wider than 8"
        return None if dtype == torch.float32 else "it knows float32"

    pylm_kernels.register("rms_norm", "cpu", forward, lambda *_: None, serves)
    yield calls
    dispatch.candidates.cache_clear()


def test_a_registered_backend_is_chosen_and_shown(registered: list[str]) -> None:
    x = torch.randn(2, 8)
    assert torch.equal(rms_norm(x), x * 2) and registered == ["forward"]
    assert not torch.equal(rms_norm(torch.randn(2, 9)), x), "wider rows go to the next that serves"
    rms_norm(x.bfloat16())
    assert registered == ["forward"]
    table = {(c.operation, c.device, c.dtype): c.backend for c in pylm_kernels.backends()}
    assert table["rms_norm", "cpu", "float32"] == "cpu"
    assert table["rms_norm", "cpu", "bfloat16"] == "reference"
    assert "rms_norm" in str(pylm_kernels.backends()).splitlines()[1]


@pytest.mark.parametrize("way", ["environment", "argument"])
def test_a_forced_backend_never_falls_back(registered: list[str], way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(x: torch.Tensor, backend: str) -> torch.Tensor:
        if way == "argument":
            return rms_norm(x, backend=backend)
        monkeypatch.setenv("PYLM_KERNELS", backend)
        return rms_norm(x)

    call(torch.randn(2, 8), "cpu")
    for x, backend, why in [
        (torch.randn(2, 9), "cpu", "rows are wider than 8"),
        (torch.randn(2, 8).half(), "cpu", "it knows float32"),
        (
            torch.randn(2, 8),
            "metal",
            r"no 'metal' backend is registered here \(MLX's arrays have it: pylm_kernels.mlx\)",
        ),
        (torch.randn(2, 8), "cuda", "no 'cuda' backend is registered here; rms_norm has reference, cpu, triton$"),
    ]:
        with pytest.raises(ValueError, match=why):
            call(x, backend)
    call(torch.randn(2, 9), "reference")
    assert registered == ["forward"]


def test_a_forced_backend_in_compiled_code_says_why(registered: list[str]) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: rms_norm(x, backend="cpu"), fullgraph=True, backend="aot_eager")
    with pytest.raises(ValueError, match="rows are wider than 8"):
        compiled(torch.randn(2, 9))


def test_registering_wrongly() -> None:
    with pytest.raises(ValueError, match="no operation 'conv'"):
        pylm_kernels.register("conv", "cpu", print, print)
    with pytest.raises(ValueError, match="'reference' is taken"):
        pylm_kernels.register("rms_norm", "reference", print, print)


def test_the_interpreter_is_never_chosen_by_itself() -> None:
    if not torch.cuda.is_available():
        assert {choice.backend for choice in pylm_kernels.backends()} <= {"reference", "cpu", "sdpa"}
