"""Times of trace files: their units, dates, and units that cannot be."""

import numpy as np
import polars as pl
import pytest

from simulator.errors import MeasurementError
from simulator.workload.traces.columns import Layout
from simulator.workload.traces.times import seconds_since_first
from simulator.workload.traces.trace_file import TraceFile


def seconds(values, name="timestamp", unit=None, **how):
    layout = Layout("columns", name, "prompt", "output", unit=unit)
    return seconds_since_first(pl.Series(values, strict=False), layout, TraceFile(path="t.csv", **how)).tolist()


def test_numbers_are_seconds_where_nothing_says_otherwise():
    assert seconds([2, 3.5, 4]) == [0, 1.5, 2]


@pytest.mark.parametrize(
    ("name", "one"), [("arrival_s", 1), ("arrival_ms", 1e3), ("arrival_time_us", 1e6), ("arrival_time_ns", 1e9)]
)
def test_the_name_of_a_column_tells_its_unit(name, one):
    assert seconds([5 * one, 6 * one], name) == pytest.approx([0, 1])


@pytest.mark.parametrize(("unit", "one"), [("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)])
def test_the_size_of_an_epoch_tells_its_unit(unit, one):
    now = 1_763_950_000
    assert seconds([now * one, (now + 2) * one]) == pytest.approx([0, 2], abs=1e-3)


def test_what_was_said_wins_over_what_could_be_told():
    assert seconds([0, 2000], "arrival_s", time_unit="ms") == [0, 2]


@pytest.mark.parametrize(
    "written",
    [
        ["2023-11-16 18:15:46.6805900", "2023-11-16 18:15:50.9951690"],
        ["2023-11-16T18:15:46.680590", "2023-11-16T18:15:50.995169"],
        ["2024-05-10 00:00:00.009930+00:00", "2024-05-10 00:00:04.324509+00:00"],
        ["2024-05-10T00:00:00.009930Z", "2024-05-10T00:00:04.324509Z"],
    ],
)
def test_dates_are_read_to_the_microsecond_with_or_without_a_zone(written):
    assert seconds(written) == pytest.approx([0, 4.314579], abs=1e-9)


def test_dates_across_midnight_and_what_is_no_date():
    assert seconds(["2023-12-31 23:59:59", "2024-01-01 00:00:01", "yesterday"])[:2] == [0, 2]
    assert np.isnan(seconds(["2023-12-31 23:59:59", "yesterday"])[1])


def test_times_in_several_zones_are_refused():
    with pytest.raises(MeasurementError, match="several time zones"):
        seconds(["2024-05-10 00:00:00+00:00", "2024-05-10 00:00:00+02:00"])


def test_milliseconds_read_as_seconds_give_themselves_away():
    with pytest.raises(
        MeasurementError, match=r"0\.00034 a second if the times are in s, 0\.34 if they are in ms; say time_unit"
    ):
        seconds([2941 * i for i in range(100)])


def test_seconds_read_as_milliseconds_give_themselves_away():
    with pytest.raises(MeasurementError, match=r"10,000 a second if the times are in ms, 10 if they are in s; say time_unit"):
        seconds([0.1 * i for i in range(100)], unit="ms")


def test_a_slow_log_of_broken_seconds_or_few_requests_is_believed():
    assert seconds([2941.5 * i for i in range(100)])[1] == 2941.5
    assert seconds([3600 * i for i in range(10)])[1] == 3600
    assert seconds([2941 * i for i in range(100)], time_unit="s")[1] == 2941


def test_what_is_no_number_is_no_time():
    found = seconds(["1", None, " 3 ", "x"])
    assert found[0] == 0
    assert found[2] == 2
    assert np.isnan([found[1], found[3]]).all()
