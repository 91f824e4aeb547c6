"""vmap, forward mode, batched and repeated derivatives, tracers: right, or refused with one sentence; never silent."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import proof
import pytest
import torch
from proof import random
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

import pylm_kernels as pk
from pylm_kernels import dispatch

Function = Callable[[torch.Tensor], torch.Tensor]
ROPE = pk.Rope(16)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit.trace


def operations(backend: str | None) -> dict[str, tuple[Function, tuple[int, ...]]]:
    """Each operation as a function of one tensor that reaches it by two ways wherever it has two inputs."""
    where = {"backend": backend}
    w, table = torch.linspace(0.5, 1.5, 16, device=proof.DEVICE), torch.eye(16, device=proof.DEVICE)
    classes = torch.arange(6, device=proof.DEVICE).view(2, 3)
    documents = pk.Documents.of(torch.tensor([0, 2, 6], device=proof.DEVICE), 2, 3)
    rows = (2, 3, 16)

    def attention(x: torch.Tensor, **more: Any) -> torch.Tensor:
        return pk.rope_attention(x.view(2, 3, 1, 16), x.view(2, 3, 1, 16) * 2, x.view(2, 3, 1, 16), **more, **where)

    return {
        "rms_norm": (lambda x: pk.rms_norm(x, w, residual=x * 2, **where)[0], rows),
        "layer_norm": (lambda x: pk.layer_norm(x, x[0, 0], w, **where), rows),
        "qk_norm_rope": (
            lambda x: sum(pk.qk_norm_rope(x, rope=ROPE, n_heads=1, q_weight=w, k_weight=w, **where)),  # type: ignore[return-value,arg-type]
            (2, 3, 48),
        ),
        "rope_attention": (lambda x: attention(x, rope=ROPE), rows),
        "documents": (lambda x: attention(x, cu_seqlens=documents), rows),
        "cross_entropy": (lambda x: pk.cross_entropy(x, classes, **where), rows),
        "linear_cross_entropy": (lambda x: pk.linear_cross_entropy(x, table * x[0, 0], classes, **where), rows),
        "swiglu": (lambda x: pk.swiglu(x, x * 2, **where), rows),
        "gelu": (lambda x: pk.gelu(x, **where), rows),
        "relu2": (lambda x: pk.relu2(x, **where), rows),
    }


def square(f: Function) -> Function:
    return lambda x: f(x).square().sum()


def again(f: Function, x: torch.Tensor) -> torch.Tensor:
    x.requires_grad_()
    (g,) = torch.autograd.grad(square(f)(x), x, create_graph=True)
    return torch.autograd.grad(g.square().sum(), x)[0]


def many_gradients(f: Function, x: torch.Tensor) -> torch.Tensor:
    y = f(x.requires_grad_())
    return torch.autograd.grad(y, x, torch.stack([torch.ones_like(y), y.detach()]), is_grads_batched=True)[0]


def dual(f: Function, x: torch.Tensor) -> torch.Tensor:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(forward_ad.make_dual(x, torch.ones_like(x)))).tangent


def jacobian(f: Function, x: torch.Tensor) -> torch.Tensor:
    return torch.func.jacrev(lambda x: f(x).reshape(-1)[:3])(x)


def traced(f: Function, x: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what depends on shapes is fixed, and the tracer says so
        return torch.jit.trace(f, (x,), check_trace=False)(x * 1.5)


REVERSE: dict[str, Callable[[Function, torch.Tensor], torch.Tensor]] = {
    "grad": lambda f, x: torch.func.grad(square(f))(x),
    "grad of grad": lambda f, x: torch.func.grad(square(torch.func.grad(square(f))))(x),
    "vjp, called later": lambda f, x: torch.func.vjp(square(f), x)[1](torch.ones((), device=x.device))[0],
    "jacrev": jacobian,
    "create_graph": again,
    "is_grads_batched": many_gradients,
    "make_fx": lambda f, x: make_fx(f)(x)(x * 1.5),
}
OTHERS: dict[str, tuple[str, Callable[[Function, torch.Tensor], torch.Tensor]]] = {
    "vmap": ("vmap", lambda f, x: torch.func.vmap(f)(torch.stack([x, x * 2]))),
    "gradient of each sample": (
        "vmap",
        lambda f, x: torch.func.vmap(torch.func.grad(square(f)))(torch.stack([x, x * 2])),
    ),
    "jvp": ("forward-mode", lambda f, x: torch.func.jvp(f, (x,), (torch.ones_like(x),))[1]),
    "dual numbers": ("forward-mode", dual),
    "forward over reverse": (
        "forward-mode",
        lambda f, x: torch.func.jvp(torch.func.grad(square(f)), (x,), (torch.ones_like(x),))[1],
    ),
    "torch.jit.trace": ("torch.jit.trace", traced),
}


def agree(way: Callable[..., torch.Tensor], op: str, backend: str | None) -> None:
    f, shape = operations(backend)[op]
    exact, _ = operations("reference")[op]
    x = random(*shape)
    assert proof.error(way(f, x.clone()), way(exact, x.double())) < 2e-5


@pytest.mark.parametrize(
    ("op", "backend", "way"),
    # the interpreter reads a tensor's memory, which make_fx's have not
    [(op, "triton", way) for op in operations(None) for way in REVERSE if way != "make_fx"]
    + [(op, "sdpa", way) for op in ("rope_attention", "documents") for way in REVERSE],
)
def test_reverse_mode_by_any_way(op: str, backend: str, way: str) -> None:
    agree(REVERSE[way], op, backend)


@pytest.mark.parametrize("way", OTHERS)
@pytest.mark.parametrize("op", operations(None))
def test_other_transformations_are_right_or_refused(op: str, way: str) -> None:
    name, transform = OTHERS[way]
    agree(transform, op, None)
    for backend in dispatch._registered["rope_attention" if op == "documents" else op].keys() & {"triton", "sdpa"}:
        f, shape = operations(backend)[op]
        with pytest.raises(
            ValueError, match=f"^backend: '{backend}' has no rule for {name}.*; leave it out"
        ) as refused:
            transform(f, random(*shape))
        assert "\n" not in str(refused.value)


def test_vmap_inside_compiled_code() -> None:
    torch._dynamo.reset()

    def each(x: torch.Tensor) -> torch.Tensor:
        return torch.func.vmap(lambda row: pk.rms_norm(row))(x)

    x = random(3, 4, 8)
    assert proof.error(torch.compile(each, fullgraph=True, backend="aot_eager")(x), each(x)) < 1e-6
    assert proof.error(each(x), torch.nn.functional.rms_norm(x, (8,), eps=1e-5)) < 1e-6


@pytest.mark.parametrize("way", [name for name in OTHERS if name != "gradient of each sample"])
def test_a_cache_is_not_written_where_nobody_can_follow(way: str) -> None:
    name, transform = OTHERS[way]
    k_cache, v_cache = random(2, 8, 1, 16), random(2, 8, 1, 16)
    held = {"k_cache": k_cache, "v_cache": v_cache, "lengths": torch.zeros(2, dtype=torch.int64, device=proof.DEVICE)}
    before = k_cache.clone()
    for write in (
        lambda x: pk.attention_decode(x, n_heads=1, **held),
        lambda x: pk.qk_norm_rope(x, n_heads=1, rope=ROPE, **held)[0],
    ):
        with pytest.raises(ValueError, match=f"^k_cache: is written in place, which {name}.* cannot follow"):
            transform(write, random(2, 1, 48))
    assert torch.equal(k_cache, before)


@pytest.mark.parametrize("op", operations(None))
def test_symbolic_tracing_is_refused_with_a_sentence(op: str) -> None:
    call = {
        "rms_norm": lambda x: pk.rms_norm(x),
        "layer_norm": lambda x: pk.layer_norm(x),
        "qk_norm_rope": lambda x: pk.qk_norm_rope(x, rope=ROPE, n_heads=1),
        "rope_attention": lambda x: pk.rope_attention(x, n_heads=1),
        "documents": lambda x: pk.attention_decode(x, n_heads=1, k_cache=x, v_cache=x, lengths=x),
        "cross_entropy": lambda x: pk.cross_entropy(x, x),
        "linear_cross_entropy": lambda x: pk.linear_cross_entropy(x, x, x),
        "swiglu": lambda x: pk.swiglu(x, x),
        "gelu": lambda x: pk.gelu(x),
        "relu2": lambda x: pk.relu2(x),
    }[op]
    with pytest.raises(ValueError, match="is a torch.fx.proxy.Proxy, not a torch.Tensor; torch.export traces these"):
        torch.fx.symbolic_trace(call)  # type: ignore[arg-type]
