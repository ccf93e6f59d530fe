"""Every metric keeps its promise on awkward runs."""

import math

import pytest
from support.traces import served, trace

from simulator.engine.record import REFUSED, TIMED_OUT
from simulator.results.metrics import METRICS, measured_window
from simulator.results.slo import Promise
from simulator.workload.slo import Slo

RUNS = {
    "nothing": trace([]),
    "all refused": trace([{"arrival_s": 0.0, "status": REFUSED, "left_s": 0.0}] * 2),
    "all timed out": trace([{"arrival_s": 0.0, "scheduled_s": 0.0, "status": TIMED_OUT, "left_s": 1.0}]),
    "one request": trace(
        [served(0.0, 0.1, 1.0)], [{"start_s": 0.0, "end_s": 1.0, "steps": 10, "sequences": 1, "decoding": 1, "base_s": 0.1}]
    ),
    "one token": trace([served(0.0, 0.1, 0.1, output=1)]),
    "no time passes": trace([served(0.0, 0.0, 0.0)] * 3),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_a_metric_is_a_finite_number_or_none(metric, run):
    value = metric.value(measured_window(RUNS[run], kv_blocks=10, promises=(Promise(Slo(ttft_s=1.0)),)))
    assert value is None or math.isfinite(value)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_a_metric_says_what_it_is_in_what_unit(metric):
    assert metric.definition[0].isupper()
    assert metric.definition.endswith(".")
    unit = {"_s": "s", "_per_s": "requests/s"}
    assert not metric.name.endswith("_per_s") or metric.unit in ("requests/s", "tokens/s")
    assert not metric.name.endswith("_s") or metric.name.endswith("_per_s") or metric.unit == unit["_s"]


def test_names_are_given_once():
    assert len({m.name for m in METRICS}) == len(METRICS)
