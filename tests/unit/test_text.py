"""Numbers and counts as people read them."""

import math

import pytest

from simulator.text import number, plural


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(1300.0, 2, "1,300"), (999.7, 3, "1,000"), (99.96, 3, "100"), (26.34, 3, "26.3"), (0.0, 3, "0"), (-1234.5, 3, "-1,234")],
)
def test_a_number_is_grouped_and_no_power_of_ten(value, digits, text):
    assert number(value, digits) == text


def test_a_number_beyond_counting_is_a_power_of_ten():
    assert number(1e300, 6) == "1e+300"
    assert number(math.inf) == "inf"


def test_one_is_singular():
    assert plural(1, "request") == "1 request"
    assert plural(0, "request") == "0 requests"
