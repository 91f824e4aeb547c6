"""qk_norm_rope for MLX: plain, and its Metal kernels, from their source on the processor or on an Apple GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

mx = pytest.importorskip("mlx.core")
from metal.proof import Tensors, broken, dtypes, prove, to_mlx  # noqa: E402
from metal.shim import MetalError, Shim  # noqa: E402

import pylm_kernels  # noqa: E402
import pylm_kernels.mlx as ours  # noqa: E402 (after the question whether mlx is there)
from pylm_kernels.ops.qk_norm_rope import metal as kernels  # noqa: E402


def inputs(dtype: torch.dtype, width: int, *, packed: bool, norm: bool, time: int = 19) -> Tensors:
    made = {"q": torch.randn(2, time, 8 * width if packed else 4 * width).to(dtype)}
    if not packed:
        made["q"] = made["q"].view(2, time, 4, width)
        made["k"] = torch.randn(2, time, 2, width).to(dtype)
    if norm:
        made |= {"q_weight": torch.randn(width).to(dtype), "k_weight": torch.randn(width).to(dtype)}
    return made


def agree(tensors: Tensors, at: tuple[Any, int] | None = None, documents: Any = None, **rope: Any) -> None:
    packed = "k" not in tensors
    width = tensors["q"].shape[-1] // 8 if packed else tensors["q"].shape[-1]
    heads = {"n_heads": 4, "n_kv_heads": 2} if packed else {}
    theirs, mine = pylm_kernels.Rope(width, **rope), ours.Rope(width, **rope)
    if at:
        positions, offset = at
        theirs = theirs.at(positions, offset=offset)
        mine = mine.at(None if positions is None else to_mlx(positions), offset=offset)
    cu = None if documents is None else torch.tensor(documents)
    prove(
        lambda **given: ours.qk_norm_rope(
            **given, rope=mine, **heads, cu_seqlens=None if cu is None else to_mlx(cu), eps=1e-3
        ),
        lambda **given: pylm_kernels.qk_norm_rope(
            **given, rope=theirs, **heads, cu_seqlens=cu, eps=1e-3, backend="reference"
        ),
        tensors,
    )


@dtypes
@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_packed_and_normalised(metal: Shim | None, dtype: torch.dtype, layout: str) -> None:
    agree(inputs(dtype, 24, packed=True, norm=True), layout=layout, dims=12)
    if metal:
        assert len(metal.launched) == 2, "one launch forward, one backward"


@pytest.mark.parametrize("packed", [False, True])
def test_rotation_alone(metal: Shim | None, packed: bool) -> None:
    agree(inputs(torch.float32, 80, packed=packed, norm=False), at=(None, 5))


def test_apart_with_positions_of_their_own(metal: Shim | None) -> None:
    agree(inputs(torch.float32, 130, packed=False, norm=True), at=(torch.randint(0, 90, (2, 19)), 3), dims=70)


def test_documents(metal: Shim | None) -> None:
    agree(inputs(torch.float32, 6, packed=True, norm=True), documents=[0, 7, 7, 25, 38])


@dtypes
def test_plain_mlx(dtype: torch.dtype) -> None:
    agree(inputs(dtype, 24, packed=True, norm=True), layout="interleaved", dims=12, documents=[0, 7, 7, 25, 38])
    agree(inputs(dtype, 24, packed=False, norm=False), at=(torch.randint(0, 90, (19,)), 3))


@pytest.mark.parametrize(
    "scaling",
    [
        {"type": "llama3", "factor": 8.0, "original_max_positions": 64, "low_freq_factor": 1, "high_freq_factor": 4},
        {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        {"type": "ntk", "factor": 4.0},
        {"rope_type": "linear", "factor": 2.0},
    ],
    ids=["llama3", "yarn", "ntk", "linear"],
)
def test_angles_are_those_of_the_torch_tables(scaling: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"dims": 20, "theta": 5e4, "scaling": scaling, "max_positions": 300}
    cos, sin = pylm_kernels.Rope(32, **settings).tables(torch.device("cpu"))
    mine = ours.Rope(32, **settings)
    for table, exact in ((mine.cos, cos), (mine.sin, sin)):
        assert abs(torch.tensor(table.tolist()) - exact).max() <= 1.2e-7


def test_a_position_outside_the_tables_gives_zeros(metal: Shim | None) -> None:
    q, rope = mx.ones((1, 2, 1, 8)), ours.Rope(8, max_positions=4).at(mx.array([3, 4]))
    out, _ = ours.qk_norm_rope(q, q, rope=rope)
    assert mx.abs(out[0, 0]).min().item() > 0 and mx.abs(out[0, 1]).max().item() == 0


MUTATIONS = {
    "forward: a pair too many": ("FORWARD", "p < HALF", "p <= HALF", "race|outside"),
    "forward: a pair too few": ("FORWARD", "p < HALF", "p + 1 < HALF", "unwritten"),
    "forward: turned the other way": ("FORWARD", "STORE(j, b * c + a * s)", "STORE(j, b * c - a * s)", "past"),
    "forward: the head of another": ("FORWARD", "head - H", "(head + 1) % KV", "race|past"),
    "forward: positions of another row": ("FORWARD", "token % time);", "(token + 1) % time);", "past"),
    "backward: turned the other way": ("BACKWARD", "GRADIENT(i) * c + GRADIENT(j) * s", "GRADIENT(i) * c", "past"),
    "backward: no mean": ("BACKWARD", "LOAD(j) * mean", "LOAD(j) * 0.0f", "past"),
    "backward: the rest has no weight": ("BACKWARD", "rest * WEIGHT(i)", "rest", "past"),
    "backward: v is left": ("BACKWARD", "if (!is_q)\n            for", "if (false)\n            for", "unwritten"),
    "backward: rows twice": ("BACKWARD", "number += others", "number += others - 1", "race"),
    "backward: a share lost": ("BACKWARD", "second_share[n] +=", "second_share[n] =", "past"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_broken_on_purpose(mutation: str, shim: Shim, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, old, new, complaint = MUTATIONS[mutation]
    shim.schedules = (2,)
    broken(monkeypatch, kernels, kernel, old, new)
    monkeypatch.setattr(kernels, "TEAMS", 12)
    with pytest.raises((MetalError, AssertionError), match=complaint):
        agree(inputs(torch.float32, 24, packed=True, norm=True), dims=12)


Q, K, ROPE = mx.ones((2, 3, 4, 8)), mx.ones((2, 3, 2, 8)), ours.Rope(8, max_positions=16)
BAD: dict[str, Any] = {
    "q: is a builtins.int": lambda: ours.qk_norm_rope(1, rope=ROPE),
    "q: dtype mlx.core.int32": lambda: ours.qk_norm_rope(Q.astype(mx.int32), K, rope=ROPE),
    "n_heads: is needed": lambda: ours.qk_norm_rope(Q, rope=ROPE),
    "n_kv_heads: 3 does not divide": lambda: ours.qk_norm_rope(Q, rope=ROPE, n_heads=4, n_kv_heads=3),
    r"q: shape \(2, 3, 4, 8\) does not hold 8": lambda: ours.qk_norm_rope(Q, rope=ROPE, n_heads=4, n_kv_heads=2),
    "k: has 3 dim": lambda: ours.qk_norm_rope(Q, K[0], rope=ROPE),
    "k: dtype": lambda: ours.qk_norm_rope(Q, K.astype(mx.float16), rope=ROPE),
    "k: batch and head_dim 2, 7": lambda: ours.qk_norm_rope(Q, K[..., :7], rope=ROPE),
    "k: 3 heads do not divide": lambda: ours.qk_norm_rope(Q, Q[:, :, :3], rope=ROPE),
    "n_heads: 5 contradicts": lambda: ours.qk_norm_rope(Q, K, rope=ROPE, n_heads=5),
    "rope: was built for head_dim 8": lambda: ours.qk_norm_rope(Q[..., :6], K[..., :6], rope=ROPE),
    "rope: 3 positions from 14": lambda: ours.qk_norm_rope(Q, K, rope=ROPE.at(offset=14)),
    "rope: its positions": lambda: ours.qk_norm_rope(Q, K, rope=ROPE.at(mx.array([1, 2]))),
    "rope: q has 3 positions and k 2": lambda: ours.qk_norm_rope(Q, K[:, :2], rope=ROPE),
    "q_weight, k_weight: give both": lambda: ours.qk_norm_rope(Q, K, rope=ROPE, q_weight=mx.ones((8,))),
    r"k_weight: shape \(7,\)": lambda: ours.qk_norm_rope(
        Q, K, rope=ROPE, q_weight=mx.ones((8,)), k_weight=mx.ones((7,))
    ),
    "cu_seqlens: must be": lambda: ours.qk_norm_rope(Q, K, rope=ROPE, cu_seqlens=mx.array([6])),
    "cu_seqlens: runs from 0 to 5": lambda: ours.qk_norm_rope(Q, K, rope=ROPE, cu_seqlens=mx.array([0, 5])),
    "cu_seqlens: decreases from 4 to 3": lambda: ours.qk_norm_rope(Q, K, rope=ROPE, cu_seqlens=mx.array([0, 4, 3, 6])),
    "layout: 'x'": lambda: ours.Rope(8, layout="x"),
    "dims: 7": lambda: ours.Rope(8, dims=7),
    "tables: shapes": lambda: ours.Rope(8, tables=(mx.ones((4, 3)), mx.ones((4, 3)))),
    "scaling: linear needs factor": lambda: ours.Rope(8, scaling={"type": "linear"}),
    "offset: -1": lambda: ROPE.at(offset=-1),
    "positions: dtype": lambda: ROPE.at(mx.ones((3,))),
    "positions: must be an": lambda: ROPE.at([1]),
}


@pytest.mark.parametrize("complaint", BAD)
def test_bad_input(complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{complaint}"):
        BAD[complaint]()
