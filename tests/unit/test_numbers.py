"""One gate for numbers from outside."""

import math
from typing import Any

import pytest

from simulator.errors import ConfigError, MeasurementError
from simulator.numbers import finite_number, integer


@pytest.mark.parametrize("value", [3, 3.0, "3", " 3e0 "])
def test_numbers_and_their_text_pass(value: Any) -> None:
    assert finite_number(value, "f") == 3.0
    assert integer(value, "f") == 3


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "f: '' is not a number"),
        (None, "f: None is not a number"),
        (True, "f: True is not a number"),
        ([1], "is not a number"),
        ({}, "is not a number"),
        ("x" * 1000, r"f: 'x{39}\.\.\. is not a number"),
        (math.nan, "not a finite number"),
        ("-inf", "not a finite number"),
        ("1e999", "not a finite number"),
        (10**400, "f: inf is not a finite number"),
        (1e300, "f: 1e[+]300 cannot be; it must be from"),
        (-1, "cannot be; it must be above 0"),
    ],
)
def test_everything_else_is_refused_by_name(value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        finite_number(value, "f", ConfigError, above=0.0)


@pytest.mark.parametrize("value", [2.5, "2.5", "a", None, True, math.nan, math.inf, -1, 10**16, 10**4000, 1e300, []])
def test_what_is_not_a_whole_number_in_its_range_is_refused(value: Any) -> None:
    with pytest.raises(MeasurementError, match="^f: .{0,120}$"):
        integer(value, "f")
