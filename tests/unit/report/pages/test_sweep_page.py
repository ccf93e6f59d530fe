"""The page of `sim sweep`: what no other point beats, and why points did not serve."""

import polars as pl

from simulator.report.pages.sweep import front, sweep_page

AXIS = "engine.max_num_seqs"


def _row(seats: int, cost: float | None, strain: float | None, verdict: str = "stable", **more: object) -> dict[str, object]:
    known = {
        AXIS: seats,
        "deployment": "L40S",
        "status": "done",
        "reason": "",
        "verdict": verdict,
        "slo_met": strain is not None and strain <= 1,
        "slo_strain": strain,
        "gpus": 1,
        "usd_per_hour": 1.0,
        "usd_per_million_output_tokens": cost,
        "output_tokens_per_s": 1000.0 + seats,
        "tpot_p50_s": 0.02,
    }
    return {**known, **more}


def test_the_front_is_what_no_other_point_beats_in_both() -> None:
    rows = [_row(1, 1.0, 2.0), _row(2, 2.0, 1.0), _row(3, 2.5, 1.5), _row(4, 0.5, None, "overloaded"), _row(5, 1.0, 2.5)]
    assert front(rows, judged=True) == [0, 1]


def test_points_that_are_the_same_are_both_on_the_front() -> None:
    assert front([_row(1, 1.0, 0.5), _row(2, 1.0, 0.5)], judged=True) == [0, 1]


def test_without_prices_output_per_gpu_stands_for_cost() -> None:
    rows = [_row(1, None, 0.5, output_tokens_per_s=100.0), _row(2, None, 0.5, output_tokens_per_s=300.0, gpus=2)]
    assert front(rows, judged=True) == [1]


def test_the_page_says_what_will_do_and_why_the_others_did_not() -> None:
    failed = {AXIS: 0, "deployment": "L40S", "status": "failed", "reason": "must be greater than 0"}
    unfit = {AXIS: 4, "deployment": "T4", "status": "done", "verdict": "does not fit", "reason": "weights need 15 GiB"}
    rows = [_row(16, 1.0, 0.5), _row(64, 0.5, 0.9), _row(256, 0.4, 1.3), failed, unfit]
    page = sweep_page("small", pl.DataFrame(rows, infer_schema_length=None), [AXIS]).split("<script>")[0]
    assert "2 of 5 points meet the SLO" in page
    assert "Least a token: L40S with max_num_seqs 64, $0.50 per million output tokens." in page
    assert "L40S with max_num_seqs 0" in page
    assert "Must be greater than 0." in page
    assert "Weights need 15 GiB." in page


def test_a_sweep_in_which_nothing_served_has_no_drawing() -> None:
    failed = {AXIS: 0, "deployment": "L40S", "status": "failed", "reason": "must be greater than 0"}
    page = sweep_page("small", pl.DataFrame([failed]), [AXIS]).split("<script>")[0]
    assert "No point will do" in page
    assert "data-figure" not in page
