"""How sure a verdict is: bands, sampling, and what slower steps do near the queueing point."""

import dataclasses

import numpy as np
import pytest

from simulator.latency.error_bands import ErrorBand
from simulator.results.assurance import Behavior, assurance, judged, kept
from simulator.results.slo import Promise, SloCheck, check_slo
from simulator.workload.slo import Slo

BAND = ErrorBand(0.8, 1.0, 1.25, "runs")
NARROW = ErrorBand(0.95, 1.0, 1.05, "runs")
TTFT = {"ttft": BAND, "ttft_tail": BAND}


def term(strain: float, limit: float = 2.0, spread: float = 0.0) -> SloCheck:
    return SloCheck("ttft", 99.0, "", limit, strain * limit, strain <= 1, strain=strain, spread=spread, requests=1000, needed=230)


def behavior(bands: dict[str, ErrorBand], *strains: float, queueing: float = 10.0) -> Behavior:
    """Strains at 1, 2, 3 ... requests/s."""
    return Behavior(tuple((float(rate), (term(s),)) for rate, s in enumerate(strains, start=1)), queueing, bands)


def test_a_value_at_its_limit_is_even_chances_and_at_the_end_of_its_band_one_in_ten() -> None:
    at = [judged(term(strain), None, 0, None, TTFT) for strain in (1.0, 0.8, 1.25)]
    assert [check.chance for check in at] == pytest.approx([0.5, 0.9, 0.1])
    assert (at[0].low, at[0].high) == pytest.approx((1.6, 2.5))


def test_a_tail_has_the_band_of_tails() -> None:
    bands = {"ttft": NARROW, "ttft_tail": BAND}
    assert judged(term(0.8), None, 0, None, bands).chance == pytest.approx(0.9)
    assert judged(dataclasses.replace(term(0.8), percentile=50.0), None, 0, None, bands).chance > 0.99


def test_sampling_makes_less_sure() -> None:
    sharp, blurred = (judged(term(0.8, spread=spread), None, 0, None, TTFT) for spread in (0.0, 0.2))
    assert 0.5 < blurred.chance < sharp.chance
    assert blurred.high > sharp.high


def test_steps_that_last_longer_strain_as_the_same_server_at_a_higher_rate() -> None:
    b = behavior({}, 0.1, 0.2, 0.4, 0.8)
    assert b.strain(0, 2.0) == pytest.approx(0.2)
    assert b.slower(0, 2.0, 2.0) == pytest.approx(2 * 0.8)
    assert b.slower(0, 2.0, 5.0) == float("inf"), "at the queueing point"
    assert b.bears(0, 2.0) * b.strain(0, 2.0 * b.bears(0, 2.0)) == pytest.approx(1.0, rel=0.01)


def test_near_the_queueing_point_the_steps_error_decides() -> None:
    steps = {**TTFT, "ttft_tail": NARROW, "output_tokens_per_s": BAND}
    b = Behavior(((1.0, (term(0.1),)), (9.0, (term(0.2),))), 10.0, steps)
    far, near = judged(term(0.1), b, 0, 1.0, steps), judged(term(0.2), b, 0, 9.0, steps)
    assert far.chance > 0.99 and far.high is not None
    assert near.chance == pytest.approx(BAND.inverse().share_below(10 / 9), abs=0.01)
    assert near.high is None, "a real server may not keep up"


def test_rates_at_which_it_is_sure_likely_and_lost_are_in_order_and_hold() -> None:
    b = behavior({**TTFT, "output_tokens_per_s": NARROW}, 0.3, 0.5, 0.7, 0.9, 1.2, 2.0, 4.0)
    found = assurance((judged(term(0.9), b, 0, 4.0, b.bands),), b, 4.0, keeps_up=True)
    assert found.standing == "too close to call"
    assert found.sure_per_s < found.likely_per_s < 4.5 < found.lost_per_s
    assert kept(b, found.sure_per_s) == pytest.approx(0.9, abs=0.01)
    assert kept(b, found.lost_per_s) == pytest.approx(0.1, abs=0.01)
    assert found.queueing_low_per_s < 10 < found.queueing_high_per_s


def test_what_is_overloaded_may_still_do_where_its_point_is_just_below() -> None:
    b = behavior({**TTFT, "output_tokens_per_s": BAND}, 0.1, 0.1, queueing=2.9)
    assert assurance((), b, 3.0, keeps_up=False).standing == "too close to call"
    assert assurance((), b, 30.0, keeps_up=False).standing == "misses"


def test_more_traffic_relieves_nothing_where_a_short_run_came_out_worse_than_one_at_a_higher_rate() -> None:
    rough = Behavior(((1.0, (term(0.5),)), (4.0, (term(1.03, spread=0.23),)), (4.1, (term(0.83, spread=0.1),))), 10.0, {})
    assert rough.strain(0, 4.1) == rough.strain(0, 4.0) == pytest.approx(1.03)
    assert kept(rough, 4.0) == pytest.approx(0.45, abs=0.02), "the error of that run, not of the first"
    found = assurance([judged(term(1.03, spread=0.23), rough, 0, 4.0, {})], rough, 4.0, keeps_up=True)
    assert found.chance == pytest.approx(0.45, abs=0.02)
    assert found.sure_per_s is not None and found.lost_per_s is not None
    assert found.sure_per_s < 4.0 < found.lost_per_s


def test_what_is_not_sure_at_the_demand_is_not_sure_beyond_it() -> None:
    """The run at the demand has wider bands of its own than the rates that were tried."""
    b = behavior({}, 0.1, 0.2, 0.4, 0.8)
    found = assurance(
        [judged(term(0.8), None, 0, None, TTFT | {"ttft_tail": ErrorBand(0.5, 1.0, 2.0, "")})], b, 2.0, keeps_up=True
    )
    assert found.chance < 0.9
    assert found.sure_per_s == pytest.approx(2.0, rel=0.01)


def test_requests_without_an_answer_miss_however_sure_the_rest_is() -> None:
    b = behavior(TTFT, 0.1)
    assert assurance((judged(term(0.1), b, 0, 1.0, TTFT),), b, 1.0, keeps_up=True, answers=False).standing == "misses"


def test_the_percentile_of_a_few_requests_is_too_few_to_say_unless_it_is_sure_to_miss() -> None:
    latencies = {name: np.full(20, value) for name, value in (("ttft_s", 0.1), ("tpot_s", 0.01), ("e2e_s", 1.0))}
    (check,) = check_slo((Promise(Slo(ttft_s=1.0)),), latencies)
    assert check.too_few and (check.requests, check.needed) == (20, 230)
    ours = judged(check, None, 0, None, TTFT)
    assert assurance((ours,), None, None, keeps_up=True).standing == "too few to say"
    (far,) = check_slo((Promise(Slo(ttft_s=0.01)),), latencies)
    assert assurance((judged(far, None, 0, None, TTFT),), None, None, keeps_up=True).standing == "misses"
    (median,) = check_slo((Promise(Slo(ttft_s=1.0, percentile=50)),), latencies)
    assert assurance((judged(median, None, 0, None, TTFT),), None, None, keeps_up=True).standing == "meets"


def test_goodput_is_strained_as_the_worst_latency_of_the_share_that_must_be_good() -> None:
    ttft = np.linspace(0.01, 1.0, 1000)
    latencies = {"ttft_s": ttft, "tpot_s": np.full(1000, 0.01), "e2e_s": ttft + 1}
    *_, goodput = check_slo((Promise(Slo(ttft_s=1.0, tpot_s=0.1, percentile=90, goodput=0.5)),), latencies)
    assert goodput.strain == pytest.approx(0.505, abs=0.002)
    assert goodput.measured == 1.0


def test_crowds_of_slow_requests_make_a_percentile_less_certain() -> None:
    rng = np.random.default_rng(3)
    calm = rng.exponential(1.0, 4000)
    crowded = calm * np.repeat(rng.choice([1.0, 6.0], 20, p=[0.8, 0.2]), 200)
    spreads = []
    for values in (calm, crowded):
        latencies = {"ttft_s": values, "tpot_s": values, "e2e_s": values}
        spreads.append(check_slo((Promise(Slo(ttft_s=1.0, percentile=90)),), latencies)[0].spread)
    assert spreads[1] > 2 * spreads[0]
    assert 0.01 < spreads[0] < 0.05


def test_the_spread_is_that_of_repeated_runs() -> None:
    rng = np.random.default_rng(4)
    runs = [rng.exponential(1.0, 1000) for _ in range(200)]
    checks = [
        check_slo((Promise(Slo(ttft_s=1.0, percentile=95)),), {"ttft_s": run, "tpot_s": run, "e2e_s": run})[0] for run in runs
    ]
    seen = float(np.std([np.log(check.measured or 0.0) for check in checks]))
    assert float(np.mean([check.spread for check in checks])) == pytest.approx(seen, rel=0.25)
