"""The comparison table: numbers decide what is best, words are only shown."""

import dataclasses

import pytest
from support.report_fixtures import chatbot, served

from simulator.report.comparison import best_of, comparison
from simulator.report.words import seconds, usd
from simulator.results.model import Cost
from simulator.results.slo import SloCheck


def with_latency(name, p50, p99=9000.0):
    d = served("h100", count=50)
    promised = tuple(dataclasses.replace(p, median=p50, value=p99) if p.latency == "e2e" else p for p in d.promised)
    return dataclasses.replace(d, name=name, promised=promised)


def best(label, *deployments):
    """The names of the best of a row."""
    run = dataclasses.replace(chatbot(), deployments=deployments)
    row = next(row for row in comparison(run) if row.label == label)
    return [d.name for d in best_of(row, deployments)]


@pytest.mark.parametrize("slow", [600.0, 0.0301, 31.0, 4000.0, 360_000.0])
def test_the_shortest_latency_is_best_whatever_its_unit_is_written_as(slow):
    fast = 0.03 if slow < 1 else 30.0
    assert seconds(600.0) == "10 min 0 s"
    assert best("E2E p50 / p99", with_latency("slow", slow), with_latency("fast", fast)) == ["fast"]


def test_dollars_above_and_below_a_thousand_are_compared_as_numbers():
    cheap, dear = (
        dataclasses.replace(served("h100", count=50), name=name, cost=Cost(usd, usd, "list", "", usd_per_month=730 * usd))
        for name, usd in (("cheap", 1.0), ("dear", 2000.0))
    )
    assert (usd(730.0), usd(1_460_000.0)) == ("$730.00", "$1,460,000")
    assert best("Per month", dear, cheap) == ["cheap"]


def test_what_reads_alike_is_alike():
    assert best("E2E p50 / p99", with_latency("a", 30.001), with_latency("b", 30.002)) == []
    three = (with_latency("a", 30.001), with_latency("b", 30.002), with_latency("c", 40.0))
    assert best("E2E p50 / p99", *three) == ["a", "b"]


def test_a_row_without_a_better_end_has_no_best():
    few, many = (dataclasses.replace(served("h100", count=50), name=name, gpus=n) for name, n in (("few", 1), ("many", 8)))
    assert best("GPUs", few, many) == best("Verdict", few, many) == []


@pytest.mark.parametrize("label", ["KV cache", "Per hour", "TTFT", "p99 TTFT: x"])
def test_a_class_may_be_called_like_a_row(label):
    d = served("h100", count=50)
    checks = [SloCheck("e2e", 99.0, label, 1.0, 0.5, True), SloCheck("ttft", 95.0, label, 2.0, 1.5, True)]
    twice = [dataclasses.replace(d, name=name, slo=tuple(checks)) for name in "ab"]
    run = dataclasses.replace(chatbot(), deployments=tuple(twice))
    row = next(row for row in comparison(run) if row.label == f"{label}: p99 E2E, at most 1 s")
    assert (row.better, row.unit, [row.value(d) for d in twice]) == ("neither", "s", [0.5, 0.5])


def test_energy_is_told_of_a_million_tokens_and_its_dollars_where_a_kwh_has_a_price():
    d = served("h100", count=50)
    d = dataclasses.replace(
        d,
        metrics={**d.metrics, "output_tokens_per_s": 1000.0},
        cost=Cost(3.0, 3.0, "list", "", watts=720.0, usd_per_kwh=0.25),
    )
    said = {row.label: row.say(d) for row in comparison(dataclasses.replace(chatbot(), deployments=(d,)))}
    assert said["Energy per million output tokens, estimated"] == "0.2 kWh"
    assert said["Its electricity"] == "$0.05"
    unpriced = dataclasses.replace(d, cost=dataclasses.replace(d.cost, usd_per_kwh=None))
    said = {row.label: row.say(unpriced) for row in comparison(dataclasses.replace(chatbot(), deployments=(unpriced,)))}
    assert said["Its electricity"] == "–"
