"""What a sweep goes over, as it is written."""

import pytest

from simulator.errors import ScenarioError
from simulator.planning.axes import Axis, axis


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("engine.max_num_seqs=64,128", ("64", "128")),
        ("engine.max_num_seqs= 64 , 128 ", ("64", "128")),
        ("workload.arrivals.rate=1:4:1", ("1", "2", "3", "4")),
        ("workload.arrivals.rate=0.5:1.5:0.25", ("0.5", "0.75", "1", "1.25", "1.5")),
        ("workload.arrivals.rate=1:10:4", ("1", "5", "9")),
        ("workload.arrivals.rate=1:64:x4", ("1", "4", "16", "64")),
        ("workload.arrivals.rate=1,4:6:1,20", ("1", "4", "5", "6", "20")),
        ("workload.prompt={kind: uniform, min: 1, max: 9},50", ("{kind: uniform, min: 1, max: 9}", "50")),
        ("workload.arrivals.rate=4/s,240/min", ("4/s", "240/min")),
        ("a.b='x,y',z", ("'x,y'", "z")),
        ("a.b=2,2,2", ("2",)),
    ],
)
def test_values_are_lists_ranges_or_yaml(text: str, values: tuple[str, ...]) -> None:
    assert axis(text) == Axis(text.partition("=")[0], values)


def test_deployments_stand_for_all_of_them_or_for_those_named() -> None:
    assert axis("deployments") == Axis("deployments", ())
    assert axis("deployments='L4, 16-bit',H100") == Axis("deployments", ("L4, 16-bit", "H100"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workload.arrivals.rate", "expected PATH=VALUES"),
        ("=1,2", "expected PATH=VALUES"),
        ("a.b=", "no values"),
        ("a.b=,,", "no values"),
        ("a.b=10:1:1", "the range 10:1:1 is empty; it goes from 10 up to 1"),
        ("a.b=1:10:0", "step of a range must be above 0"),
        ("a.b=1:10:-1", "step of a range must be above 0"),
        ("a.b=1:10:x1", "above 1 and its start above 0"),
        ("a.b=0:10:x2", "above 1 and its start above 0"),
        ("a.b=0:1:0.00001", "more than 10,000 values"),
    ],
)
def test_an_axis_that_cannot_be_read_says_why(text: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        axis(text)
