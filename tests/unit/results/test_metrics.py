"""What the numbers of a run mean, worked by hand."""

import numpy as np
import pytest
from support.traces import served, trace

from simulator.engine.record import REFUSED, TIMED_OUT
from simulator.results import metrics
from simulator.results.metrics import METRICS, Measures, Metric, Sample, measure, measured_window, window_latencies
from simulator.results.slo import Promise
from simulator.results.tables import latencies, requests_table, stretches_table, trace_of
from simulator.workload.slo import Slo


def numbers(t, **given):
    return measure(measured_window(t, **given))


def test_ttft_is_arrival_to_first_token_and_tpot_leaves_it_out():
    columns = latencies(trace([served(1.0, 1.5, 2.5, output=11)]))
    assert columns["ttft_s"][0] == pytest.approx(0.5)
    assert columns["tpot_s"][0] == pytest.approx(0.1)
    assert columns["e2e_s"][0] == pytest.approx(1.5)


def test_a_request_of_one_token_has_no_tpot():
    found = numbers(trace([served(0.0, 0.5, 0.5, output=1), served(1.0, 1.5, 2.5, output=11)]))
    assert found["tpot_mean_s"] == pytest.approx(0.1)
    assert found["ttft_mean_s"] == pytest.approx(0.5)


def test_a_request_that_did_not_finish_has_no_latency():
    t = trace([served(0.0, 0.5, 1.0), {"arrival_s": 0.0, "first_token_s": 5.0, "left_s": 9.0, "status": TIMED_OUT}])
    assert np.isnan(latencies(t)["ttft_s"][1])
    assert numbers(t)["ttft_mean_s"] == pytest.approx(0.5)
    assert numbers(t)["abandoned"] == 1


def test_the_front_end_delays_the_first_token_and_the_last_but_not_the_gaps_between():
    t = trace([served(0.0, 0.5, 1.5)]).with_frontend(np.array([0.2]))
    columns = latencies(t)
    assert columns["ttft_s"][0] == pytest.approx(0.7)
    assert columns["e2e_s"][0] == pytest.approx(1.7)
    assert columns["tpot_s"][0] == pytest.approx(0.1)


def test_percentiles_interpolate_as_numpy_does():
    t = trace([served(0.0, wait, 5.0) for wait in (1.0, 2.0, 3.0, 4.0)])
    assert numbers(t)["ttft_p50_s"] == pytest.approx(2.5)
    assert numbers(t)["ttft_p99_s"] == pytest.approx(3.97)


def test_throughput_does_not_count_the_draining_after_the_last_arrival():
    t = trace([served(float(i), i + 0.5, i + 1.0) for i in range(11)])
    assert numbers(t)["requests_per_s"] == pytest.approx(1.0)
    assert numbers(t)["bench_requests_per_s"] == pytest.approx(1.0)
    late = trace([served(float(i), i + 0.5, i + 1.0 + (5.0 if i == 10 else 0.0)) for i in range(11)])
    assert numbers(late)["requests_per_s"] == pytest.approx(1.0)
    assert numbers(late)["bench_requests_per_s"] == pytest.approx(11 / 16)


def test_a_batch_is_measured_to_its_last_finish():
    found = numbers(trace([served(0.0, 1.0, finish) for finish in (2.0, 4.0, 8.0)]))
    assert found["measured_s"] == pytest.approx(8.0)
    assert found["requests_per_s"] == pytest.approx(3 / 8)


def test_output_tokens_are_counted_in_the_share_of_a_stretch_that_lies_in_the_window():
    steps = [{"start_s": 0.0, "end_s": 10.0, "steps": 100, "sampled": 3, "sequences": 3, "decoding": 3, "base_s": 0.1}]
    t = trace([served(0.0, 0.1, 4.0), served(5.0, 5.1, 10.0)], steps)
    found = numbers(t, gpus=2)
    assert found["measured_s"] == pytest.approx(5.0)
    assert found["output_tokens_per_s"] == pytest.approx(30.0)
    assert found["output_tokens_per_s_per_gpu"] == pytest.approx(15.0)


def test_inter_token_latencies_are_weighted_by_how_many_sequences_saw_them():
    steps = [
        {"start_s": 0.0, "end_s": 1.0, "steps": 10, "decoding": 9, "sampled": 9, "sequences": 9, "base_s": 0.1},
        {"start_s": 1.0, "end_s": 2.0, "steps": 1, "decoding": 10, "sampled": 10, "sequences": 10, "base_s": 1.0},
    ]
    found = numbers(trace([served(0.0, 0.1, 1.0), served(2.0, 2.1, 2.2)], steps))
    assert found["itl_mean_s"] == pytest.approx((90 * 0.1 + 10 * 1.0) / 100)
    assert found["itl_p50_s"] == pytest.approx(0.1)
    assert found["itl_p99_s"] == pytest.approx(1.0)


def test_a_gap_that_a_preemption_stretched_counts_once():
    steps = [{"start_s": 0.0, "end_s": 1.0, "steps": 10, "decoding": 1, "sampled": 1, "sequences": 1, "base_s": 0.1}]
    found = numbers(trace([served(0.0, 0.1, 1.0)], steps, gaps=[3.0]))
    assert found["itl_mean_s"] == pytest.approx((10 * 0.1 + 3.0) / 11)


def test_running_is_averaged_over_time_and_summed_over_replicas():
    steps = [
        {"replica": 0, "start_s": 0.0, "end_s": 4.0, "sequences": 2, "steps": 1},
        {"replica": 1, "start_s": 2.0, "end_s": 4.0, "sequences": 4, "steps": 1},
    ]
    found = numbers(trace([served(0.0, 0.1, 1.0), served(4.0, 4.0, 4.0)], steps, (16, 16)), replicas=2)
    assert found["running_mean"] == pytest.approx(4.0)
    assert found["running_peak"] == 6


def test_back_to_back_stretches_do_not_add_up_to_a_peak():
    steps = [{"start_s": i, "end_s": i + 1.0 + 1e-13, "sequences": 5, "steps": 1} for i in range(4)]
    assert numbers(trace([served(0.0, 1.0, 2.0), served(4.0, 4.0, 4.0)], steps))["running_peak"] == 5


def test_kv_use_is_a_share_of_all_replicas_blocks_and_its_peak_of_one():
    steps = [{"replica": r, "start_s": 0.0, "end_s": 1.0, "kv_blocks": blocks, "steps": 1} for r, blocks in ((0, 50), (1, 100))]
    found = numbers(trace([served(0.0, 0.1, 1.0), served(1.0, 1.0, 1.0)], steps, (16, 16)), replicas=2, kv_blocks=100)
    assert found["kv_use_mean"] == pytest.approx(0.75)
    assert found["kv_use_peak"] == pytest.approx(1.0)


def test_goodput_counts_only_requests_that_meet_every_limit():
    promises = (Promise(Slo(ttft_s=1.0, tpot_s=0.2)),)
    t = trace([served(0.0, 0.5, 1.5), served(1.0, 3.0, 4.0), served(2.0, 2.5, 9.0), served(10.0, 10.5, 11.5)])
    found = numbers(t, promises=promises)
    assert found["goodput_share"] == pytest.approx(0.5)
    assert found["goodput_per_s"] == pytest.approx(1 / 10)


def test_goodput_does_not_exist_without_an_slo():
    assert numbers(trace([served(0.0, 0.5, 1.0)]))["goodput_share"] is None


def test_what_was_refused_counts_against_goodput():
    t = trace([served(0.0, 0.5, 1.0), {"arrival_s": 1.0, "status": REFUSED, "left_s": 1.0}])
    assert numbers(t, promises=(Promise(Slo(ttft_s=1.0)),))["goodput_share"] == pytest.approx(0.5)
    assert numbers(t)["refused"] == 1


def test_requests_that_arrive_during_warm_up_are_not_measured():
    t = trace([served(float(i), i + (5.0 if i < 5 else 0.5), i + 20.0) for i in range(20)])
    assert numbers(t, warmup_s=5.0)["ttft_mean_s"] == pytest.approx(0.5)
    assert len(window_latencies(measured_window(t, warmup_s=5.0))["ttft_s"]) == 15


def test_an_unsteady_run_has_no_latency_no_goodput_and_no_mean_queue():
    t = trace([served(0.0, 0.5, 1.0), served(1.0, 1.5, 2.0)], [{"start_s": 0.0, "end_s": 2.0, "steps": 1, "sequences": 1}])
    steady, unsteady = (measure(measured_window(t, promises=(Promise(Slo(ttft_s=1.0)),)), steady=flag) for flag in (True, False))
    hidden = {name for name in steady if steady[name] is not None and unsteady[name] is None}
    assert {"ttft_mean_s", "ttft_p99_s", "tpot_p50_s", "e2e_p90_s", "queue_p99_s", "goodput_per_s", "waiting_mean"} <= hidden
    assert unsteady["output_tokens_per_s"] is not None
    assert hidden == {m.name for m in METRICS if m.steady and steady[m.name] is not None}


def test_a_run_that_finished_nothing_has_no_numbers_instead_of_zeros_or_errors():
    found = numbers(trace([{"arrival_s": 0.0, "status": REFUSED, "left_s": 0.0}] * 3), promises=(Promise(Slo(ttft_s=1.0)),))
    assert found["refused"] == 3
    assert found["ttft_p50_s"] is None
    assert found["requests_per_s"] is None


def test_a_trace_survives_its_tables():
    steps = [{"replica": r, "start_s": 0.5 * r, "end_s": 2.0, "steps": 3, "sequences": 2, "kv_blocks": 7} for r in (0, 1)]
    requests = [served(0.0, 0.5, 1.0), {"arrival_s": 1.0, "status": REFUSED, "replica": -1}]
    t = trace(requests, steps, (16, 32), gaps=[0.7]).with_frontend(np.array([0.1, 0.2]))
    back = trace_of(requests_table(t), stretches_table(t))
    for name in t.requests:
        np.testing.assert_array_equal(back.requests[name], t.requests[name], err_msg=name)
    for name in t.stretches:
        np.testing.assert_array_equal(back.stretches[name], t.stretches[name], err_msg=name)
    assert (back.refusals, back.block_size) == (t.refusals, t.block_size)
    np.testing.assert_array_equal(back.gaps_s, t.gaps_s)


def test_tables_hold_null_and_words_where_the_trace_holds_codes():
    frame = requests_table(trace([{"arrival_s": 0.0, "status": REFUSED}, served(0.0, 0.5, 1.0, output=1)]))
    assert frame["status"].to_list() == ["refused", "finished"]
    assert frame["refusal"].to_list() == ["too long", None]
    assert frame["tpot_s"].to_list() == [None, None]
    assert frame["finish_s"].to_list() == [None, 1.0]


def test_every_metric_is_defined_in_a_sentence_and_named_once():
    names = [m.name for m in METRICS]
    assert len(set(names)) == len(names)
    assert all(m.definition.endswith(".") for m in METRICS)


def test_a_metric_is_worked_out_when_it_is_asked_for_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Sample] = []

    def counted(sample: Sample) -> float:
        asked.append(sample)
        return 2.0

    monkeypatch.setitem(metrics._BY_NAME, "itl_mean_s", Metric("itl_mean_s", "s", "", counted))
    found = Measures(measured_window(trace([served(0.0, 0.5, 1.5)])), times={"itl_mean_s": 3.0})
    assert found["requests_per_s"] is not None and not asked
    assert (found["itl_mean_s"], found["itl_mean_s"], len(asked)) == (6.0, 6.0, 1)
    assert list(found) == [metric.name for metric in METRICS]
