"""What is learned of examples does not depend on how they are laid out: packed, one by one, in passes of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pylm.config.schema import Model, Train
from pylm.config.shape import complete
from pylm.training.backend import IGNORED, MicroBatch, cut

VOCABULARY, CONTEXT = 97, 64
Example = tuple[np.ndarray, int]  # ids, and how many of them are the prompt

KINDS = ["torch", "torch reference", "mlx"]


def examples(count: int = 24) -> list[Example]:
    chance = np.random.default_rng(8)
    lengths = chance.integers(3, 40, count)
    return [(chance.integers(1, VOCABULARY, length), int(chance.integers(1, length))) for length in lengths]


def pair(example: Example) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets: the definition of what counts, by position."""
    ids, prompt = example
    targets = ids[1:].copy()
    targets[: prompt - 1] = IGNORED
    return ids[:-1], targets


def one_by_one(found: list[Example]) -> list[MicroBatch]:
    return [MicroBatch(*(side[None].copy() for side in pair(example))) for example in found]


def packed(found: list[Example]) -> MicroBatch:
    """Rows of whole examples, the first that has room; the rest of a row is a document of its own."""
    rows: list[list[Example]] = []
    for example in found:
        size = len(example[0]) - 1
        row = next((row for row in rows if sum(len(ids) - 1 for ids, _ in row) + size <= CONTEXT), None)
        if row is None:
            rows.append(row := [])
        row.append(example)
    inputs, targets = np.zeros((len(rows), CONTEXT), np.int64), np.full((len(rows), CONTEXT), IGNORED)
    starts = [0]
    for number, row in enumerate(rows):
        at = 0
        for example in row:
            x, y = pair(example)
            inputs[number, at : at + len(x)], targets[number, at : at + len(x)] = x, y
            at += len(x)
            starts.append(number * CONTEXT + at)
        if at < CONTEXT:
            starts.append((number + 1) * CONTEXT)
    return MicroBatch(inputs, targets, np.array(starts, np.int32))


def backend(kind: str, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> Any:
    if kind == "torch reference":
        monkeypatch.setenv("PYLM_KERNELS", "reference")
    shape = complete(
        Model(n_layers=2, n_heads=2, d_model=32, context_length=CONTEXT, init_std=0.1, **fields), VOCABULARY
    )
    settings = Train(precision="fp32", device="cpu", compile=False)  # type: ignore[arg-type]
    if kind == "mlx":
        pytest.importorskip("mlx.core")
        from pylm.training.mlx_backend import make
    else:
        from pylm.training.torch_backend import make
    return make(shape, settings)


def learned(backend: Any, micro_batches: list[MicroBatch]) -> tuple[float, dict[str, np.ndarray]]:
    """The loss of a step and its gradients."""
    if backend.name == "mlx":
        from pylm.model.mlx import to_numpy

        loss, sums = backend._accumulate(micro_batches)
        return float(loss.item()), {name: to_numpy(one) for name, one in sums.items()}
    loss = float(sum(backend._accumulate(micro_batches)))
    gradients = {name: one.clone().numpy() for name, one in backend._gradients().items()}
    backend.forget_gradients()
    return loss, gradients


def assert_same(one: tuple[float, dict[str, np.ndarray]], other: tuple[float, dict[str, np.ndarray]]) -> None:
    assert other[0] == pytest.approx(one[0], rel=1e-6)
    for name, gradient in one[1].items():
        np.testing.assert_allclose(other[1][name], gradient, rtol=0, atol=1e-6, err_msg=name)
        assert np.abs(gradient).max() > 1e-4, f"{name} has hardly a gradient: nothing is compared"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("position", ["rope", "learned"])
def test_it_is_the_same_in_every_layout(kind: str, position: str, monkeypatch: pytest.MonkeyPatch) -> None:
    each, found = backend(kind, monkeypatch, position=position), examples()
    alone = learned(each, one_by_one(found))
    bins = packed(found)
    for rows in (1, 2, 4, 8):
        assert_same(alone, learned(each, cut(*bins, rows)))
    for seed in (0, 1):
        order = np.random.default_rng(seed).permutation(len(found))
        assert_same(alone, learned(each, cut(*packed([found[number] for number in order]), 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_of_which_nothing_counts_adds_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    each, found = backend(kind, monkeypatch), examples(6)
    silent = (np.arange(1, 9), 8)
    assert (pair(silent)[1] == IGNORED).all()
    plain = learned(each, one_by_one(found))
    assert_same(plain, learned(each, [*one_by_one([silent]), *one_by_one(found)]))


def test_the_bound_sees_a_leak_and_a_weight_that_is_a_passes() -> None:
    """Without documents rows see each other; with a mean of means short passes weigh more: both are far beyond 1e-6."""
    with pytest.MonkeyPatch.context() as patch:
        each, found = backend("torch", patch), examples()
        alone, bins = learned(each, one_by_one(found)), packed(found)
        leaking = learned(each, [bins._replace(cu_seqlens=None)])
        means = np.mean([learned(each, [one])[0] for one in one_by_one(found)])
    assert abs(leaking[0] - alone[0]) > 1e-4 and abs(means - alone[0]) > 1e-4
