"""Every variant of the CPU kernels against torch in float64: values and gradients, odd sizes, bad arguments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pylm import _native
from pylm.errors import PylmError

native_kernels = pytest.importorskip("pylm.native_kernels")
VARIANTS = _native.cpu_info()["variants"]
BOUNDS = {torch.float32: 3e-6, torch.bfloat16: 5e-3}


@pytest.fixture(params=VARIANTS, autouse=True)
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    _native.force_variant(request.param)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small tensors: two threads on a busy machine spin a hundred times longer than they work
    yield request.param
    torch.set_num_threads(threads)
    _native.force_variant("")


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param  # type: ignore[no-any-return]


def close(name: str, found: torch.Tensor, expected: torch.Tensor, bound: float) -> None:
    expected = expected.double()
    error = (found.double() - expected).norm() / expected.norm().clamp_min(1e-30)
    assert found.shape == expected.shape and error <= bound, f"{name}: {error:.2e} > {bound:.0e}"


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return (torch.randn(*shape, generator=generator) * scale).to(dtype)


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 7), (37, 64), (20, 100), (70, 769), (2, 5000)])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("kind", ["rms", "rms-unweighted", "rms-offset", "layer", "layer-bias"])
def test_norms(rows: int, width: int, residual: bool, kind: str, dtype: torch.dtype) -> None:
    x = random(rows, width, dtype=dtype, seed=1) + (3 if kind.startswith("layer") else 0)
    r = random(rows, width, dtype=dtype, seed=2) if residual else None
    w = random(width, dtype=dtype, seed=3) if kind != "rms-unweighted" else None
    b = random(width, dtype=dtype, seed=4) if kind == "layer-bias" else None
    dy, dh = random(rows, width, dtype=dtype, seed=5), random(rows, width, dtype=dtype, seed=6)
    offset = 1.0 if kind == "rms-offset" else 0.0
    bound = BOUNDS[dtype]
    leaves = [None if t is None else t.double().requires_grad_() for t in (x, r, w, b)]
    wide_x, wide_r, wide_w, wide_b = leaves
    h = wide_x if wide_r is None else wide_x + wide_r
    if kind.startswith("rms"):
        y = h * (h.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        y = y if wide_w is None else y * (wide_w + offset)
        found_y, found_h, rstd = native_kernels.rms_norm_forward(x, w, r, 1e-5, offset)
        saved = found_h if residual else x
        dx, dw = native_kernels.rms_norm_backward(dy, dh if residual else None, saved, w, rstd, 1e-5, offset)
        db = None
    else:
        y = F.layer_norm(h, (width,), wide_w, wide_b, 1e-5)
        found_y, found_h, mean, rstd = native_kernels.layer_norm_forward(x, w, b, r, 1e-5)
        saved = found_h if residual else x
        dx, dw, db = native_kernels.layer_norm_backward(dy, dh if residual else None, saved, w, b, mean, rstd, 1e-5)
    (y * dy.double()).sum().backward(retain_graph=True)
    if residual:
        (h * dh.double()).sum().backward()
        close("h", found_h, h.detach(), bound)
    if width > 1:  # a row of one has no direction: the gradients are rounding alone
        grad = 20 * bound if kind.startswith("layer") and width < 64 else 3 * bound
        close("y", found_y, y.detach(), max(bound, grad / 2))
        close("dx", dx, wide_x.grad, grad)
        if wide_w is not None:
            close("dw", dw, wide_w.grad, grad)
        if wide_b is not None and db is not None:
            close("db", db, wide_b.grad, grad)


@pytest.mark.parametrize(("rows", "vocab"), [(1, 1), (5, 17), (9, 1000), (3, 50304)])
@pytest.mark.parametrize(("softcap", "z_loss"), [(0.0, 0.0), (0.0, 1e-3), (5.0, 1e-3)])
def test_cross_entropy(rows: int, vocab: int, softcap: float, z_loss: float, dtype: torch.dtype) -> None:
    logits = random(rows, vocab, dtype=dtype, seed=7, scale=4)
    targets = torch.randint(0, vocab, (rows,), generator=torch.Generator().manual_seed(8))
    if rows > 2:
        targets[1] = -100
    grads = random(rows, seed=9).abs() + 0.1
    wide = logits.double().requires_grad_()
    capped = softcap * torch.tanh(wide / softcap) if softcap else wide
    losses = F.cross_entropy(capped, targets, reduction="none")
    right = torch.logsumexp(capped, -1) * (targets != -100)
    losses = losses + z_loss * right.square()
    (losses * grads).sum().backward()
    found, lse, made = native_kernels.cross_entropy_forward(logits, targets, softcap, -100, z_loss)
    assert made.numel() == 0
    bound = 1e-5 if softcap else 2e-6
    close("losses", found, losses.detach(), bound)
    close("lse", lse, right.detach(), bound)
    settings = (softcap, -100, z_loss)
    dlogits = native_kernels.cross_entropy_backward(grads, logits, targets, lse, *settings)
    assert wide.grad is not None
    if vocab > 1:
        close("dlogits", dlogits, wide.grad, 2 * BOUNDS[dtype])
    in_place = logits.clone()
    native_kernels.cross_entropy_backward(grads, in_place, targets, lse, *settings, out=in_place)
    assert torch.equal(in_place, dlogits)
    # with the losses, for a gradient that all rows share: what the backward makes of it
    *same, made = native_kernels.cross_entropy_forward(logits, targets, *settings, 0.37)
    assert torch.equal(torch.stack(same), torch.stack([found, lse]))
    alike = torch.full((rows,), 0.37)
    assert torch.equal(made, native_kernels.cross_entropy_backward(alike, logits, targets, lse, *settings))


def test_cross_entropy_of_extreme_logits(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0] * 11, [-float("inf")] * 32 + [3.0], [88.0] * 33], dtype=dtype)
    targets = torch.tensor([0, 32, 5])
    losses, lse, _ = native_kernels.cross_entropy_forward(logits, targets, 0.0, -100, 0.0)
    torch.testing.assert_close(losses, F.cross_entropy(logits.float(), targets, reduction="none"), rtol=1e-5, atol=1e-5)
    dlogits = native_kernels.cross_entropy_backward(torch.ones(3), logits, targets, lse, 0.0, -100, 0.0)
    assert dlogits.isfinite().all()
    logits[1, 7] = float("nan")  # beside the target: the loss must say so all the same
    losses, lse, made = native_kernels.cross_entropy_forward(logits, targets, 0.0, -100, 0.0, 1.0)
    assert made[1].isnan().any() and made[::2].isfinite().all()
    assert losses.isnan().tolist() == [False, True, False]
    dlogits = native_kernels.cross_entropy_backward(torch.ones(3), logits, targets, lse, 0.0, -100, 0.0)
    assert dlogits[1].isnan().any() and dlogits[::2].isfinite().all()


@pytest.mark.parametrize(("rows", "vocab", "dim"), [(1, 2, 1), (5, 34, 7), (49, 98, 40), (200, 1000, 130)])
def test_gradients_of_a_head(rows: int, vocab: int, dim: int) -> None:
    dlogits, x, weight, dweight = (
        random(*shape, dtype=torch.bfloat16, seed=seed)
        for seed, shape in enumerate([(rows, vocab), (rows, dim), (vocab, dim), (vocab, dim)])
    )
    if not _native.has_head_products():
        with pytest.raises(PylmError, match="multiplies no bfloat16"):
            _native.head_gradients(dlogits, x, weight, x.clone(), dweight)
        return
    expected = dweight.double() + dlogits.double().t() @ x.double()
    found = []
    for threads in (1, 3):
        dx, sums = torch.full_like(x, torch.nan), dweight.clone()
        _native.head_gradients(dlogits, x, weight, dx, sums, threads)
        close("dx", dx, dlogits.double() @ weight.double(), BOUNDS[torch.bfloat16])
        close("dweight", sums, expected, BOUNDS[torch.bfloat16])
        found.append((dx, sums))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    for said, arguments in [
        ("an even vocabulary", (dlogits[:, 1:].contiguous(), x, weight, x.clone(), dweight)),
        ("a bfloat16 matrix", (dlogits, x.float(), weight, x.clone(), dweight)),
        ("weight: of another dtype", (dlogits, x, weight.float(), x.clone(), dweight)),
        ("dx: of another dtype", (dlogits, x, weight, x.float(), dweight)),
    ]:
        with pytest.raises(PylmError, match=said):
            _native.head_gradients(*arguments)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "relu2", "swiglu"])
@pytest.mark.parametrize("count", [1, 15, 16, 33, 40_000])
def test_activations(name: str, count: int, dtype: torch.dtype) -> None:
    x, dy = random(count, dtype=dtype, seed=10, scale=3), random(count, dtype=dtype, seed=11)
    gate = random(count, dtype=dtype, seed=12, scale=3) if name == "swiglu" else None
    wide = x.double().requires_grad_()
    wide_gate = None if gate is None else gate.double().requires_grad_()
    if name.startswith("gelu"):
        y = F.gelu(wide, approximate="tanh" if name == "gelu_tanh" else "none")
    elif wide_gate is None:
        y = F.relu(wide).square()
    else:
        y = F.silu(wide_gate) * wide
    (y * dy.double()).sum().backward()
    bound = BOUNDS[dtype]
    close("y", native_kernels.activation_forward(name, x, gate), y.detach(), bound)
    dx, dgate = native_kernels.activation_backward(name, dy, x, gate)
    assert wide.grad is not None
    close("dx", dx, wide.grad, bound)
    if wide_gate is not None:
        assert wide_gate.grad is not None
        close("dgate", dgate, wide_gate.grad, bound)


@pytest.mark.parametrize("clip", [0.0, 0.5, 1e9])
@pytest.mark.parametrize("kind", ["fp32", "bf16 gradients", "bf16"])
def test_adamw_is_torchs_with_the_clip_before_it(clip: float, kind: str) -> None:
    sizes = [1, 33, 70_000]
    decays = [0.0, 0.1, 0.3]
    state = torch.bfloat16 if kind == "bf16" else torch.float32
    grad_type = torch.float32 if kind == "fp32" else torch.bfloat16
    parameters = [random(n, dtype=state, seed=13) for n in sizes]
    masters = [p.double().requires_grad_() for p in parameters]
    moments = [(torch.zeros(n, dtype=state), torch.zeros(n, dtype=state)) for n in sizes]
    copies = [torch.zeros(n, dtype=torch.bfloat16) for n in sizes]
    peer = torch.optim.AdamW(
        [{"params": [m], "weight_decay": d} for m, d in zip(masters, decays, strict=True)],
        lr=1e-2,
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    for step in range(1, 6):
        gradients = [random(n, dtype=grad_type, seed=14 + step) for n in sizes]
        for master, gradient in zip(masters, gradients, strict=True):
            master.grad = gradient.double()
        norm = torch.nn.utils.clip_grad_norm_(masters, clip if clip else float("inf"))
        peer.step()
        groups = [
            (p, g, m, v, c, d)
            for p, g, (m, v), c, d in zip(parameters, gradients, moments, copies, decays, strict=True)
        ]
        found = native_kernels.adamw(groups, lr=1e-2, betas=(0.9, 0.95), eps=1e-8, clip=clip, step=step)
        assert abs(found - float(norm)) < 1e-5 * float(norm)
    for parameter, master, copy in zip(parameters, masters, copies, strict=True):
        close("parameter", parameter, master.detach(), 1e-6 if state == torch.float32 else 2e-2)
        assert torch.equal(copy, parameter.bfloat16())


def test_adamw_changes_nothing_when_a_gradient_is_not_finite() -> None:
    parameter, gradient = random(100), random(100, seed=1)
    gradient[57] = float("nan")
    m, v, before = torch.zeros(100), torch.zeros(100), parameter.clone()
    norm = native_kernels.adamw(
        [(parameter, gradient, m, v, None, 0.1)], lr=1e-2, betas=(0.9, 0.95), eps=1e-8, clip=1.0, step=1
    )
    assert np.isnan(norm) and torch.equal(parameter, before) and not m.any()


def test_results_do_not_depend_on_the_number_of_threads(dtype: torch.dtype) -> None:
    x, w, dy = random(333, 200, dtype=dtype), random(200), random(333, 200, dtype=dtype, seed=1)
    found = []
    for threads in (1, 2, 5):
        y, rstd = torch.empty_like(x), torch.empty(333)
        _native.norm_forward(x, None, w, None, y, None, None, rstd, 1e-5, 0.0, threads)
        dx, dw = torch.empty_like(x), torch.empty(200)
        _native.norm_backward(dy, None, x, w, None, rstd, dx, dw, None, 0.0, threads)
        found.append((y, dx, dw))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert torch.equal(a, b)


def test_results_that_leave_the_caches_are_those_of_their_parts() -> None:
    """Beyond some megabytes results are written around the caches: the same bits, and none left behind."""
    rows, width = 9000, 768
    x, r, dy, w = (random(n, width, seed=seed) for n, seed in ((rows, 1), (rows, 2), (rows, 3), (1, 4)))
    parts = [slice(at, at + 1000) for at in range(0, rows, 1000)]
    whole = native_kernels.rms_norm_forward(x, w[0], r, 1e-5, 0.0)
    cut = [native_kernels.rms_norm_forward(x[p], w[0], r[p], 1e-5, 0.0) for p in parts]
    for n in range(3):
        assert torch.equal(whole[n], torch.cat([c[n] for c in cut]))
    dx, _ = native_kernels.rms_norm_backward(dy, None, x, w[0], whole[2], 1e-5, 0.0)
    small = [native_kernels.rms_norm_backward(dy[p], None, x[p], w[0], whole[2][p], 1e-5, 0.0)[0] for p in parts]
    assert torch.equal(dx, torch.cat(small))
    for vocab in (50304, 50305):  # rows that begin between vectors, too
        logits, targets = random(70, vocab, seed=5), torch.arange(70)
        settings = (0.0, -100, 0.0)
        targets[::9] = -100
        _, lse, made = native_kernels.cross_entropy_forward(logits, targets, *settings, 1.0)
        found = native_kernels.cross_entropy_backward(torch.ones(70), logits, targets, lse, *settings)
        native_kernels.cross_entropy_backward(torch.ones(70), logits, targets, lse, *settings, out=logits)
        assert torch.equal(found, logits) and torch.equal(made, logits)


def test_tensors_of_the_wrong_kind_are_refused() -> None:
    good, other = torch.zeros(4, 8), torch.zeros(4, 9)

    def fails(said: str, *arguments: Any) -> None:
        with pytest.raises(PylmError) as caught:
            _native.activation_forward(*arguments)
        assert said in caught.value.message

    fails("x: not a torch tensor", "gelu", "text", None, good)
    fails("x: not a torch tensor", "gelu", np.zeros(3), None, good)
    fails("y: 36 elements where 32 are needed", "gelu", good, None, other)
    fails("y: of another dtype", "gelu", good, None, good.bfloat16())
    fails("x: float32 and bfloat16 are served", "gelu", good.double(), None, good.double())
    fails("x: not contiguous", "gelu", good.t(), None, good)
    fails("x: not on the CPU", "gelu", good.to("meta"), None, good)
    crooked = torch.frombuffer(bytearray(129), dtype=torch.float32, count=32, offset=1)
    fails("x: not aligned to its elements", "gelu", crooked, None, good)
    fails("there is no activation silu", "silu", good, None, good)
    with pytest.raises(PylmError, match="the target of row 0 is 8, the vocabulary has 8"):
        native_kernels.cross_entropy_forward(good, torch.tensor([8, 0, 0, 0]), 0.0, -100, 0.0)
    with pytest.raises(PylmError, match="the target of row 3 is -1"):
        native_kernels.cross_entropy_forward(good, torch.tensor([0, 0, 0, -1]), 0.0, -100, 0.0)


@pytest.mark.parametrize("offset", [2**63 - 1, 2**63 - 3, 2**62, 31, 30])
@pytest.mark.parametrize("positions", [None, torch.tensor([0, 1, 2], dtype=torch.int32)], ids=["counted", "given"])
def test_an_offset_outside_the_table_is_refused(offset: int, positions: torch.Tensor | None) -> None:
    """Offset and position are added in 64 bits: a sum that wraps was taken for one inside the table."""
    x, table = random(1, 3, 2, 8), random(32, 4)
    out = torch.empty_like(x)
    with pytest.raises(PylmError, match="leave the table of 32"):
        _native.rotate_forward(x, table, table, positions, None, out, None, 1e-5, False, offset)
    with pytest.raises(PylmError, match="leave the table of 32"):
        _native.rotate_backward(x, x, table, table, positions, None, None, out, None, False, offset)
    _native.rotate_forward(x, table, table, positions, None, out, None, 1e-5, False, 29)


def test_random_arguments_never_crash_the_module() -> None:
    generator = np.random.default_rng(13)
    odd: list[Any] = [
        None, 1, -1, 2**70, 1.5, "x", [], torch.zeros(0), torch.zeros(3), torch.zeros(2, 6).t(), torch.zeros(12).int(),
        torch.zeros(6, 2).bfloat16(), torch.zeros(6, 2, device="meta"), np.zeros((6, 2)), torch.tensor(1.0),
    ]  # fmt: skip
    good: dict[str, list[Any]] = {
        "norm_forward": [
            torch.ones(6, 2), torch.ones(6, 2), torch.ones(2), torch.ones(2), torch.ones(6, 2), torch.ones(6, 2),
            torch.ones(6), torch.ones(6), 1e-5, 0.0, 1,
        ],
        "norm_backward": [
            torch.ones(6, 2), torch.ones(6, 2), torch.ones(6, 2), torch.ones(2), torch.ones(6), torch.ones(6),
            torch.ones(6, 2), torch.ones(2), torch.ones(2), 0.0, 2,
        ],
        "cross_entropy_forward": [
            torch.ones(6, 2), torch.zeros(6, dtype=torch.int64), torch.ones(6), torch.ones(6), -100, 0.0, 0.0, 1,
            torch.ones(6, 2), 1.0,
        ],
        "cross_entropy_backward": [
            torch.ones(6, 2), torch.zeros(6, dtype=torch.int64), torch.ones(6), torch.ones(6), torch.ones(6, 2), -100,
            0.0, 0.0, 1,
        ],
        "rotate_forward": [
            torch.ones(1, 3, 2, 2), torch.ones(3, 1), torch.ones(3, 1), torch.zeros(3, dtype=torch.int32),
            torch.ones(2), torch.ones(1, 3, 2, 2), torch.ones(6), 1e-5, False, 0, 1,
        ],
        "rotate_backward": [
            torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2), torch.ones(3, 1), torch.ones(3, 1), None, torch.ones(2),
            torch.ones(6), torch.ones(1, 3, 2, 2), torch.ones(2), True, 0, 1,
        ],
        "attention_forward": [
            *(torch.ones(1, 3, 2, 2) for _ in range(4)), torch.ones(6), torch.zeros(1, 3, dtype=torch.int32), 2, 0.5, 1,
            2.0,
        ],
        "attention_backward": [
            *(torch.ones(1, 3, 2, 2) for _ in range(5)), torch.ones(6), *(torch.ones(1, 3, 2, 2) for _ in range(3)),
            None, 0, 0.5, 2, 0.0,
        ],
        "decode_attention": [
            torch.ones(1, 2, 2), torch.ones(1, 5, 1, 2), torch.ones(1, 5, 1, 2), [3], torch.ones(1, 2, 2), 0.5, 1, 2.0,
        ],
        "head_gradients": [
            torch.ones(4, 6).bfloat16(), torch.ones(4, 2).bfloat16(), torch.ones(6, 2).bfloat16(),
            torch.ones(4, 2).bfloat16(), torch.ones(6, 2).bfloat16(), 2,
        ],
        "gemv_int8": [torch.ones(6, 2, dtype=torch.int8), torch.ones(6), torch.ones(2), torch.ones(6), 1],
        "activation_forward": ["gelu", torch.ones(6, 2), None, torch.ones(6, 2), 1],
        "activation_backward": [
            "swiglu", torch.ones(6, 2), torch.ones(6, 2), torch.ones(6, 2), torch.ones(6, 2), torch.ones(6, 2), 1,
        ],
    }  # fmt: skip
    survived = 0
    for _ in range(400):
        pick = lambda usual: usual if generator.random() < 0.9 else odd[generator.integers(len(odd))]  # noqa: E731
        for name, arguments in good.items():
            picked = [pick(a) for a in arguments]
            try:
                getattr(_native, name)(*picked)
                survived += 1
            except (PylmError, TypeError, ValueError, RuntimeError) as error:
                assert "Segmentation" not in str(error)
        flat = tuple(pick(a) for a in (*(torch.ones(8) for _ in range(4)), torch.ones(8).bfloat16(), 0.1))
        settings = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "clip": 1.0, "step": 1, "threads": 1}
        try:
            _native.adamw(pick([flat]), **{name: pick(value) for name, value in settings.items()})
            _native.read_all(pick(torch.zeros(300, dtype=torch.int8)), pick(1))
            survived += 1
        except (PylmError, TypeError, ValueError, RuntimeError) as error:
            assert "Segmentation" not in str(error)
    assert survived > 1000
