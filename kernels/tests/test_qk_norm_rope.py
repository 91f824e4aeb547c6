from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import proof
import pytest
import torch
from proof import dtypes, random

from pylm_kernels import Rope, qk_norm_rope

MODULE = "pylm_kernels.ops.qk_norm_rope.triton"
LAYOUTS = ["half", "interleaved"]


def apart(width: int, dtype: torch.dtype = torch.float32, norm: bool = True, time: int = 19) -> proof.Tensors:
    made = {"q": random(2, time, 4, width, dtype=dtype), "k": random(2, time, 2, width, dtype=dtype)}
    if norm:
        made |= {"q_weight": random(width, dtype=dtype), "k_weight": random(width, dtype=dtype)}
    return made


def small() -> None:
    """The check that mutations must turn red."""
    proof.prove(functools.partial(qk_norm_rope, rope=Rope(24, dims=12)), apart(24), strided=True)
    rope = Rope(12, layout="interleaved").at(torch.randint(0, 90, (2, 19)), offset=3)
    packed = functools.partial(qk_norm_rope, rope=rope, n_heads=4, n_kv_heads=2)
    proof.prove(packed, {"q": random(2, 19, 8 * 12), "q_weight": random(12), "k_weight": random(12)})


@dtypes
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("width", "dims"), [(16, 16), (24, 12), (80, 80)])
def test_values_and_gradients(dtype: torch.dtype, layout: str, width: int, dims: int) -> None:
    rope = Rope(width, dims=dims, layout=layout, max_positions=64)
    for norm in (False, True):
        proof.prove(functools.partial(qk_norm_rope, rope=rope, eps=1e-3), apart(width, dtype, norm), strided=True)


@dtypes
def test_packed_with_positions(dtype: torch.dtype) -> None:
    for positions in (torch.randint(0, 50, (2, 19)), torch.randint(0, 50, (19,))):
        rope = Rope(16).at(positions.to(proof.DEVICE), offset=2)
        packed = functools.partial(qk_norm_rope, rope=rope, n_heads=4, n_kv_heads=2)
        proof.prove(packed, {"q": random(2, 19, 8 * 16, dtype=dtype)})


def test_documents_restart_positions() -> None:
    tensors = apart(16, norm=False, time=10)
    cu = torch.tensor([0, 4, 4, 15, 20], device=proof.DEVICE)
    q, k = qk_norm_rope(**tensors, rope=Rope(16), cu_seqlens=cu, backend="triton")
    positions = torch.tensor([[*range(4), *range(6)], [*range(5), *range(5)]], device=proof.DEVICE)
    q_exact, k_exact = qk_norm_rope(**tensors, rope=Rope(16).at(positions), backend="reference")
    assert proof.error(q, q_exact) < 1e-6 and proof.error(k, k_exact) < 1e-6


LENGTHS = torch.tensor([3, 0], device=proof.DEVICE)
KEPT: dict[str, dict[str, Any]] = {
    "apart": {"rope": Rope(16)},
    "packed, interleaved half, norm": {"rope": Rope(16, dims=8, layout="interleaved"), "packed": True, "norm": True},
    "at positions": {"rope": Rope(16).at(torch.randint(0, 50, (2, 19)).to(proof.DEVICE), offset=2)},
    "norm, offset": {"rope": Rope(16).at(offset=5), "norm": True},
}


def keeping(case: str, backend: str, dtype: torch.dtype, strided: bool = True) -> list[torch.Tensor]:
    """q, k and both caches after a call that writes them; what is never written is not a number."""
    torch.manual_seed(5)
    settings = dict(KEPT[case])
    heads = {"q": random(2, 19, 8, 16, dtype=dtype)}
    if settings.pop("packed", False):
        settings |= {"n_heads": 4, "n_kv_heads": 2}
    else:
        heads |= {name: random(2, 19, 2, 16, dtype=dtype) for name in ("k", "v")}
    if settings.pop("norm", False):
        settings |= {"q_weight": random(16), "k_weight": random(16)}
    kept = [torch.full((2, 2, 24, 16), float("nan"), dtype=dtype, device=proof.DEVICE).transpose(1, 2) for _ in "kv"]
    if backend == "reference":
        kept, heads = [x.double() for x in kept], {name: x.double() for name, x in heads.items()}
    elif strided:
        heads = {name: proof.spread(x) for name, x in heads.items()}
    held = {"k_cache": kept[0], "v_cache": kept[1], "lengths": LENGTHS}
    return [*qk_norm_rope(**heads, **held, **settings, backend=backend), *kept]


def keeps(case: str, dtype: torch.dtype = torch.float32) -> None:
    for ours, exact in zip(keeping(case, "triton", dtype), keeping(case, "reference", dtype), strict=True):
        assert torch.equal(ours.isnan(), exact.isnan()), "a cache changed where it must not"
        wrong = proof.error(ours.nan_to_num(), exact.nan_to_num())
        assert wrong <= proof.BOUNDS[dtype], f"past {proof.BOUNDS[dtype]}: {wrong}"


@dtypes
@pytest.mark.parametrize("case", KEPT)
def test_the_cache_is_written(case: str, dtype: torch.dtype) -> None:
    keeps(case, dtype)


def test_what_the_cache_holds() -> None:
    q, k, k_cache, v_cache = keeping("apart", "reference", torch.float32)
    for row, length in enumerate(LENGTHS.tolist()):
        torch.manual_seed(5)
        plain = {"q": random(2, 19, 8, 16), "k": random(2, 19, 2, 16)}
        exact = qk_norm_rope(**plain, rope=Rope(16).at(offset=length), backend="reference")
        assert proof.error(q[row], exact[0][row]) < 1e-6
        assert torch.equal(k_cache[row, length : length + 19], k[row])
        assert torch.equal(v_cache[row, length : length + 19], random(2, 19, 2, 16)[row].double())
        assert k_cache[row, :length].isnan().all() and k_cache[row, length + 19 :].isnan().all()


@pytest.mark.parametrize(
    "mutation",
    [
        ("to = row % T + tl.load", "to = row % T + 1 + tl.load"),
        ("to * kc_s.t", "to * (kc_s.t // 2)"),
        ("tl.store(kc + tail[None, :], z.to", "tl.store(kc + tail[None, :], (z * 2).to"),
        ("(row % T) * v_s.t", "(row % T) * D"),
        ("position += tl.load(LENGTHS", "position += 0 * tl.load(LENGTHS"),
    ],
    ids=["off by one", "stride", "tail", "stride of v", "position"],
)
def test_a_broken_cache_is_seen(mutation: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def small() -> None:
        keeps("apart")
        keeps("packed, interleaved half, norm")

    proof.is_caught(mutation, MODULE, small, monkeypatch, tmp_path)


def test_opcheck_and_compile_with_a_cache() -> None:
    cos, sin = Rope(8).tables(torch.device(proof.DEVICE))
    cache = (random(2, 9, 1, 8), random(2, 9, 1, 8), LENGTHS)
    torch.library.opcheck(
        torch.ops.pylm_kernels.qk_norm_rope_cached.default,
        (random(2, 5, 4, 8), None, None, 2, 1, *cache, cos, sin, None, None, None, 1e-5, False, 0, 9, "triton"),
    )
    torch._dynamo.reset()
    rope = Rope(8, device=proof.DEVICE)
    given = {name: random(2, 5, 1, 8) for name in "qkv"}
    eager, ours = ({name: random(2, 9, 1, 8).zero_() for name in ("k_cache", "v_cache")} for _ in range(2))
    call = torch.compile(
        lambda **held: qk_norm_rope(**held, lengths=LENGTHS, rope=rope, backend="triton"),
        fullgraph=True,
        backend="aot_eager",
    )
    exact, found = qk_norm_rope(**given, **eager, lengths=LENGTHS, rope=rope), call(**given, **ours)
    for mine, right in zip((*found, *ours.values()), (*exact, *eager.values()), strict=True):
        assert proof.error(mine, right) < 1e-6


@pytest.mark.parametrize(
    ("theta", "scaling"),
    [
        (500000.0, {"type": "llama3", "factor": 8.0, "original_max_positions": 64, "low_freq_factor": 1.0}),
        (10000.0, {"type": "yarn", "factor": 4.0, "original_max_positions": 64}),
        (10000.0, {"type": "linear", "factor": 2.0}),
    ],
    ids=["llama3", "yarn", "linear"],
)
def test_angles_are_those_of_transformers(theta: float, scaling: dict[str, Any]) -> None:
    rotary = pytest.importorskip("transformers.models.llama.modeling_llama")
    settings = dict(scaling)
    kind = settings.pop("type")
    original = settings.pop("original_max_positions", None)
    parameters = {"rope_type": kind, "rope_theta": theta, **settings}
    if original:
        parameters["original_max_position_embeddings"] = original
    if kind == "llama3":
        parameters["high_freq_factor"] = 4.0
    config = rotary.LlamaConfig(
        hidden_size=64, num_attention_heads=2, max_position_embeddings=256, rope_parameters=parameters
    )
    x = torch.randn(1, 100, 2, 32)
    cos, sin = rotary.LlamaRotaryEmbedding(config)(x, torch.arange(100)[None])
    theirs, _ = rotary.apply_rotary_pos_emb(x, x, cos, sin, unsqueeze_dim=2)
    ours, _ = qk_norm_rope(x, x, rope=Rope(32, theta=theta, scaling=scaling), backend="reference")
    assert proof.error(ours, theirs) < 1e-5


def test_ntk_stretches_the_base() -> None:
    stretched = 10000.0 * 4.0 ** (16 / 14)
    assert torch.equal(Rope(16, scaling={"type": "ntk", "factor": 4}).tables(torch.device("cpu"))[0],
                       Rope(16, theta=stretched).tables(torch.device("cpu"))[0])  # fmt: skip


def test_rotation_by_complex_numbers() -> None:
    x = random(1, 30, 2, 8).cpu()
    ours, _ = qk_norm_rope(x, x, rope=Rope(8, layout="interleaved"), backend="reference")
    angles = torch.arange(30.0)[:, None] * 10000.0 ** (-torch.arange(0, 8, 2) / 8)
    turned = torch.view_as_complex(x.unflatten(-1, (4, 2))) * torch.polar(torch.ones(30, 4), angles)[None, :, None]
    assert proof.error(ours, torch.view_as_real(turned).flatten(-2)) < 1e-6


@pytest.mark.parametrize(
    "mutation",
    [
        ("(a * c - b * s)", "(a * c + b * s)"),
        ("position += offset", "position += 0"),
        ("(row % T) * q_s.t", "(row % T) * D"),
        ("square += tl.sum(z * z, 1)", "square += 0"),
        ("da = ga * c + gb * s", "da = ga * c - gb * s"),
        ("dot += tl.sum(dz * z, 1)", "dot += 0"),
        ("tl.sum(db * b, 0)", "tl.sum(db * a, 0)"),
        ("dv_part.zero_()", "pass"),
    ],
    ids=["sign", "offset", "stride", "tail", "conjugate", "tail's dot", "dweight", "packed v"],
)
def test_a_broken_kernel_is_seen(mutation: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch, "empty", lambda *a, **k: torch.full(*a, 7.0, **k))  # what is not written must show
    small()
    proof.is_caught(mutation, MODULE, small, monkeypatch, tmp_path)


def test_double_precision_checks() -> None:
    tensors = {"q": random(1, 2, 1, 6), "k": random(1, 2, 1, 6), "q_weight": random(6), "k_weight": random(6)}
    proof.differentiates(functools.partial(qk_norm_rope, rope=Rope(6, dims=4)), tensors)


def test_opcheck() -> None:
    cos, sin = Rope(8).tables(torch.device(proof.DEVICE))
    packed, weight = random(1, 5, 4, 8).requires_grad_(), random(8).requires_grad_()
    torch.library.opcheck(
        torch.ops.pylm_kernels.qk_norm_rope.default,
        (packed, None, None, 2, 1, cos, sin, None, weight, weight.detach().clone(), 1e-5, False, 0, "triton"),
    )


def test_compile() -> None:
    proof.compiles(functools.partial(qk_norm_rope, rope=Rope(16, device=proof.DEVICE)), apart(16))


def test_autocast_leaves_the_dtype() -> None:
    tensors = apart(16, torch.bfloat16) | {"q_weight": random(16), "k_weight": random(16)}
    with torch.autocast(proof.DEVICE, dtype=torch.bfloat16):
        proof.prove(functools.partial(qk_norm_rope, rope=Rope(16)), tensors)


def test_checkpointing_and_determinism() -> None:
    proof.survives_checkpointing(functools.partial(qk_norm_rope, rope=Rope(16)), apart(16))
    proof.deterministic(functools.partial(qk_norm_rope, rope=Rope(16)), apart(16))


def test_empty() -> None:
    q, k = qk_norm_rope(random(0, 5, 4, 8), random(0, 5, 2, 8), rope=Rope(8), backend="triton")
    assert q.shape == (0, 5, 4, 8) and k.shape == (0, 5, 2, 8)


CACHE: dict[str, Any] = {name: random(2, 9, 2, 8) for name in ("k_cache", "v_cache")}
CACHE |= {"lengths": torch.tensor([3, 0]), "v": random(2, 5, 2, 8)}
BAD: dict[str, dict[str, Any]] = {
    "n_heads: is needed": {"k": None},
    "n_kv_heads: 3 does not divide n_heads 4": {"k": None, "n_heads": 4, "n_kv_heads": 3},
    r"q: shape \(2, 5, 4, 8\) does not hold 12": {"k": None, "n_heads": 4},
    "k: 3 heads do not divide": {"k": random(2, 5, 3, 8)},
    "k: has 3 dimensions": {"k": random(2, 5, 16)},
    "k: dtype": {"k": random(2, 5, 2, 8, dtype=torch.float16)},
    "k: batch and head_dim": {"k": random(1, 5, 2, 8)},
    "q: dtype": {"q": torch.ones(2, 5, 4, 8, dtype=torch.int32)},
    "n_heads: 5 contradicts": {"n_heads": 5},
    "q_weight, k_weight: give both": {"q_weight": random(8)},
    "k_weight: shape": {"q_weight": random(8), "k_weight": random(9)},
    "rope: was built for head_dim 16": {"rope": Rope(16)},
    "rope: 5 positions from 0 on leave": {"rope": Rope(8, max_positions=4)},
    "rope: its positions are not": {"rope": Rope(8).at(torch.arange(4))},
    "v: is only written to a cache": {"v": random(2, 5, 2, 8)},
    "v_cache: is missing": {"k_cache": random(2, 9, 2, 8)},
    "v: is missing; it is written": {**CACHE, "v": None},
    "lengths: row 0 has 5 positions and gets 5; the cache holds 9": {**CACHE, "lengths": torch.tensor([5, 0])},
    "cu_seqlens: a cache holds": {"cu_seqlens": torch.tensor([0, 10]), **CACHE},
    "k_cache: shape": {**CACHE, "k_cache": random(2, 9, 1, 8)},
    "k: requires a gradient": {"k": random(2, 5, 2, 8).requires_grad_(), **CACHE},
    "cu_seqlens: must be a vector": {"cu_seqlens": torch.ones(3)},
    "cu_seqlens: runs from 0 to 11": {"cu_seqlens": torch.tensor([0, 11])},
    "cu_seqlens: decreases from 7 to 3 at entry 2": {"cu_seqlens": torch.tensor([0, 7, 3, 10])},
}


@pytest.mark.parametrize("complaint", BAD)
def test_bad_input(complaint: str) -> None:
    given: dict[str, Any] = {"q": random(2, 5, 4, 8), "k": random(2, 5, 2, 8), "rope": Rope(8), **BAD[complaint]}
    given = {name: x.to(proof.DEVICE) if isinstance(x, torch.Tensor) else x for name, x in given.items()}
    proof.refuses(qk_norm_rope, given, complaint)


@pytest.mark.parametrize(
    ("complaint", "settings"),
    [
        ("layout: 'neox'", {"layout": "neox"}),
        ("dims: 5 must be even", {"dims": 5}),
        ("scaling: type 'x'", {"scaling": {"type": "x", "factor": 2}}),
        ("scaling: linear knows no beta", {"scaling": {"type": "linear", "factor": 2, "beta": 1}}),
        ("scaling: yarn needs original", {"scaling": {"type": "yarn", "factor": 2}}),
        ("scaling: factor 0.5", {"scaling": {"type": "linear", "factor": 0.5}}),
        ("tables: shapes", {"tables": (torch.ones(4, 3), torch.ones(4, 3))}),
    ],
)
def test_bad_rope(complaint: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{complaint}"):
        Rope(8, **settings)


def test_bad_positions() -> None:
    for positions, complaint in [
        (torch.tensor([0, 99]), "positions: 0 to 99"),
        (torch.tensor([-1, 0]), "positions: -1"),
        (torch.ones(2), "positions: must be integers"),
    ]:
        with pytest.raises(ValueError, match=f"^{complaint}"):
            Rope(8, max_positions=64).at(positions)
