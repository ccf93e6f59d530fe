"""Rates and durations as people write them."""

import pytest
from pydantic import TypeAdapter, ValidationError

from simulator.workload.text_units import Duration, Pause, Rate, parse_seconds, per_second


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("4/s", 4),
        ("240/min", 4),
        ("14400/h", 4),
        ("1.5 / sec", 1.5),
        ("86400 per day", 1),
        ("4 requests/s", 4),
        ("4 rps", 4),
        (4, 4),
        (0.5, 0.5),
    ],
)
def test_a_rate_is_per_second_whatever_its_unit(written, rate):
    assert TypeAdapter(Rate).validate_python(written) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("written", "duration"),
    [("90s", 90), ("10min", 600), ("1h30m", 5400), ("1h 30 min", 5400), ("250ms", 0.25), ("2d", 172800), (7, 7), (".5h", 1800)],
)
def test_a_duration_is_in_seconds_whatever_its_unit(written, duration):
    assert TypeAdapter(Duration).validate_python(written) == pytest.approx(duration)


@pytest.mark.parametrize("written", ["4", "4/", "/s", "4/fortnight", "four/s", "4/s/s", "4 tokens/s", ""])
def test_text_that_is_no_rate_is_refused_with_an_example(written):
    with pytest.raises(ValueError, match="4/s, 1.2 rps, 240/min"):
        per_second(written)


@pytest.mark.parametrize("written", ["10", "ten min", "10 parsecs", "10min tea", "min", "", "1:30"])
def test_text_that_is_no_duration_is_refused_with_an_example(written):
    with pytest.raises(ValueError, match="90s, 10min"):
        parse_seconds(written)


@pytest.mark.parametrize("written", [0, -1, "-4/s", "0/s", float("inf"), float("nan")])
def test_a_rate_must_be_positive(written):
    with pytest.raises(ValidationError):
        TypeAdapter(Rate).validate_python(written)


def test_a_pause_may_be_nothing_and_a_duration_may_not():
    assert TypeAdapter(Pause).validate_python(0) == 0
    with pytest.raises(ValidationError):
        TypeAdapter(Duration).validate_python("0s")
