"""The sampler against plain numpy in float64: each filter, the draw's statistics, and what must not change a token."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pylm import _native
from pylm._native import SampleSettings, sample, sample_probabilities
from pylm.errors import DataError, PylmError, UsageError

Array = np.ndarray[Any, Any]


def reference(logits: Array, history: Array, **s: Any) -> Array:
    """The meaning of every setting, in the order that they apply."""
    x = logits.astype(np.float64)
    for token, count in zip(*np.unique(history, return_counts=True), strict=True):
        penalty = s.get("repetition_penalty", 1.0)
        x[token] = x[token] / penalty if x[token] > 0 else x[token] * penalty
        x[token] -= s.get("presence_penalty", 0.0) + s.get("frequency_penalty", 0.0) * count
    for token, bias in s.get("logit_bias", []):
        x[token] += bias
    temperature = s.get("temperature", 1.0)
    if temperature == 0:
        return np.eye(len(x))[np.argmax(x)]
    p = np.exp((x - x.max()) / temperature)
    order = np.lexsort((np.arange(len(x)), -x))
    keep = np.ones(len(x), bool)
    if k := s.get("top_k", 0):
        keep[order[k:]] = False
    p = np.where(keep, p, 0)
    if (top_p := s.get("top_p", 1.0)) < 1:
        before = np.concatenate([[0], np.cumsum(p[order])[:-1]]) / p.sum()
        keep[order[before >= top_p]] = False
    keep &= p >= s.get("min_p", 0.0) * p.max()
    p = np.where(keep, p, 0)
    return p / p.sum()


CASES: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"temperature": 1.9, "top_k": 7},
    {"top_k": 1},
    {"top_k": 500},
    {"top_p": 0.9},
    {"top_p": 0.05},
    {"top_p": 0.999, "temperature": 2.5},
    {"min_p": 0.03},
    {"min_p": 1.0},
    {"top_k": 50, "top_p": 0.8, "min_p": 0.02, "temperature": 0.8},
    {"repetition_penalty": 1.3},
    {"presence_penalty": 0.7, "frequency_penalty": 0.4},
    {"repetition_penalty": 0.8, "presence_penalty": -0.5, "top_p": 0.7},
    {"logit_bias": [(3, 5.0), (700, -float("inf")), (11, -2.5)], "top_k": 20},
    {"temperature": 0},
    {"temperature": 0, "repetition_penalty": 5.0, "frequency_penalty": 9.0},
]


@pytest.mark.parametrize("width", [1, 2, 701, 1000, 4099])
@pytest.mark.parametrize(
    "settings", CASES, ids=lambda case: ",".join(f"{k}={v}" for k, v in case.items())[:60] or "plain"
)
def test_the_distribution_is_the_references(settings: dict[str, Any], width: int) -> None:
    random = np.random.default_rng(width)
    logits = random.normal(0, 3, (6, width)).astype(np.float32)
    settings = dict(settings)
    if "top_k" in settings:
        settings["top_k"] = min(settings["top_k"], width)
    if "logit_bias" in settings:
        settings["logit_bias"] = [(i, b) for i, b in settings["logit_bias"] if i < width and (width > 1 or b > 0)]
    history = [random.integers(0, width, 30) for _ in range(6)]
    found = sample_probabilities(logits, "float32", SampleSettings(**settings), history)
    for row in range(6):
        expected = reference(logits[row], history[row], **settings)
        # one token whose cumulative weight falls within rounding of the bound may stand on either side of it;
        # weights have 30 bits, what is below that is nothing
        visible = (expected == 0) | (expected > 4e-9 * expected.max())
        differing = np.flatnonzero(((expected > 0) != (found[row] > 0)) & visible)
        assert len(differing) <= 1, (differing, expected[differing], found[row][differing])
        if len(differing) == 0:
            np.testing.assert_allclose(found[row], expected, rtol=2e-6, atol=3e-9)


def test_equal_logits_are_kept_by_their_ids() -> None:
    logits = np.array([[1.0, 2.0, 2.0, 2.0, 0.0, 2.0]], np.float32)
    found = sample_probabilities(logits, "float32", SampleSettings(top_k=2))
    np.testing.assert_array_equal(found, [[0, 0.5, 0.5, 0, 0, 0]])
    found = sample_probabilities(np.zeros((1, 10), np.float32), "float32", SampleSettings(top_p=0.35))
    np.testing.assert_array_equal(found > 0, [[True] * 4 + [False] * 6])


def test_draws_follow_the_distribution() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 1.5, 50).astype(np.float32)
    settings = SampleSettings(temperature=0.9, top_k=30, top_p=0.95)
    expected = sample_probabilities(logits[None], "float32", settings)[0]
    draws, rows = 200_000, 1000
    counts = np.zeros(50)
    tiled = np.tile(logits, (rows, 1))
    for start in range(0, draws, rows):
        ids, *_ = sample(tiled, "float32", settings, None, 5, [start // rows] * rows, list(range(rows)), logprobs=False)
        counts += np.bincount(ids, minlength=50)
    kept = expected > 0
    assert counts[~kept].sum() == 0
    chi_square = ((counts[kept] - draws * expected[kept]) ** 2 / (draws * expected[kept])).sum()
    degrees = kept.sum() - 1
    assert abs(chi_square - degrees) < 5 * np.sqrt(2 * degrees)


def test_positions_sequences_and_seeds_draw_independently() -> None:
    logits = np.zeros((4000, 64), np.float32)
    settings = SampleSettings()

    def draw(seed: int, sequence: list[int], position: list[int]) -> Array:
        return sample(logits, "float32", settings, None, seed, sequence, position)[0]

    n = list(range(4000))
    streams = [draw(1, [0] * 4000, n), draw(1, n, [0] * 4000), draw(2, [0] * 4000, n), draw(1, [1] * 4000, n)]
    for a in range(4):
        assert abs(np.corrcoef(streams[a][1:], streams[a][:-1])[0, 1]) < 0.08
        for b in range(a):
            assert abs((streams[a] == streams[b]).mean() - 1 / 64) < 0.012


def bf16(values: Array) -> Array:
    import torch

    return torch.from_numpy(values).bfloat16().view(torch.uint16).numpy()


def test_half_precisions_are_read_as_torch_reads_them() -> None:
    import torch

    every = np.arange(65536, dtype=np.uint16)
    for dtype, kind in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        exact = torch.from_numpy(every.copy()).view(kind).float().numpy()
        finite = np.isfinite(exact) & (np.abs(exact) < 1e30)
        bits, exact = every[finite], exact[finite]
        for block in range(0, len(bits), 4001):
            narrow, wide = bits[None, block : block + 4001], exact[None, block : block + 4001].copy()
            array = narrow.view(np.float16) if dtype == "float16" else narrow
            settings = SampleSettings(temperature=1.3, top_p=0.9)
            np.testing.assert_array_equal(
                sample_probabilities(array, dtype, settings), sample_probabilities(wide, "float32", settings)
            )


def test_a_row_is_drawn_alike_in_any_batch_by_any_threads() -> None:
    random = np.random.default_rng(2)
    logits = random.normal(0, 4, (64, 5000)).astype(np.float32)
    history = [random.integers(0, 5000, n) for n in range(64)]
    settings = SampleSettings(top_p=0.9, min_p=0.001, repetition_penalty=1.1, top_k=200)
    rows = list(range(64))
    together = sample(logits, "float32", settings, history, 9, rows, rows, alternatives=3, threads=1)
    threaded = sample(logits, "float32", settings, history, 9, rows, rows, alternatives=3, threads=4)
    strided = np.zeros((64, 6000), np.float32)
    strided[:, :5000] = logits
    padded = sample(strided, "float32", settings, history, 9, rows, rows, alternatives=3, vocab_size=5000)
    for other in (threaded, padded):
        for a, b in zip(together, other, strict=True):
            np.testing.assert_array_equal(a, b)
    for row in rows:
        alone = sample(logits[row : row + 1], "float32", settings, [history[row]], 9, [row], [row], alternatives=3)
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_array_equal(a[row], b[0])


def test_logprobs_are_the_models_own() -> None:
    random = np.random.default_rng(3)
    logits = random.normal(0, 5, (20, 3000)).astype(np.float32)
    settings = SampleSettings(temperature=0.5, top_k=5, repetition_penalty=2.0)
    history = [random.integers(0, 3000, 9)] * 20
    ids, logprobs, top_ids, top_logprobs = sample(
        logits, "float32", settings, history, 1, [0] * 20, list(range(20)), alternatives=8
    )
    x = logits.astype(np.float64)
    expected = x - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True)) - x.max(1, keepdims=True)
    assert logprobs is not None and top_ids is not None and top_logprobs is not None
    np.testing.assert_allclose(logprobs, expected[np.arange(20), ids], atol=2e-5)
    order = np.argsort(-logits, axis=1, kind="stable")[:, :8]
    np.testing.assert_array_equal(top_ids, order)
    np.testing.assert_allclose(top_logprobs, np.take_along_axis(expected, order, 1), atol=2e-5)


def test_the_tokens_of_a_seed_never_change() -> None:
    """A golden row: the draw is a promise across machines, versions and variants."""
    logits = ((np.arange(3 * 257, dtype=np.uint32) * 2654435761 % 1009).astype(np.float32) / 100).reshape(3, 257)
    settings = SampleSettings(temperature=0.8, top_k=100, top_p=0.97)
    tokens = [sample(logits, "float32", settings, None, 42, [0, 1, 2], [p] * 3)[0].tolist() for p in range(4)]
    assert tokens == [[100, 36, 99], [86, 254, 188], [178, 36, 85], [182, 162, 191]]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": -1.0}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": 1e-9}, "temperature is below 1e-6"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"min_p": -0.1}, "min_p is -0.1"),
        ({"top_k": -1}, "top_k is -1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0"),
        ({"frequency_penalty": float("inf")}, "a penalty is not a finite number"),
        ({"logit_bias": [(-1, 0.0)]}, "logit_bias names id -1"),
        ({"logit_bias": [(0, float("inf"))]}, "the bias of id 0 is inf"),
    ],
)
def test_impossible_settings_are_refused_when_made(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        SampleSettings(**settings)
    assert said in caught.value.message and caught.value.hint


def test_what_no_token_can_be_drawn_from_is_named() -> None:
    good = np.zeros((2, 8), np.float32)

    def fails(kind: type[PylmError], said: str, logits: Array = good, dtype: str = "float32", **change: Any) -> None:
        arguments: dict[str, Any] = {"settings": SampleSettings(), "history": None, "seed": 0, **change}
        arguments = {"sequence": [0, 0], "position": [0, 0], **arguments}
        with pytest.raises(kind) as caught:
            sample(logits, dtype, **arguments)
        assert said in caught.value.message, caught.value.message

    bad = good.copy()
    bad[1, 3] = np.nan
    fails(DataError, "row 1: the logit of id 3 is NaN", bad)
    bad[1, 3] = np.inf
    fails(DataError, "row 1: the logit of id 3 is +inf", bad)
    fails(DataError, "row 0: every logit is -inf", np.full((2, 8), -np.inf, np.float32))
    fails(
        DataError,
        "row 0: every logit is -inf",
        np.full((2, 8), -np.inf, np.float32),
        settings=SampleSettings(temperature=0),
    )
    fails(UsageError, "top_k is 9, the vocabulary has 8", settings=SampleSettings(top_k=9))
    fails(UsageError, "logit_bias names id 8", settings=SampleSettings(logit_bias=[(8, 1.0)]))
    fails(UsageError, "seed is -1", seed=-1)
    fails(UsageError, "seed is 18446744073709551616", seed=2**64)
    fails(UsageError, "position is -4", position=[0, -4])
    fails(UsageError, "sequence has 1 entries", sequence=[0])
    fails(UsageError, "history has 1 rows", history=[np.zeros(1, np.int64)])
    history = [np.array([1]), np.array([8])]
    fails(UsageError, "row 1: the history holds id 8", history=history, settings=SampleSettings(presence_penalty=1))
    fails(UsageError, "does not hold float16", dtype="float16")
    fails(UsageError, "logits of type float64", dtype="float64")
    fails(UsageError, "does not hold float32", good.astype(np.float64))
    fails(UsageError, "does not hold float32", good.astype(">f4"))
    fails(UsageError, "two dimensions", good[0])
    fails(UsageError, "two dimensions", good[:0])
    fails(UsageError, "side by side", np.zeros((2, 16), np.float32)[:, ::2])
    fails(UsageError, "not aligned", np.zeros(65, np.uint8)[1:].view(np.float32).reshape(2, 8))
    fails(UsageError, "vocab_size is 9", vocab_size=9)
    fails(UsageError, "alternatives is 9", alternatives=9)


def test_random_arguments_never_crash_the_module() -> None:
    random = np.random.default_rng(12)
    odd: list[Any] = [-1, 0, 1, 5, 2**40, 2**65, 1.5, None, "x", "bfloat16", [], [1], np.zeros((2, 8)), np.zeros(3)]
    survived = 0
    for _ in range(3000):

        def pick(usual: Any) -> Any:
            return usual if random.random() < 0.92 else odd[random.integers(len(odd))]

        logits = random.normal(0, 10, (2, 8)).astype(np.float32)
        try:
            settings = SampleSettings(
                temperature=pick(0.7), top_k=pick(3), top_p=pick(0.5), logit_bias=pick([(3, 1.0)]), min_p=pick(0.1)
            )
            _native.sample(
                pick(logits), pick("float32"), settings, pick(None), pick(1), pick([0, 1]), pick([4, 4]),
                vocab_size=pick(8), alternatives=pick(2), threads=pick(1),
            )  # fmt: skip
            survived += 1
        except (PylmError, TypeError, ValueError, OverflowError):
            pass
    assert survived > 500
