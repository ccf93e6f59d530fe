"""What holds for the numbers of any run."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.report_fixtures import step_time

from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.serve import serve
from simulator.report.charts.data import ecdf, level, thin
from simulator.results.metrics import METRICS, measure, measured_window
from simulator.results.slo import Promise
from simulator.results.steady_state import backlog, judge
from simulator.results.tables import latencies, requests_table, stretches_table, trace_of
from simulator.workload.requests import Requests
from simulator.workload.slo import Slo

SLO = (Promise(Slo(ttft_s=0.5, tpot_s=0.05, goodput=0.9)),)
lengths = st.integers(1, 60)
runs = st.lists(st.tuples(st.floats(0, 2), lengths, lengths), min_size=1, max_size=25)


def served(rows, blocks=12, seats=4, replicas=2):
    arrivals = np.cumsum([gap for gap, _, _ in rows])
    asked = Requests(arrivals, np.array([p for _, p, _ in rows]), np.array([o for _, _, o in rows]))
    limits = SchedulerConfig(kv_blocks=blocks, max_num_seqs=seats, max_num_batched_tokens=48)
    return serve(asked, [(step_time(0.01, 1e-4), limits)] * replicas)


@given(runs)
def test_every_metric_is_a_finite_number_or_none(rows):
    found = measure(measured_window(served(rows), gpus=2, replicas=2, kv_blocks=12, promises=SLO, warmup_s=0.5))
    assert set(found) == {m.name for m in METRICS}
    assert all(value is None or math.isfinite(value) for value in found.values())


@given(runs)
def test_percentiles_are_ordered_and_shares_are_shares(rows):
    found = measure(measured_window(served(rows), replicas=2, kv_blocks=12, promises=SLO))
    for name in ("ttft", "tpot", "itl", "e2e", "queue"):
        values = [found[f"{name}_p{q}_s"] for q in (50, 90, 99)]
        assert values == sorted(values, key=lambda v: (v is not None, v))
    for name in ("goodput_share", "kv_use_mean", "kv_use_peak", "prefix_hit_rate"):
        assert found[name] is None or 0 <= found[name] <= 1


@given(runs)
def test_requests_add_up(rows):
    found = measure(measured_window(served(rows)))
    assert found["finished"] + found["refused"] + found["abandoned"] == len(rows)


@given(runs)
def test_a_request_takes_its_first_token_and_then_its_gaps(rows):
    t = served(rows)
    columns, output = latencies(t), t.requests["output_tokens"]
    many = np.isfinite(columns["tpot_s"])
    rebuilt = columns["ttft_s"][many] + columns["tpot_s"][many] * (output[many] - 1)
    np.testing.assert_allclose(rebuilt, columns["e2e_s"][many], rtol=1e-9, atol=1e-9)


@given(runs)
def test_the_mean_backlog_is_the_arrival_rate_times_the_mean_stay(rows):
    """Little's law over the whole run, which begins and ends empty."""
    t = served(rows)
    stay = t.requests["left_s"] - t.requests["arrival_s"]
    stay = stay[t.requests["status"] == 0]
    times = np.unique(np.concatenate([t.requests["arrival_s"], t.requests["left_s"]]))
    area = float((backlog(t, times)[:-1] * np.diff(times)).sum()) if len(times) > 1 else 0.0
    assert area == pytest.approx(float(stay.sum()), abs=1e-6)


@given(runs)
def test_tables_give_the_trace_back(rows):
    t = served(rows)
    back = trace_of(requests_table(t), stretches_table(t))
    for name, column in t.requests.items():
        np.testing.assert_array_equal(back.requests[name], column, err_msg=name)
    for name, column in t.stretches.items():
        np.testing.assert_array_equal(back.stretches[name], column, err_msg=name)


@given(runs, st.booleans())
def test_a_verdict_is_always_given(rows, open_loop):
    found = judge(served(rows), open_loop=open_loop)
    assert found.verdict in ("stable", "saturated", "overloaded")
    assert found.drift_low_per_s <= found.drift_per_s <= found.drift_high_per_s


@given(runs)
def test_the_drawn_level_has_the_measured_mean_and_peak(rows):
    t = served(rows)
    s = measured_window(t, replicas=2)
    times, values = level(t, "sequences")
    whole = float((t.stretches["sequences"] * (t.stretches["end_s"] - t.stretches["start_s"])).sum())
    assert float((values[:-1] * np.diff(times)).sum()) == pytest.approx(whole, abs=1e-6)
    peak = measure(s)["running_peak"]
    assert peak is None or values.max() >= peak


points = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=400)


@given(points, st.integers(4, 60))
@settings(deadline=None, max_examples=60)
def test_thinning_keeps_ends_extremes_and_order(values, most):
    y = np.array(values)
    x = np.arange(len(y), dtype=np.float64)
    times, kept = thin(x, y, most)
    assert len(times) <= max(most, 4)
    assert (kept.min(), kept.max()) == (y.min(), y.max())
    assert (times[0], times[-1], kept[0], kept[-1]) == (x[0], x[-1], y[0], y[-1])
    assert (np.diff(times) > 0).all()


@given(points)
def test_a_distribution_rises_from_its_smallest_to_its_largest_value(values):
    at, share = ecdf(np.array([*values, np.nan]))
    assert (np.diff(at) >= 0).all()
    assert (at[0], at[-1]) == (min(values), max(values))
    assert (share[0], share[-1]) == (0, 1)
