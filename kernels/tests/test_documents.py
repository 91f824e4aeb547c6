"""Documents: what they mean; nothing of an earlier batch is remembered; layers never recompile for them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import proof
import pytest
import torch
from proof import random
from torch._dynamo.utils import counters
from torch._subclasses.fake_tensor import FakeTensorMode

from pylm_kernels import Documents, Rope, qk_norm_rope, rope_attention
from pylm_kernels.operands.documents import search

BACKENDS = ["reference", "sdpa", "triton"]
FIRST, SECOND = [0, 3, 9, 20], [0, 11, 14, 20]  # two rows of 10


def plain(q: torch.Tensor, edges: list[int]) -> torch.Tensor:
    """torch's own attention of [2, 10, 3 heads of q, k and v, 16], each document by itself."""
    flat = q.flatten(0, 1)
    out = torch.zeros(20, 1, 16, dtype=q.dtype, device=q.device)
    for left, right in zip(sorted({*edges, 10}), sorted({*edges, 10})[1:], strict=False):
        parts = (flat[left:right, n : n + 1].transpose(0, 1)[None] for n in range(3))
        out[left:right] = torch.nn.functional.scaled_dot_product_attention(*parts, is_causal=True)[0].transpose(0, 1)
    return out.view(2, 10, 1, 16)


def by_numpy(cu: torch.Tensor, edges: list[int]) -> None:
    cu.numpy()[:] = edges


def by_data(cu: torch.Tensor, edges: list[int]) -> None:
    cu.data.copy_(torch.tensor(edges))


def by_dlpack(cu: torch.Tensor, edges: list[int]) -> None:
    torch.from_dlpack(cu.detach()).copy_(torch.tensor(edges))


def by_address(cu: torch.Tensor, edges: list[int]) -> None:
    other = torch.tensor(edges)
    ctypes.memmove(cu.data_ptr(), other.data_ptr(), 8 * len(edges))


@pytest.mark.skipif(proof.DEVICE != "cpu", reason="this memory is refilled by the CPU")
@pytest.mark.parametrize("refill", [by_numpy, by_data, by_dlpack, by_address])
@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_that_is_refilled_gives_the_documents_in_it(backend: str, refill: Callable[..., None]) -> None:
    cu, q = torch.tensor(FIRST), random(2, 10, 3, 16)
    for edges in (FIRST, SECOND):
        refill(cu, edges)
        ours = rope_attention(q, n_heads=1, cu_seqlens=cu, backend=backend)
        assert proof.error(ours, plain(q, edges)) < 1e-6
        turned = qk_norm_rope(q, rope=Rope(16), n_heads=1, cu_seqlens=cu, backend="reference")[0]
        ends = sorted({*edges, 10})
        apart = [q.flatten(0, 1)[None, left:right] for left, right in zip(ends, ends[1:], strict=False)]
        alone = [qk_norm_rope(x, rope=Rope(16), n_heads=1, backend="reference")[0] for x in apart]
        assert torch.equal(turned.flatten(0, 1), torch.cat(alone, 1)[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_documents_found_once_are_those_found_each_time(backend: str) -> None:
    cu, q = torch.tensor(SECOND, device=proof.DEVICE), random(2, 10, 3, 16)
    once = Documents.of(cu, 2, 10)
    for rope in (None, Rope(16)):
        each = [rope_attention(q, n_heads=1, rope=rope, cu_seqlens=given, backend=backend) for given in (cu, once)]
        assert torch.equal(*each)
    assert Documents.of(once, 2, 10) is once
    assert once.starts.tolist() == [[0] * 10, [0] + [1] * 3 + [4] * 6]
    assert once.ends.tolist() == [[10] * 10, [1] + [4] * 3 + [10] * 6]


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_validation_makes_serves_the_training_after_it(backend: str) -> None:
    with torch.inference_mode():
        cu = torch.tensor(SECOND, device=proof.DEVICE)
        documents, rope = Documents.of(cu, 2, 10), Rope(16)
        late = rope.at(torch.arange(10, device=proof.DEVICE, dtype=torch.int32))
        rope_attention(random(2, 10, 3, 16), n_heads=1, rope=rope, cu_seqlens=cu, backend=backend)
    for one, given in ((rope, cu), (rope, documents), (late, None)):
        q = random(2, 10, 3, 16).requires_grad_()
        rope_attention(q, n_heads=1, rope=one, cu_seqlens=given, backend=backend).sum().backward()
        assert q.grad is not None and q.grad.isfinite().all()


def test_the_search_reads_no_number_and_stays_in_its_row() -> None:
    with FakeTensorMode():  # refuses to give a number, as a CUDA graph that is being captured does
        found = Documents.of(torch.empty(5, dtype=torch.int64, device=proof.DEVICE), 2, 10)
        assert found.starts.shape == (2, 10)
    for wrong in ([5, -3, 99], [7, 7], [0, 30, 4, 20], [-9, -2]):  # as a graph's replay may be handed
        for bound in search(torch.tensor(wrong), 2, 10):
            assert bound.min() >= 0 and bound.max() <= 10


BAD: dict[str, Callable[[], Any]] = {
    "cu_seqlens: these Documents are not int32 of shape \\(2, 5\\)": lambda: Documents.of(torch.tensor([0, 5]), 1, 5),
    "cu_seqlens: is a list, neither": lambda: [0, 10],
    "cu_seqlens: must be a vector": lambda: torch.tensor([0.0, 10.0]),
    "cu_seqlens: is on meta": lambda: Documents.of(torch.ones(3, dtype=torch.int64, device="meta"), 2, 5),
    "cu_seqlens: runs from 0 to 9": lambda: torch.tensor([0, 9], device=proof.DEVICE),
}


@pytest.mark.parametrize("complaint", BAD)
def test_documents_that_do_not_fit(complaint: str) -> None:
    proof.refuses(rope_attention, {"q": random(2, 5, 3, 16), "n_heads": 1, "cu_seqlens": BAD[complaint]()}, complaint)


@pytest.mark.parametrize("backend", ["sdpa", "reference"])
def test_a_compiled_layer_has_one_graph_for_any_number_of_documents(backend: str) -> None:
    torch._dynamo.reset()
    counters.clear()
    rope = Rope(16, device=proof.DEVICE)

    def layer(q: torch.Tensor, documents: Documents) -> torch.Tensor:
        return rope_attention(q, n_heads=1, rope=rope, cu_seqlens=documents, backend=backend)

    compiled = torch.compile(layer, dynamic=False, fullgraph=True, backend="aot_eager")
    q = random(2, 10, 3, 16)
    for count in range(10):
        cu = torch.tensor([0, *range(1, count + 1), 20], device=proof.DEVICE)
        documents = Documents.of(cu, 2, 10)
        assert proof.error(compiled(q, documents), layer(q, documents)) < 1e-6
    assert counters["stats"]["unique_graphs"] == 1
