"""pylm_kernels.mlx against the torch references in double precision, on the same random numbers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pylm_kernels

mx = pytest.importorskip("mlx.core")
from pylm_kernels import mlx as ours  # noqa: E402 (after the question whether mlx is there)

BOUNDS = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 5e-3}
TARGETS = np.random.default_rng(5).integers(0, 70, 37)
TARGETS[::5] = -100

# name → (operation, shape by argument, settings)
CASES: dict[str, tuple[str, dict[str, tuple[int, ...]], dict[str, Any]]] = {
    "rms_norm": ("rms_norm", {"x": (3, 37, 100)}, {}),
    "rms_norm weight": ("rms_norm", {"x": (37, 100), "weight": (100,)}, {"eps": 1e-2}),
    "rms_norm offset": ("rms_norm", {"x": (37, 100), "weight": (100,)}, {"offset": 1.0}),
    "rms_norm residual": ("rms_norm", {"x": (37, 100), "weight": (100,), "residual": (37, 100)}, {"offset": 0.5}),
    "layer_norm": ("layer_norm", {"x": (3, 37, 100)}, {}),
    "layer_norm weight": ("layer_norm", {"x": (37, 100), "weight": (100,)}, {"eps": 1e-2}),
    "layer_norm bias": ("layer_norm", {"x": (37, 100), "weight": (100,), "bias": (100,)}, {}),
    "layer_norm residual": (
        "layer_norm",
        {"x": (37, 100), "weight": (100,), "bias": (100,), "residual": (37, 100)},
        {},
    ),
    "swiglu": ("swiglu", {"gate": (37, 100), "up": (37, 100)}, {}),
    "gelu": ("gelu", {"x": (37, 100)}, {}),
    "gelu tanh": ("gelu", {"x": (37, 100)}, {"approximate": "tanh"}),
    "relu2": ("relu2", {"x": (37, 100)}, {}),
    "cross_entropy": ("cross_entropy", {"logits": (37, 70)}, {}),
    "cross_entropy sum": ("cross_entropy", {"logits": (37, 70)}, {"reduction": "sum", "ignore_index": 7}),
    "cross_entropy all": (
        "cross_entropy",
        {"logits": (37, 70)},
        {"softcap": 3.0, "z_loss": 0.1, "reduction": "none"},
    ),
}


def rounded(array: np.ndarray[Any, Any], dtype: str) -> torch.Tensor:
    return torch.from_numpy(array).to(getattr(torch, dtype))


def to_mlx(x: torch.Tensor) -> Any:
    return mx.array(x.float().numpy()).astype(getattr(mx, str(x.dtype).removeprefix("torch.")))


def tuple_of(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


def error(found: Any, exact: torch.Tensor) -> float:
    assert tuple(found.shape) == tuple(exact.shape)
    difference = torch.from_numpy(np.array(found.astype(mx.float32))).double() - exact.detach()
    relative = float(difference.norm() / exact.detach().norm())
    return relative if relative == relative else float("inf")


def agree(case: str, dtype: str) -> None:
    operation, shapes, settings = CASES[case]
    source = np.random.default_rng(1)
    inputs = {name: rounded(source.standard_normal(shape), dtype) for name, shape in shapes.items()}
    theirs = {name: x.double().requires_grad_() for name, x in inputs.items()}
    is_loss = operation == "cross_entropy"
    targets = np.where(TARGETS == -100, settings.get("ignore_index", -100), TARGETS)
    exact = tuple_of(
        getattr(pylm_kernels, operation)(
            **theirs, **settings, **({"targets": torch.from_numpy(targets)} if is_loss else {}), backend="reference"
        )
    )
    out = "float32" if is_loss else dtype
    cotangents = [rounded(source.standard_normal(tuple(y.shape)), out) for y in exact]
    torch.autograd.backward(exact, [c.double() for c in cotangents])

    def call(*leaves: Any) -> list[Any]:
        extra = {"targets": mx.array(targets)} if is_loss else {}
        return list(tuple_of(getattr(ours, operation)(**dict(zip(inputs, leaves, strict=True)), **settings, **extra)))

    found, gradients = mx.vjp(call, [to_mlx(x) for x in inputs.values()], [to_mlx(c) for c in cotangents])
    plain = call(*(to_mlx(x) for x in inputs.values()))  # outside a transformation the compiled bodies run
    for number, (y, y_plain, y_exact) in enumerate(zip(found, plain, exact, strict=True)):
        assert y.dtype == y_plain.dtype == getattr(mx, out), f"output {number} is {y.dtype}"
        assert error(y, y_exact) <= BOUNDS[dtype] and error(y_plain, y_exact) <= BOUNDS[dtype], f"output {number}"
    for (name, x), gradient in zip(theirs.items(), gradients, strict=True):
        assert gradient.dtype == getattr(mx, dtype), f"gradient of {name} is {gradient.dtype}"
        assert x.grad is not None
        assert error(gradient, x.grad) <= BOUNDS[dtype], f"gradient of {name}: {error(gradient, x.grad)}"


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: str, dtype: str) -> None:
    agree(case, dtype)


def test_weights_of_another_dtype_are_not_rounded() -> None:
    x, weight = torch.randn(37, 100).bfloat16(), torch.rand(100) + 0.5
    for operation in ("rms_norm", "layer_norm"):
        y = getattr(ours, operation)(to_mlx(x), to_mlx(weight))
        assert y.dtype == mx.bfloat16
        exact = getattr(pylm_kernels, operation)(x, weight, backend="reference")
        assert np.array_equal(np.array(y.astype(mx.float32)), exact.float().numpy())


def test_they_work_inside_compile() -> None:
    x = mx.random.normal((5, 24))

    def model(x: Any) -> Any:
        return ours.cross_entropy(ours.swiglu(ours.rms_norm(x), x), mx.array([0, 1, 2, 3, -100]))

    assert mx.allclose(mx.compile(mx.grad(model))(x), mx.grad(model)(x), atol=1e-6)


def test_a_target_that_is_no_class_has_infinite_loss_and_ignored_rows_none() -> None:
    logits = mx.random.normal((4, 8))
    targets = mx.array([8, -1, -100, 3])
    losses = ours.cross_entropy(logits, targets, reduction="none")
    assert mx.isinf(losses).tolist() == [True, True, False, False] and losses[2].item() == 0
    assert ours.cross_entropy(logits, mx.array([-100] * 4)).item() == 0
    assert ours.cross_entropy(logits, mx.array([1, 2, 3, 4], dtype=mx.uint32)).item() > 0


X = mx.ones((4, 24))
T = mx.array([1, 2, 3, 4])
BAD: dict[str, Callable[[], Any]] = {
    "x: is a torch.Tensor, not": lambda: ours.rms_norm(torch.ones(4, 24)),
    "x: dtype mlx.core.int32 is not": lambda: ours.gelu(X.astype(mx.int32)),
    "x: a scalar": lambda: ours.rms_norm(mx.array(1.0)),
    "x: its last dimension is empty": lambda: ours.layer_norm(mx.ones((4, 0))),
    r"weight: shape \(23,\)": lambda: ours.rms_norm(X, mx.ones((23,))),
    "weight: dtype": lambda: ours.layer_norm(X, mx.ones((24,), dtype=mx.int32)),
    r"bias: shape \(1, 24\)": lambda: ours.layer_norm(X, None, mx.ones((1, 24))),
    r"residual: shape \(4, 23\)": lambda: ours.rms_norm(X, residual=mx.ones((4, 23))),
    "residual: dtype": lambda: ours.layer_norm(X, residual=X.astype(mx.float16)),
    "up: shape": lambda: ours.swiglu(X, X[:, :3]),
    "up: is a builtins.float": lambda: ours.swiglu(X, 1.0),
    "gate: dtype": lambda: ours.swiglu(X.astype(mx.bool_), X),
    "approximate: 'quick'": lambda: ours.gelu(X, approximate="quick"),
    "x: dtype": lambda: ours.relu2(X.astype(mx.uint8)),
    "logits: has 1 dim": lambda: ours.cross_entropy(mx.ones((4,)), mx.array(1)),
    "logits: dtype": lambda: ours.cross_entropy(X.astype(mx.int32), T),
    "targets: dtype": lambda: ours.cross_entropy(X, T.astype(mx.float32)),
    "targets: is a builtins.list": lambda: ours.cross_entropy(X, [1, 2, 3, 4]),
    r"targets: shape \(3,\)": lambda: ours.cross_entropy(X, T[1:]),
    "softcap: 0": lambda: ours.cross_entropy(X, T, softcap=0.0),
    "z_loss: -1": lambda: ours.cross_entropy(X, T, z_loss=-1.0),
    "reduction: 'avg'": lambda: ours.cross_entropy(X, T, reduction="avg"),
}


@pytest.mark.parametrize("complaint", BAD)
def test_bad_input(complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{complaint}"):
        BAD[complaint]()


def python(program: str) -> subprocess.CompletedProcess[str]:
    folder = str(Path(pylm_kernels.__file__).parent.parent)
    program = f"import sys; sys.path.insert(0, {folder!r})\n{program}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_it_loads_no_torch_and_runs_without() -> None:
    done = python(
        "sys.modules['torch'] = sys.modules['triton'] = None\n"
        "import pylm_kernels.mlx as k, mlx.core as mx\n"
        "y, h = k.rms_norm(mx.ones((2, 8)), residual=mx.ones((2, 8)))\n"
        "print(h.sum().item(), sorted(name for name in ('torch', 'triton', 'numpy') if sys.modules.get(name)))"
    )
    assert done.stdout.strip() == "32.0 []", done.stderr


def test_without_mlx_there_is_one_sentence() -> None:
    done = python(
        "sys.modules['mlx'] = None\n"
        "try: import pylm_kernels.mlx\n"
        "except ImportError as error: print(error, '|', error.__cause__, error.__suppress_context__)"
    )
    assert done.stdout.startswith("pylm_kernels.mlx needs MLX, which cannot be imported here ("), done.stderr
    assert done.stdout.strip().endswith("): pip install mlx, on Linux 'mlx[cpu]' | None True")


def test_an_array_that_is_written_to_gives_the_documents_in_it() -> None:
    cu, qkv = mx.array([0, 3, 9, 20]), mx.random.normal((2, 10, 48))
    for edges in ([0, 3, 9, 20], [0, 11, 14, 20]):
        cu[1], cu[2] = edges[1], edges[2]
        fresh = ours.rope_attention(qkv, n_heads=1, cu_seqlens=mx.array(edges))
        once = ours.Documents.of(cu, 2, 10)
        for given in (cu, once, ours.Documents.of(once, 2, 10)):
            assert mx.array_equal(ours.rope_attention(qkv, n_heads=1, cu_seqlens=given), fresh)
    with pytest.raises(ValueError, match="these Documents are not of shape"):
        ours.rope_attention(qkv[:1], n_heads=1, cu_seqlens=once)


def test_lengths_that_are_written_to_are_read_again() -> None:
    lengths, caches = mx.array([0, 0]), {name: mx.zeros((2, 8, 1, 16)) for name in ("k_cache", "v_cache")}
    ours.attention_decode(mx.zeros((2, 1, 48)), n_heads=1, lengths=lengths, **caches)
    lengths[1] = 8
    with pytest.raises(ValueError, match="lengths: row 1 has 8 positions and gets 1; the cache holds 8"):
        ours.attention_decode(mx.zeros((2, 1, 48)), n_heads=1, lengths=lengths, **caches)
