"""The C++ kernels behind pylm_kernels' public functions: values, every gradient, compilation, refusals."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import pylm_kernels as pk
from pylm import _native
from pylm_kernels import dispatch

native_kernels = pytest.importorskip("pylm.native_kernels")
VARIANT = _native.cpu_info()["variant"]
pytestmark = pytest.mark.skipif(
    VARIANT not in ("avx2", "avx512"), reason="dispatch leaves this processor to torch: nothing was measured on it"
)
BOUNDS = {torch.float32: 5e-6, torch.bfloat16: 1.2e-2}
Tensors = dict[str, Any]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kernels in a copy of dispatch's table: other tests find it as it was."""
    dispatch.load()
    monkeypatch.delenv("PYLM_KERNELS", raising=False)
    monkeypatch.setattr(dispatch, "_registered", {op: dict(have) for op, have in dispatch._registered.items()})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert sorted(native_kernels.register()) == sorted(dispatch.OPERATIONS)
    yield
    torch.set_num_threads(threads)
    dispatch.candidates.cache_clear()


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def rows(*names: str, width: int = 40) -> Tensors:
    return {name: random(3, 5, width, seed=n) for n, name in enumerate(names)}


def packed(heads: int, kv_heads: int, dim: int, time: int = 70) -> Tensors:
    return {"q": random(2, time, (heads + 2 * kv_heads) * dim)}


def apart(heads: int, kv_heads: int, dim: int, time: int = 50) -> Tensors:
    shapes = {"q": heads, "k": kv_heads, "v": kv_heads}
    return {name: random(2, time, count, dim, seed=ord(name)) for name, count in shapes.items()}


def weights(dim: int) -> Tensors:
    return {"q_weight": random(dim, seed=5) + 1, "k_weight": random(dim, seed=6) + 1}


def targets(*shape: int, classes: int) -> torch.Tensor:
    found = torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(3))
    found.view(-1)[1::4] = -100
    return found


LENGTHS = torch.tensor([0, 61])
DOCUMENTS = torch.tensor([0, 9, 9, 70, 100, 140])
LOGITS = {"logits": random(3, 7, 301) * 3}
PROJECTED = {"x": random(3, 7, 24), "weight": random(301, 24)}
WIDE: dict[str, Any] = {"head_dim": 32, "max_positions": 80}
CASES: dict[str, tuple[Callable[..., Any], Tensors]] = {
    "rms_norm": (pk.rms_norm, rows("x", "residual") | {"weight": random(40)}),
    "rms_norm, offset": (functools.partial(pk.rms_norm, offset=1.0), rows("x") | {"weight": random(40)}),
    "layer_norm": (pk.layer_norm, rows("x", "residual") | {"weight": random(40), "bias": random(40, seed=1)}),
    "layer_norm, bare": (pk.layer_norm, rows("x")),
    "gelu": (pk.gelu, rows("x")),
    "gelu, tanh": (functools.partial(pk.gelu, approximate="tanh"), rows("x")),
    "relu2": (pk.relu2, rows("x")),
    "swiglu": (pk.swiglu, rows("gate", "up")),
    "cross_entropy": (functools.partial(pk.cross_entropy, targets=targets(3, 7, classes=301), z_loss=1e-3), LOGITS),
    "cross_entropy, sum": (
        functools.partial(pk.cross_entropy, targets=targets(3, 7, classes=301), reduction="sum"), LOGITS,
    ),
    "cross_entropy, capped": (
        functools.partial(pk.cross_entropy, targets=targets(3, 7, classes=301), softcap=4.0, reduction="none"), LOGITS,
    ),
    "linear_cross_entropy": (
        functools.partial(pk.linear_cross_entropy, targets=targets(3, 7, classes=301)), PROJECTED,
    ),
    "linear_cross_entropy, capped sum": (
        functools.partial(
            pk.linear_cross_entropy, targets=targets(3, 7, classes=301), softcap=4.0, z_loss=1e-2, reduction="sum"
        ), PROJECTED,
    ),
    "linear_cross_entropy, by row": (
        functools.partial(pk.linear_cross_entropy, targets=targets(3, 7, classes=301), reduction="none"), PROJECTED,
    ),
    "qk_norm_rope": (functools.partial(pk.qk_norm_rope, rope=pk.Rope(**WIDE), n_heads=3), packed(3, 3, 32)),
    "qk_norm_rope, weights, interleaved, partial": (
        functools.partial(
            pk.qk_norm_rope, rope=pk.Rope(23, dims=10, layout="interleaved", max_positions=90).at(offset=20), n_heads=4,
            n_kv_heads=2, eps=1e-3,
        ), packed(4, 2, 23) | weights(23),
    ),
    "qk_norm_rope, apart, positions": (
        functools.partial(pk.qk_norm_rope, rope=pk.Rope(**WIDE).at(torch.arange(50).flip(0))),
        {name: x for name, x in apart(4, 2, 32).items() if name != "v"} | weights(32),
    ),
    "qk_norm_rope, documents": (
        functools.partial(pk.qk_norm_rope, rope=pk.Rope(**WIDE), n_heads=2, cu_seqlens=DOCUMENTS), packed(2, 2, 32),
    ),
    "rope_attention": (functools.partial(pk.rope_attention, rope=pk.Rope(**WIDE), n_heads=3), packed(3, 3, 32)),
    "rope_attention, shared, weights, documents, window": (
        functools.partial(
            pk.rope_attention, rope=pk.Rope(**WIDE), n_heads=4, n_kv_heads=2, cu_seqlens=DOCUMENTS, window=30,
        ), packed(4, 2, 32) | weights(32),
    ),
    "rope_attention, capped, documents": (
        functools.partial(pk.rope_attention, rope=pk.Rope(**WIDE), n_heads=2, cu_seqlens=DOCUMENTS, softcap=1.5),
        packed(2, 2, 32),
    ),
    "rope_attention, plain, apart": (functools.partial(pk.rope_attention, scale=0.3), apart(4, 2, 20)),
    "rope_attention, apart, rope": (functools.partial(pk.rope_attention, rope=pk.Rope(**WIDE)), apart(4, 1, 32)),
}  # fmt: skip
cases = pytest.mark.parametrize("case", CASES)


def run(function: Callable[..., Any], tensors: Tensors) -> Tensors:
    """Outputs, and gradients against a cotangent that is the same for the same shapes."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in tensors.items()}
    outputs = function(**leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    loss = sum((o.double() * random(*o.shape, seed=9).to(o.device).double()).sum() for o in outputs)
    assert isinstance(loss, torch.Tensor)
    torch.autograd.backward(loss)
    found = {f"output {n}": o.detach() for n, o in enumerate(outputs)}
    for name, leaf in leaves.items():
        assert leaf.grad is not None and leaf.grad.dtype == leaf.dtype
        found[f"gradient of {name}"] = leaf.grad
    return found


def agree(found: Tensors, expected: Tensors, bound: float) -> None:
    for name, right in expected.items():
        error = (found[name].double() - right.double()).norm() / right.double().norm()
        assert error <= bound, f"{name}: {error:.1e} > {bound:.0e}"


@cases
@pytest.mark.parametrize("dtype", BOUNDS, ids=["fp32", "bf16"])
def test_values_and_gradients_are_the_references_in_float64(case: str, dtype: torch.dtype) -> None:
    function, tensors = CASES[case]
    if case.startswith("linear") and dtype == torch.bfloat16 and VARIANT != "avx512":
        pytest.skip("left to torch without AVX512-BF16")
    narrow = {name: x.to(dtype) for name, x in tensors.items()}
    ours = run(functools.partial(function, backend="cpu"), narrow)
    expected = run(functools.partial(function, backend="reference"), {n: x.double() for n, x in narrow.items()})
    agree(ours, expected, BOUNDS[dtype])
    chosen = run(function, narrow)  # and these are what a call without a backend gives
    assert all(torch.equal(chosen[name], ours[name]) for name in ours)


@cases
def test_compiled_code_gives_the_same(case: str) -> None:
    function, tensors = CASES[case]
    ours = functools.partial(function, backend="cpu")
    torch._dynamo.reset()
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agree(run(compiled, tensors), run(ours, tensors), 1e-6)


@contextlib.contextmanager
def other_defaults() -> Iterator[None]:
    """Where torch makes tensors that name neither device nor dtype in places that no kernel takes."""
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


@cases
def test_torch_s_default_device_and_dtype_change_nothing(case: str) -> None:
    function, tensors = CASES[case]
    ours = functools.partial(function, backend="cpu")
    expected = run(ours, tensors)
    leaves = {name: x.detach().clone().requires_grad_() for name, x in tensors.items()}
    made = [random(*x.shape, seed=9) for name, x in expected.items() if name.startswith("output")]
    with other_defaults():
        found = ours(**leaves)
        outputs = found if isinstance(found, tuple) else (found,)
        torch.autograd.backward(outputs, [x.to(o.dtype) for o, x in zip(outputs, made, strict=True)])
    for n, output in enumerate(outputs):
        assert torch.equal(output, expected[f"output {n}"])
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        agree({name: leaf.grad}, {name: expected[f"gradient of {name}"]}, 1e-6)


def test_torch_s_defaults_change_nothing_in_a_decode() -> None:
    new, caches = apart(4, 2, 32, time=3), [random(2, 70, 2, 32, seed=n) for n in range(2)]
    weight, x = native_kernels.quantize_int8(random(9, 64)), random(64)
    settings: dict[str, Any] = DECODING["rope and norm"]

    def outputs() -> list[torch.Tensor]:
        k_cache, v_cache = (cache.clone() for cache in caches)
        o = pk.attention_decode(**new, k_cache=k_cache, v_cache=v_cache, lengths=LENGTHS, **settings, backend="cpu")
        return [o, k_cache, v_cache, native_kernels.gemv_int8(*weight, x)]

    expected = outputs()
    with other_defaults():
        found = outputs()
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_made_with_the_losses_are_those_that_are_asked_for(reduction: str) -> None:
    """For the gradient 1 they stand there already; for another, and for a second time, they are made anew."""
    logits, wanted = random(21, 301).requires_grad_(), targets(21, classes=301)
    expected = torch.nn.functional.cross_entropy(logits.double(), wanted, reduction=reduction)
    (right,) = torch.autograd.grad(expected, logits)
    loss = pk.cross_entropy(logits, wanted, reduction=reduction, backend="cpu")
    made = loss.grad_fn.next_functions[0][0] if reduction == "mean" else loss.grad_fn  # type: ignore[union-attr]
    there = made.next_functions[0][0].made.data_ptr()  # type: ignore[union-attr]
    (once,) = torch.autograd.grad(loss, logits, retain_graph=True)
    assert once.data_ptr() == there
    torch.testing.assert_close(once, right, rtol=1e-4, atol=1e-8)
    once.zero_()  # whoever was given it may write into it
    (again,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (thrice,) = torch.autograd.grad(3 * loss, logits)
    torch.testing.assert_close(again, right, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(thrice, 3 * right, rtol=1e-4, atol=1e-8)
    (thrice,) = torch.autograd.grad(3 * pk.cross_entropy(logits, wanted, reduction=reduction, backend="cpu"), logits)
    torch.testing.assert_close(thrice, 3 * right, rtol=1e-4, atol=1e-8)


DECODING: dict[str, dict[str, Any]] = {
    "plain": {},
    "rope and norm": {"rope": pk.Rope(32, max_positions=80), "q_weight": random(32) + 1, "k_weight": random(32) + 1},
    "rope at positions, capped": {"rope": pk.Rope(32).at(torch.arange(6).view(2, 3)), "softcap": 1.5, "scale": 0.3},
}


@pytest.mark.parametrize("settings", DECODING.values(), ids=DECODING)
@pytest.mark.parametrize("dtype", BOUNDS, ids=["fp32", "bf16"])
def test_new_tokens_over_a_cache_are_the_references_in_float64(settings: dict[str, Any], dtype: torch.dtype) -> None:
    lengths = LENGTHS
    new = {name: x.to(dtype) for name, x in apart(4, 2, 32, time=3).items()}
    written = {name: random(2, 70, 2, 32, seed=n).to(dtype) for n, name in enumerate(("k_cache", "v_cache"))}
    for row, length in enumerate(lengths.tolist()):
        for cache in written.values():
            cache[row, length:] = torch.nan  # what was never written may be anything
    found, right = ({n: x.to(t, copy=True) for n, x in written.items()} for t in (dtype, torch.float64))
    wide = {n: x.double() if isinstance(x, torch.Tensor) else x for n, x in settings.items()}
    ours = pk.attention_decode(**new, **found, lengths=lengths, **settings, backend="cpu")
    expected = pk.attention_decode(
        **{n: x.double() for n, x in new.items()}, **right, lengths=lengths, **wide, backend="reference"
    )
    for name in written:
        assert torch.equal(found[name].isnan(), right[name].isnan())
        found[name].nan_to_num_(), right[name].nan_to_num_()
    agree({"o": ours, **found}, {"o": expected, **right}, BOUNDS[dtype])
    for said, refused in (("window", {"window": 4}), ("up to 8 new tokens", {})):
        many = new if refused else {name: x.repeat(1, 3, 1, 1) for name, x in new.items()}
        with pytest.raises(ValueError, match=said):
            pk.attention_decode(**many, **written, lengths=lengths * 0, **refused, backend="cpu")


def test_weighted_rows_and_a_second_backward() -> None:
    x, weight = random(9, 16).requires_grad_(), random(40, 16).requires_grad_()
    loss = pk.linear_cross_entropy(x, weight, targets(9, classes=40), backend="cpu")
    first = torch.autograd.grad(loss, (x, weight), retain_graph=True)
    again = torch.autograd.grad(loss * 3, (x, weight))
    for one, three in zip(first, again, strict=True):
        torch.testing.assert_close(one * 3, three)


def test_empty_batches() -> None:
    x, weight = torch.zeros(0, 8, requires_grad=True), torch.randn(11, 8, requires_grad=True)
    torch.autograd.backward(pk.linear_cross_entropy(x, weight, torch.zeros(0, dtype=torch.int64), backend="cpu"))
    assert weight.grad is not None and not weight.grad.any()
    assert pk.rms_norm(x, backend="cpu").shape == (0, 8)


@pytest.mark.parametrize(
    ("said", "settings"),
    [
        ("causal attention", {"causal": False}),
        ("no sinks", {"sinks": torch.ones(4)}),
    ],
)
def test_what_is_not_served_is_said_and_left_to_others(said: str, settings: dict[str, Any]) -> None:
    tensors = apart(4, 2, 16)
    with pytest.raises(ValueError, match=said):
        pk.rope_attention(**tensors, **settings, backend="cpu")
    ours, right = (
        pk.rope_attention(**tensors, **settings),
        pk.rope_attention(**tensors, **settings, backend="reference"),
    )
    torch.testing.assert_close(ours, right, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="serve float32 and bfloat16"):
        pk.gelu(torch.ones(3, dtype=torch.float16), backend="cpu")


def test_the_table_shows_them_and_torch_where_vectors_are_missing() -> None:
    script = (
        "import pylm_kernels, pylm.native_kernels as n; n.register();"
        "print({(c.operation, c.dtype): (c.backend, c.why) for c in pylm_kernels.backends() if c.device == 'cpu'})"
    )
    for variant, expected, head in (
        ("", "cpu", "cpu" if VARIANT == "avx512" else "reference"),
        ("avx2", "cpu", "reference"),
        ("scalar", "reference", "reference"),
    ):
        environment = {**os.environ, "PYLM_CPU": variant}
        if not variant:
            del environment["PYLM_CPU"]
        out = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
        ).stdout
        table = eval(out)
        assert table[("gelu", "bfloat16")][0] == expected
        assert table[("linear_cross_entropy", "bfloat16")][0] == head
        assert table[("linear_cross_entropy", "float32")][0] == expected
        assert table[("gelu", "float16")][0] == "reference"
        assert "the C++ kernels serve float32 and bfloat16" in table[("gelu", "float16")][1]


def test_a_module_of_other_sources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from pylm.errors import PylmError

    monkeypatch.setattr(_native, "INTERFACE", 1)
    with pytest.raises(PylmError, match="interface 1, pylm's files call 7"):
        native_kernels.register()
