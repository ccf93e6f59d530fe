"""Rates that are known in advance: what is meant to come at each time."""

import math

import pytest

from simulator.workload.arrivals.steady import Poisson
from simulator.workload.arrivals.varying import Bursts, Diurnal, Ramp, Stages
from simulator.workload.rates import known_rates
from simulator.workload.traffic import TrafficClass
from simulator.workload.workload import Workload


def asked(arrivals, **more):
    return Workload(arrivals=arrivals, prompt=9, output=9, requests=10, **more)


def test_a_day_goes_from_trough_to_peak_and_back():
    rates = known_rates(asked(Diurnal(peak=10.0, trough=2.0)))
    assert len(rates) == 96
    assert [rates[0][0], rates[48][0]] == [0.0, 43_200.0]
    assert [round(rates[i][1], 1) for i in (0, 24, 48, 72)] == [2.0, 6.1, 10.0, 5.9]
    assert math.fsum(rate for _, rate in rates) / 96 == pytest.approx(6.0)


def test_a_ramp_and_stages_go_from_start_to_end():
    assert [rate for _, rate in known_rates(asked(Ramp(start=0.0, end=96.0, over=96.0)))][:2] == pytest.approx([0.5, 1.5])
    stages = known_rates(asked(Stages(rates=(1.0, 0.0, 2.0), every=32.0)))
    assert [stages[i][1] for i in (0, 31, 32, 63, 64, 95)] == pytest.approx([1, 1, 0, 0, 2, 2])


def test_classes_add_up():
    one = TrafficClass(name="a", prompt=9, output=9, arrivals=Diurnal(peak=4.0, trough=4.0))
    two = TrafficClass(name="b", prompt=9, output=9, arrivals=Poisson(rate=3.0))
    rates = known_rates(Workload(classes=(one, two), requests=10))
    assert {round(rate, 9) for _, rate in rates} == {7.0}


@pytest.mark.parametrize("arrivals", [Poisson(rate=1.0), Bursts(rate=5.0, on=1.0, off=1.0)])
def test_what_does_not_vary_or_is_not_known_has_no_rates(arrivals):
    assert known_rates(asked(arrivals)) is None
