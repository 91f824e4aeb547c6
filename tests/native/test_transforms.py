"""The C++ kernels under other transformations, and beside what a validation made: right, or refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

import pylm_kernels as pk
from pylm import _native, native_kernels
from pylm_kernels import dispatch

pytestmark = [
    pytest.mark.skipif(
        _native.cpu_info()["variant"] not in ("avx2", "avx512"), reason="dispatch leaves this processor to torch"
    ),
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated"),  # torch's own jvp scripts its rules
]
Function = Callable[[torch.Tensor], torch.Tensor]
ROPE, ROWS = pk.Rope(16), (2, 3, 16)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kernels in a copy of dispatch's table: other tests find it as it was."""
    dispatch.load()
    monkeypatch.delenv("PYLM_KERNELS", raising=False)
    monkeypatch.setattr(dispatch, "_registered", {op: dict(have) for op, have in dispatch._registered.items()})
    native_kernels.register()
    torch.manual_seed(2)
    yield
    dispatch.candidates.cache_clear()


def operations(backend: str | None) -> dict[str, tuple[Function, tuple[int, ...]]]:
    """Each operation as a function of one tensor that reaches it by two ways wherever it has two inputs."""
    where = {"backend": backend}
    w, classes = torch.linspace(0.5, 1.5, 16), torch.arange(6).view(2, 3)
    documents = pk.Documents.of(torch.tensor([0, 2, 6]), 2, 3)
    return {
        "rms_norm": (lambda x: pk.rms_norm(x, w, residual=x * 2, **where)[0], ROWS),
        "layer_norm": (lambda x: pk.layer_norm(x, x[0, 0], w, **where), ROWS),
        "qk_norm_rope": (lambda x: pk.qk_norm_rope(x, rope=ROPE, n_heads=1, **where)[1], (2, 3, 48)),
        "rope_attention": (
            lambda x: pk.rope_attention(x, rope=ROPE, n_heads=1, cu_seqlens=documents, **where), (2, 3, 48)
        ),
        "attention of itself": (lambda x: pk.rope_attention(*[x.view(2, 3, 1, 16)] * 3, **where), ROWS),
        "cross_entropy": (lambda x: pk.cross_entropy(x, classes, **where), ROWS),
        "linear_cross_entropy": (lambda x: pk.linear_cross_entropy(x, torch.eye(16) * x[0, 0], classes, **where), ROWS),
        "swiglu": (lambda x: pk.swiglu(x, x * 2, **where), ROWS),
        "gelu": (lambda x: pk.gelu(x, **where), ROWS),
        "relu2": (lambda x: pk.relu2(x, **where), ROWS),
    }  # fmt: skip


def square(f: Function) -> Function:
    return lambda x: f(x).square().sum()


def again(f: Function, x: torch.Tensor) -> torch.Tensor:
    (g,) = torch.autograd.grad(square(f)(x.requires_grad_()), x, create_graph=True)
    return torch.autograd.grad(g.square().sum(), x)[0]


def many_gradients(f: Function, x: torch.Tensor) -> torch.Tensor:
    y = f(x.requires_grad_())
    return torch.autograd.grad(y, x, torch.stack([torch.ones_like(y), y.detach()]), is_grads_batched=True)[0]


def made(f: Function, x: torch.Tensor) -> torch.Tensor:
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(f)(x)(x * 1.5)


WAYS: dict[str, Callable[[Function, torch.Tensor], torch.Tensor]] = {
    "grad": lambda f, x: torch.func.grad(square(f))(x),
    "vjp, called later": lambda f, x: torch.func.vjp(square(f), x)[1](torch.ones(()))[0],
    "jacrev": lambda f, x: torch.func.jacrev(lambda x: f(x).reshape(-1)[:3])(x),
    "create_graph": again,
    "is_grads_batched": many_gradients,
    "make_fx": made,
}
FOREIGN: dict[str, Callable[[Function, torch.Tensor], torch.Tensor]] = {
    "vmap": lambda f, x: torch.func.vmap(f)(torch.stack([x, x * 2])),
    "forward-mode differentiation": lambda f, x: torch.func.jvp(f, (x,), (torch.ones_like(x),))[1],
}


def agrees(way: Callable[..., torch.Tensor], name: str, backend: str | None) -> None:
    (f, shape), (exact, _) = operations(backend)[name], operations("reference")[name]
    x = torch.randn(shape)
    torch.testing.assert_close(way(f, x.clone()), way(exact, x.clone()), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", operations(None))
def test_derivatives_by_any_way(name: str, way: str) -> None:
    agrees(WAYS[way], name, "cpu")


@pytest.mark.parametrize("way", FOREIGN)
@pytest.mark.parametrize("name", operations(None))
def test_what_has_no_rule_is_left_to_torch_or_refused(name: str, way: str) -> None:
    agrees(FOREIGN[way], name, None)
    f, shape = operations("cpu")[name]
    with pytest.raises(ValueError, match=f"^backend: 'cpu' has no rule for {way}; leave it out, and plain torch"):
        FOREIGN[way](f, torch.randn(shape))


def test_what_a_validation_made_serves_the_training_after_it() -> None:
    with torch.inference_mode():
        cu = torch.tensor([0, 4, 12, 20])
        documents, rope = pk.Documents.of(cu, 2, 10), pk.Rope(16)
        pk.rope_attention(torch.randn(2, 10, 48), n_heads=1, rope=rope, cu_seqlens=cu, backend="cpu")
    for given in (cu, documents):
        x = torch.randn(2, 10, 48, requires_grad=True)
        pk.rope_attention(x, n_heads=1, rope=rope, cu_seqlens=given, backend="cpu").sum().backward()
        assert x.grad is not None and x.grad.isfinite().all()


def test_memory_that_is_refilled_gives_the_documents_in_it() -> None:
    cu, x = torch.tensor([0, 3, 9, 20]), torch.randn(2, 10, 48)
    for edges in ([0, 3, 9, 20], [0, 11, 14, 20]):
        cu.numpy()[:] = edges
        ours = pk.rope_attention(x, n_heads=1, cu_seqlens=cu, backend="cpu")
        number = torch.bucketize(torch.arange(20), torch.tensor(edges), right=True).view(2, 10)
        mask = (number[:, :, None] == number[:, None, :]).tril()[:, None]
        q, k, v = x.view(2, 10, 3, 1, 16).unbind(2)
        exact = torch.nn.functional.scaled_dot_product_attention(*(y.transpose(1, 2) for y in (q, k, v)), mask)
        torch.testing.assert_close(ours, exact.transpose(1, 2))
