"""Transfers over a link, worked by hand."""

from __future__ import annotations

import math

import pytest

from simulator.engine.clock import Clock
from simulator.engine.link import Link, Way, share_out


def ends(capacities: dict[str, float], sends: list[tuple[str, str, float, float]], latency: float = 0.0, **how) -> list[float]:
    """When each transfer (source, sink, amount, when it is sent) ends."""
    clock = Clock()
    link = Link(clock, capacities, latency, **how)
    arrived: dict[int, float] = {}
    for i, (source, sink, amount, at) in enumerate(sends):
        link.send(source, sink, amount, at, lambda when, i=i: arrived.__setitem__(i, when))
    while clock.work(100):
        pass
    return [arrived[i] for i in range(len(sends))]


def test_a_transfer_alone_takes_the_latency_and_its_bytes_over_the_slower_port() -> None:
    assert ends({"a": 10.0, "b": 5.0}, [("a", "b", 20.0, 3.0)], latency=0.5) == [7.5]


def test_two_transfers_into_one_port_share_it_and_the_one_left_gets_it_all() -> None:
    assert ends({"a": 10.0, "b": 10.0, "c": 10.0}, [("a", "c", 10.0, 0.0), ("b", "c", 30.0, 0.0)]) == [2.0, 4.0]


def test_a_transfer_that_comes_later_slows_the_one_under_way() -> None:
    assert ends({"a": 10.0, "b": 10.0, "c": 10.0}, [("a", "c", 20.0, 0.0), ("b", "c", 5.0, 1.0)]) == [2.5, 2.0]


def test_between_other_ports_nothing_is_shared() -> None:
    ports = {"a": 10.0, "b": 10.0, "c": 10.0, "d": 10.0}
    assert ends(ports, [("a", "c", 10.0, 0.0), ("b", "d", 10.0, 0.0)]) == [1.0, 1.0]


def test_what_one_flow_cannot_use_the_others_get() -> None:
    one = [(1.0, 0, print)]
    ways = [Way("a", "x", ends=one), Way("b", "x", ends=one), Way("b", "y", ends=one)]
    share_out(ways, {"a": 1.0, "b": 10.0, "x": 6.0, "y": 100.0})
    assert [way.rate for way in ways] == [1.0, 5.0, 5.0]


def test_two_of_one_way_count_twice_where_they_meet_another() -> None:
    one, two = [(1.0, 0, print)], [(1.0, 1, print), (2.0, 2, print)]
    ways = [Way("a", "x", ends=two), Way("b", "x", ends=one)]
    share_out(ways, {"a": 100.0, "b": 100.0, "x": 6.0})
    assert [way.rate for way in ways] == [2.0, 2.0]


def test_what_it_carries_is_known_from_when_on() -> None:
    clock = Clock()
    link = Link(clock, {"a": 10.0, "b": 5.0}, 0.0)
    link.send("a", "b", 20.0, 3.0, lambda when: None)
    while clock.work(100):
        pass
    assert (link.at.tolist(), link.carried.tolist()) == ([3.0, 7.0], [5.0, 0.0])


def test_a_port_of_infinity_takes_all_at_once() -> None:
    assert ends({"a": math.inf, "b": math.inf}, [("a", "b", 1e9, 2.0), ("a", "b", 1e9, 2.0)], latency=1.0) == [3.0, 3.0]


def test_in_whole_ticks_a_transfer_ends_at_the_first_tick_with_nothing_left() -> None:
    ports = {"a": 3, "b": 3, "c": 3}
    assert ends(ports, [("a", "c", 10, 0), ("b", "c", 4, 0)], whole=True) == [5, 3]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_equal_transfers_end_together(count: int) -> None:
    assert ends({"a": 10.0, "b": 10.0}, [("a", "b", 10.0, 0.0)] * count) == [float(count)] * count
