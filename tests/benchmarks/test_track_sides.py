"""What the sides of track 0 share: the clock, windows that hold each token once, schedules that land."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks import tune_peers
from benchmarks.track import clock as clocks
from benchmarks.track import field, nanochat, nanogpt
from benchmarks.track.clock import Clock
from benchmarks.track.material import Pool, bits_per_byte, windows


def raced(monkeypatch: pytest.MonkeyPatch, pace: list[float], seconds: float) -> tuple[Clock, list[int]]:
    now = [0.0]
    monkeypatch.setattr(clocks.time, "monotonic", lambda: now[0])
    clock, planned = Clock(seconds), []
    while not clock.over():
        planned.append(clock.iterations())
        now[0] += pace[min(clock.steps, len(pace) - 1)]
        clock.step()
    return clock, planned


def test_the_steps_of_a_schedule_follow_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, planned = raced(monkeypatch, [5.0] + [0.1] * 300 + [0.2], 100.0)  # compiles first, slows in the middle
    assert planned[10] == pytest.approx(5 + 950, rel=0.02)
    assert abs(planned[-1] - clock.steps) <= 1 and 99.7 < clock.spent() <= 100
    assert nanogpt.schedule(len(planned) - 1, planned[-1]) == pytest.approx(0.1, abs=0.001)
    assert nanochat.schedules(len(planned) - 1, planned[-1])[0] == pytest.approx(0.05, abs=0.01)


def test_windows_hold_every_token_of_text_once() -> None:
    documents = [[5, 6, 7], [8], list(range(10, 31))]
    batches = list(windows(documents, 0, True, 4))
    x, y, counted = (torch.cat([batch[part] for batch in batches]) for part in range(3))
    assert y[counted].tolist() == [token for document in documents for token in document]
    assert x.shape == y.shape and x.shape[1] == 4 and x[0, 0] == 0
    assert torch.equal(x.flatten()[1:], y.flatten()[:-1])
    without = torch.cat([batch[1][batch[2]] for batch in windows(documents, 0, False, 4)])
    assert without.tolist() == y[counted].tolist()


def test_a_uniform_guess_costs_its_bits() -> None:
    texts = ["größe", "abc"]
    batches = windows([[1] * 5, [2] * 3], 0, True, 4)
    bits = bits_per_byte(batches, lambda x, y: torch.full(y.shape, math.log(16)), texts)
    assert bits == pytest.approx(4 * 8 / (7 + 3))


def test_a_pool_draws_windows_of_what_was_encoded() -> None:
    texts = [f"{number}" * 50 for number in range(9)]
    pool = Pool(texts, lambda some: [[int(letter) for letter in text] for text in some], 1)
    seen = set()
    for _ in range(20):
        x, y = pool.rows(3, 16)
        assert x.shape == y.shape == (3, 16) and torch.equal(x[:, 1:], y[:, :-1])
        seen |= set(x.flatten().tolist())
    assert seen == set(range(9))


def test_every_peer_has_tuned_sizes() -> None:
    for peer in field.PEERS:
        assert field.shape_of(peer, 60) in tune_peers.CANDIDATES[peer]
        assert field.shape_of(peer, 1800)["dtype"]
    assert set(tune_peers.CANDIDATES) == set(field.PEERS)
