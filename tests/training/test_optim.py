"""The optimizers against torch's own and against what they are defined by."""

import zlib
from collections.abc import Callable

import pytest
import torch

from pylm.config.schema import Train
from pylm.errors import CheckpointError
from pylm.training.optim import build
from pylm.training.optim.muon import orthogonal

SHAPES = {
    "embed.weight": (37, 12),
    "blocks.0.attention.norm.weight": (12,),
    "blocks.0.attention.qkv.weight": (24, 12),
    "blocks.0.attention.out.weight": (12, 12),
    "blocks.0.attention.value.weight": (37, 6),
    "blocks.0.mlp.up.weight": (31, 12),
    "blocks.0.mlp.up.bias": (31,),
    "blocks.0.mlp.down.weight": (12, 31),
    "blocks.0.residual_lambdas": (2,),
    "blocks.1.attention.out.weight": (12, 12),
    "norm.weight": (12,),
    "head.weight": (37, 12),
}
MATRICES = {name for name, shape in SHAPES.items() if len(shape) == 2}
HIDDEN = {name for name in MATRICES if name.startswith("blocks") and "value" not in name}
Tensors = dict[str, torch.Tensor]


def drawn(seed: int, dtype: torch.dtype = torch.float32, size: float = 1.0) -> Tensors:
    found = {}
    for name, shape in SHAPES.items():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed)
        found[name] = (torch.randn(shape, generator=generator, dtype=torch.float64) * size).to(dtype)
    return found


def clone(tensors: Tensors) -> Tensors:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def train(**keys: object) -> Train:
    return Train.model_validate({"learning_rate": 1e-2, **keys})


@pytest.mark.parametrize("rates", [{}, {"embed_lr": 3e-2, "head_lr": 1e-3, "scalar_lr": 2e-2}], ids=["one", "four"])
@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
def test_adamw_is_torchs(dtype: torch.dtype, bound: float, clip: float, rates: dict[str, float]) -> None:
    ours, theirs = drawn(0, dtype), drawn(0, torch.float64)
    optimizer = build(ours.items(), train(grad_clip=clip, weight_decay=0.3, betas=(0.8, 0.97), **rates))
    for tensor in theirs.values():
        tensor.requires_grad_()

    def rate(name: str) -> float:
        if name not in MATRICES:
            return rates.get("scalar_lr", 1e-2)
        if "embed" in name or "value" in name:
            return rates.get("embed_lr", 1e-2)
        return rates.get("head_lr", 1e-2) if name == "head.weight" else 1e-2

    peer = torch.optim.AdamW(
        [
            {"params": [tensor], "lr": rate(name), "weight_decay": 0.3 * 1e-2 / rate(name) if name in MATRICES else 0.0}
            for name, tensor in theirs.items()
        ],
        betas=(0.8, 0.97),
    )
    for step, lr in enumerate((1e-2, 2e-2, 5e-3, 0.0, 1e-2)):
        gradients = drawn(step + 1, dtype, size=0.1 * 3**step)
        for name, tensor in theirs.items():
            tensor.grad = gradients[name].double() * 0.5
        expected = torch.nn.utils.clip_grad_norm_(theirs.values(), clip or 1e9)
        for group, (name, _) in zip(peer.param_groups, theirs.items(), strict=True):
            group["lr"] = rate(name) * lr / 1e-2
        peer.step()
        norm = optimizer.step(lr, gradients, grad_scale=0.5)
        assert norm == pytest.approx(expected.item(), rel=bound * 10)
    for name, tensor in ours.items():
        difference = (tensor.double() - theirs[name].detach()).norm() / theirs[name].detach().norm()
        assert difference < bound, name


def test_who_asks_for_the_reference_gets_torchs_arithmetic_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLM_KERNELS", "reference")
    ours, theirs = drawn(0), drawn(0)
    optimizer = build(ours.items(), train(grad_clip=0.0, weight_decay=0.3))
    decayed = [tensor for name, tensor in theirs.items() if name in MATRICES]
    others = [tensor for name, tensor in theirs.items() if name not in MATRICES]
    groups = [{"params": decayed, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}]
    peer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), fused=True)
    for step in range(5):
        gradients = drawn(step + 1)
        for name, tensor in theirs.items():
            tensor.grad = gradients[name].clone()
        peer.step()
        optimizer.step(1e-2, gradients)
    assert all(torch.equal(ours[name], theirs[name]) for name in SHAPES)


def test_gradients_may_be_the_parameters_own() -> None:
    one, other = drawn(0), drawn(0)
    first, second = build(one.items(), train()), build(other.items(), train())
    for name, tensor in other.items():
        tensor.grad = drawn(1)[name]
    assert first.step(1e-2, drawn(1)) == second.step(1e-2)
    assert all(torch.equal(one[name], other[name]) for name in SHAPES)
    del other["norm.weight"].grad
    with pytest.raises(ValueError, match=r"norm.weight has no gradient"):
        second.step(1e-2)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_copies_are_the_rounded_masters_and_gradients_may_be_narrow(optimizer: str, dtype: torch.dtype) -> None:
    masters, wide = drawn(0), drawn(0)
    copies = {name: torch.zeros_like(tensor, dtype=dtype) for name, tensor in masters.items()}
    stepped = build(masters.items(), train(optimizer=optimizer), copies)
    plain = build(wide.items(), train(optimizer=optimizer))
    for step in range(3):
        gradients = drawn(step + 1, dtype)
        norm = stepped.step(1e-2, gradients)
        assert norm == pytest.approx(plain.step(1e-2, {name: g.float() for name, g in gradients.items()}), rel=1e-6)
    for name, master in masters.items():
        torch.testing.assert_close(master, wide[name], rtol=1e-5, atol=1e-6)
        assert torch.equal(copies[name], master.to(dtype)), name


def quintics(s: torch.Tensor) -> torch.Tensor:
    s = 8.3188 * s - 24.1077 * s**3 + 17.5208 * s**5
    s = 4.0340 * s - 2.9445 * s**3 + 0.5445 * s**5
    s = 3.5669 * s - 2.6202 * s**3 + 0.5088 * s**5
    return 2.4670 * s - 1.7990 * s**3 + 0.4087 * s**5


def test_the_quintics_bring_singular_values_near_one() -> None:
    """Values are a millionth apart and the slope nowhere above 1,000: what lies between two is 0.001 off at most."""
    values = torch.arange(0.0026, 1.01, 1e-6, dtype=torch.float64)
    found = quintics(values)
    assert 0.705 < found.min() and found.max() < 1.195
    assert (found.diff() / values.diff()).abs().max() < 1000
    below = quintics(torch.linspace(0, 0.0026, 1000, dtype=torch.float64))
    assert (below.diff() > 0).all()  # what is smaller grows, and stays smaller


def plain_muon(weight: torch.Tensor, gradients: list[torch.Tensor], lr: float, decay: float) -> torch.Tensor:
    """One matrix at a time, as the definition reads; the polar factor by the iteration's own polynomial of an SVD."""
    momentum = torch.zeros_like(weight)
    for step, gradient in enumerate(gradients, 1):
        beta = 0.85 + 0.1 * min(step / 300, 1)
        momentum = beta * momentum + (1 - beta) * gradient
        u, s, v = torch.linalg.svd(beta * momentum + (1 - beta) * gradient, full_matrices=False)
        s = quintics(s / (s.norm() + 1e-7))
        weight = weight * (1 - lr * decay) - lr * 0.2 * max(weight.shape) ** 0.5 * (u * s) @ v
    return weight


def test_muon_is_momentum_made_orthogonal_and_adamw_is_the_rest() -> None:
    ours, start = drawn(0, torch.float64), drawn(0, torch.float64)
    optimizer = build(ours.items(), train(optimizer="muon", grad_clip=0, weight_decay=0.2, embed_lr=5e-2))
    rest = {name: tensor.clone() for name, tensor in start.items() if name not in HIDDEN}
    adamw = build(rest.items(), train(grad_clip=0, weight_decay=0.2, embed_lr=5e-2))
    steps = [drawn(step + 1, torch.float64) for step in range(4)]
    for gradients in steps:
        optimizer.step(1e-2, gradients)
        adamw.step(1e-2, {name: gradients[name] for name in rest})
    for name in HIDDEN:
        rows = [12, 6, 6] if "qkv" in name else [SHAPES[name][0]]
        parts = [each[name].split(rows) for each in steps]
        expected = [
            plain_muon(weight, [part[number] for part in parts], 1e-2, 0.2)
            for number, weight in enumerate(start[name].split(rows))
        ]
        torch.testing.assert_close(ours[name], torch.cat(expected), rtol=1e-9, atol=1e-9)
    assert all(torch.equal(ours[name], rest[name]) for name in rest)


@pytest.mark.parametrize("shape", [(3, 40, 17), (2, 17, 40), (1, 32, 32)])
def test_the_iteration_makes_matrices_nearly_orthogonal(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 1e-3
    found = orthogonal(matrices).float()
    assert found.shape == shape
    singular = torch.linalg.svdvals(found)
    assert 0.6 < singular[..., :-2].min() and singular.max() < 1.25  # a value near zero may be on its way still
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    assert (found - u @ v).norm() < 0.3 * (u @ v).norm()


LARGER = {
    "blocks.0.attention.qkv.weight": (64, 32),
    "blocks.0.attention.out.weight": (96, 96),
    "blocks.0.mlp.up.weight": (176, 80),
    "blocks.0.mlp.down.weight": (80, 1040),
}


def larger(seed: int, dtype: torch.dtype = torch.float32) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in LARGER.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_matrices_that_caches_hold_take_the_same_steps(dtype: torch.dtype) -> None:
    """Sizes that C++ serves where the processor multiplies bf16; the bound is what bf16 leaves of four rounds."""
    start, ours = larger(0), larger(0)
    copies = {name: torch.zeros_like(tensor, dtype=torch.bfloat16) for name, tensor in ours.items()}
    optimizer = build(ours.items(), train(optimizer="muon", grad_clip=0, weight_decay=0.2), copies)
    steps = [larger(step + 1, dtype) for step in range(3)]
    for gradients in steps:
        optimizer.step(1e-2, gradients, grad_scale=0.5)
    for name in LARGER:
        rows = [32, 16, 16] if "qkv" in name else [LARGER[name][0]]
        parts = [each[name].double().split(rows) for each in steps]
        expected = torch.cat(
            [
                plain_muon(weight, [0.5 * part[number] for part in parts], 1e-2, 0.2)
                for number, weight in enumerate(start[name].double().split(rows))
            ]
        )
        away = (ours[name].double() - expected).norm() / (expected - start[name] * (1 - 2e-3) ** 3).norm()
        assert away < 0.03, name
        assert torch.equal(copies[name], ours[name].bfloat16()), name
        momentum = torch.zeros_like(start[name], dtype=torch.float64)
        for step, each in enumerate(steps, 1):
            momentum.lerp_(0.5 * each[name].double(), 0.15 - 0.1 * step / 300)
        torch.testing.assert_close(optimizer.state()[f"momentum.{name}"].double(), momentum, rtol=1e-5, atol=1e-6)


def test_muon_is_the_same_to_the_bit_on_any_number_of_threads() -> None:
    def work() -> Tensors:
        tensors = larger(0)
        optimizer = build(tensors.items(), train(optimizer="muon"))
        for step in range(2):
            optimizer.step(1e-2, larger(step + 1))
        return tensors

    one, two = with_threads(1, work), with_threads(2, work)
    assert all(torch.equal(one[name], two[name]) for name in LARGER)


def test_muons_updates_are_of_adamws_size_and_clipped_gradients_count() -> None:
    tensors = {"blocks.0.mlp.up.weight": torch.zeros(512, 128)}
    gradient = {"blocks.0.mlp.up.weight": torch.randn(512, 128, generator=torch.Generator().manual_seed(2))}
    norm = build(tensors.items(), train(optimizer="muon")).step(1.0, gradient)
    assert norm == pytest.approx(gradient["blocks.0.mlp.up.weight"].norm().item())
    assert 0.14 < tensors["blocks.0.mlp.up.weight"].square().mean().sqrt() < 0.24


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_changes_nothing(optimizer: str, dtype: torch.dtype, bad: float) -> None:
    tensors = drawn(0, dtype)
    stepped = build(tensors.items(), train(optimizer=optimizer))
    stepped.step(1e-2, drawn(1, dtype))
    before, state = clone(tensors), clone(stepped.state())
    gradients = drawn(2, dtype)
    gradients["norm.weight"][3] = bad
    assert not torch.isfinite(torch.tensor(stepped.step(1e-2, gradients)))
    assert all(torch.equal(before[name], tensors[name]) for name in SHAPES)
    assert all(torch.equal(state[name], tensor) for name, tensor in stepped.state().items())


@pytest.mark.parametrize("keys", [{}, {"optimizer": "muon"}, {"embed_lr": 0.1}], ids=str)
def test_a_restored_optimizer_goes_on_to_the_bit(keys: dict[str, object]) -> None:
    whole, first = drawn(0), drawn(0)
    straight, begun = build(whole.items(), train(**keys)), build(first.items(), train(**keys))
    for step in range(6):
        straight.step(1e-2, drawn(step))
    for step in range(3):
        begun.step(1e-2, drawn(step))
    resumed = clone(first)
    restored = build(reversed(list(resumed.items())), train(**keys))
    restored.load(clone(begun.state()))
    for step in range(3, 6):
        restored.step(1e-2, drawn(step))
    assert all(torch.equal(whole[name], resumed[name]) for name in SHAPES)
    assert all(torch.equal(tensor, restored.state()[name]) for name, tensor in straight.state().items())


def with_threads(count: int, work: Callable[[], Tensors]) -> Tensors:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return work()
    finally:
        torch.set_num_threads(before)


def test_adamw_is_the_same_to_the_bit_on_any_number_of_threads() -> None:
    def work() -> Tensors:
        tensors = {"embed.weight": torch.linspace(-1, 1, 300_000).view(1000, 300)}
        optimizer = build(tensors.items(), train())
        for _ in range(3):
            optimizer.step(1e-2, {"embed.weight": tensors["embed.weight"].sin()})
        return tensors

    assert torch.equal(with_threads(1, work)["embed.weight"], with_threads(2, work)["embed.weight"])


def test_a_state_that_does_not_fit_is_refused() -> None:
    adamw, muon = build(drawn(0).items(), train()), build(drawn(0).items(), train(optimizer="muon"))
    with pytest.raises(CheckpointError, match="the optimizer's state does not fit: .*qkv.weight is missing") as caught:
        muon.load({name: state for name, state in muon.state().items() if "qkv" not in name})
    assert "start from its weights with init_from=" in str(caught.value.hint)
    with pytest.raises(CheckpointError, match=r"first.blocks.0.attention.out.weight is not of this optimizer"):
        muon.load(adamw.state())
    state = {**adamw.state(), "first.norm.weight": torch.zeros(5)}
    with pytest.raises(CheckpointError, match=r"first.norm.weight is of shape \[5\], not \[12\]"):
        adamw.load(state)
    with pytest.raises(CheckpointError, match="zz is not of this optimizer"):
        adamw.load({**adamw.state(), "zz": torch.zeros(5)})
