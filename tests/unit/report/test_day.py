"""The chart of a day: what is said of the peak, and replicas that follow the traffic."""

import dataclasses

from support.report_fixtures import a_day, chatbot

from simulator.report.charts.day import day
from simulator.report.charts.panels import specification


def test_a_steady_rate_needs_no_day():
    figure = day(chatbot())
    assert figure.needless
    assert not figure.panels


def test_the_peak_is_named_with_those_that_fall_short_of_it_and_what_they_would_need():
    run = a_day()
    short = [d.name for d in run.deployments if d.slo_capacity and d.slo_capacity.value < 17]
    figure = day(run)
    assert short
    assert "the demand, from 1/s to 17/s after 12 hours" in figure.caption
    assert "Below the peak: " in figure.caption
    assert all(name in figure.caption for name in short[:3])
    least = min((d for d in run.deployments if d.slo_capacity), key=lambda d: d.slo_capacity.value)
    most = -(-17 // least.slo_capacity.value)
    assert (
        f"{least.name} needs 1 to {most:.0f} replicas: ${least.cost.usd_per_hour * most:.2f} an hour for the peak"
        in figure.caption
    )


def test_replicas_are_drawn_only_where_they_vary():
    run = a_day()
    assert len(day(run).panels) == 2
    low = tuple((t, rate / 100) for t, rate in run.workload.rates)
    quiet = dataclasses.replace(run, workload=dataclasses.replace(run.workload, rates=low))
    figure = day(quiet)
    assert len(figure.panels) == 1
    assert "Below the peak" not in figure.caption
    assert specification(quiet, figure.panels[0], "x")["layer"]
