"""Numbers as people type them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pylm.config.units import (
    counted,
    format_bytes,
    format_count,
    format_duration,
    parse_bytes,
    parse_count,
    parse_duration,
    parse_number,
    typed_duration,
)
from pylm.wording import in_options


@pytest.mark.parametrize(
    ("text", "value"),
    [("50", 50), ("1e-3", 0.001), ("10M", 10**7), ("0.5B", 5 * 10**8), ("1_000", 1000), (" 3k ", 3000),
     ("-2", -2), (".5", 0.5), ("1E3", 1000.0), ("0.1M", 100_000), ("1.1k", 1100), ("2T", 2 * 10**12)],
)  # fmt: skip
def test_numbers(text, value):
    assert parse_number(text) == value
    assert isinstance(parse_number(text), int) == (value == int(value) and "e" not in text.lower())


@given(st.integers(-(10**15), 10**15))
def test_whole_numbers_survive(value):
    assert parse_count(str(value)) == value and isinstance(parse_number(str(value)), int)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_survive(value):
    assert parse_number(repr(value)) == value


@pytest.mark.parametrize(
    "text", ["", "ten", "1.5.2", "10X", "1e", "--2", "nan", "inf", "0x10", "1 2", "10 000", "٣", "1h"]
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match="is not a number such as"):
        parse_number(text)


@pytest.mark.parametrize(("text", "value"), [("100M", 10**8), ("1e6", 10**6), ("1.5k", 1500), ("2.0", 2)])
def test_counts(text, value):
    assert parse_count(text) == value and isinstance(parse_count(text), int)


@pytest.mark.parametrize("text", ["1.5", "1e-3", "0.0001k", "1e400"])
def test_counts_are_whole(text):
    with pytest.raises(ValueError):
        parse_count(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2G", 2 * 10**9), ("2GB", 2 * 10**9), ("2GiB", 2**31), ("512", 512), ("1.5 kb", 1500), ("64Ki", 65536)],
)
def test_bytes(text, value):
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["-1", "1.5", "2X", "G"])
def test_bad_bytes(text):
    with pytest.raises(ValueError):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90", 90),
        ("90s", 90),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h 30min", 5400),
        ("1.5d", 129600),
        ("250ms", 0.25),
        ("1e2s", 100),
        ("2H", 7200),
    ],
)
def test_durations(text, value):
    assert parse_duration(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "h", "2x", "1h2", "two hours", "1h,30m"])
def test_bad_durations(text):
    with pytest.raises(ValueError, match="is not a time such as"):
        parse_duration(text)


@given(st.floats(0, 1e9))
def test_written_durations_read_back_within_their_second_unit(seconds):
    # the last unit written is never coarser than a thirtieth of the first
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.05, abs=0.06)


@given(st.floats(0, 1e15))
def test_written_counts_read_back_to_three_figures(value):
    assert parse_number(format_count(value)) == pytest.approx(value, rel=0.006, abs=0.006)
    assert parse_bytes(format_bytes(math.ceil(value))) == pytest.approx(math.ceil(value), rel=0.006)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (12, "12 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (86400 * 3 + 3600 * 4, "3 d 4 h"),
        (3599.9, "1 h"),
    ],
)
def test_durations_are_written_in_two_units(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.2, "1s"), (54.5, "55s"), (60, "1m"), (5400, "1h30m"), (86400, "1d"), (90061, "1d1h1m1s")],
)
def test_a_time_as_it_is_typed(seconds, text):
    assert typed_duration(seconds) == text and parse_duration(text) == math.ceil(seconds)


@given(st.floats(0, 1e9))
def test_a_typed_time_is_no_less_than_it_was(seconds):
    assert 0 <= parse_duration(typed_duration(seconds)) - seconds <= 1


@pytest.mark.parametrize("text", ["+1h", "+90", " +15s"])
def test_a_time_on_top_is_no_time(text):
    with pytest.raises(ValueError, match="adds to a time") as caught:
        parse_duration(text)
    assert in_options(str(caught.value)).endswith("adds to a time, which only --max-time of pylm train does")


def test_one_thing_is_in_the_singular() -> None:
    assert [counted(number, "token") for number in (0, 1, 2000)] == ["0 tokens", "1 token", "2,000 tokens"]
