"""How people write lengths of time."""

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead_contracts.durations import LONGEST, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("250ms", timedelta(milliseconds=250)),
        ("1s", timedelta(seconds=1)),
        ("15m", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        ("2d", timedelta(days=2)),
        ("1w", timedelta(weeks=1)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("1m30ms", timedelta(minutes=1, milliseconds=30)),
        ("PT15M", timedelta(minutes=15)),
        ("P2D", timedelta(days=2)),
        ("P1DT2H0.5S", timedelta(days=1, hours=2, milliseconds=500)),
        ("0s", timedelta(0)),
    ],
)
def test_a_duration_is_read_in_either_notation(text: str, expected: timedelta):
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["30", " 30 ", "30.5"])
def test_a_bare_number_is_refused_with_what_to_write(text: str):
    with pytest.raises(ValueError, match=rf"needs a unit: say {text.strip()}s"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 minutes", "5m1h", "PT", "P", "1h1h", "s", "P2DT"])
def test_what_is_no_duration_is_refused_with_examples(text: str):
    with pytest.raises(ValueError, match="is not a duration: write 250ms, 30s"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["P1Y", "P1M", "P1Y2M3DT4H"])
def test_years_and_months_are_refused_because_they_have_no_fixed_length(text: str):
    with pytest.raises(ValueError, match="no fixed length"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["36501d", "999999999999999w"])
def test_more_than_a_hundred_years_is_refused(text: str):
    with pytest.raises(ValueError, match="hundred years"):
        parse_duration(text)


@given(st.integers(0, 9), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_both_notations_of_a_duration_mean_the_same(days: int, hours: int, minutes: int, seconds: int):
    short = parse_duration(f"{days}d{hours}h{minutes}m{seconds}s")
    assert short == parse_duration(f"P{days}DT{hours}H{minutes}M{seconds}S")
    assert timedelta(0) <= short <= LONGEST


@given(st.text(max_size=60))
def test_any_other_text_is_refused_and_never_crashes(text: str):
    with suppress(ValueError):
        assert timedelta(0) <= parse_duration(text) <= LONGEST
