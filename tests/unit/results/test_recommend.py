"""Which deployment to rent."""

import dataclasses

import pytest
from support.report_fixtures import nothing_fits, served, unfitting

from simulator.results.model import Cost, Estimate
from simulator.results.recommend import headroom, recommend
from simulator.results.slo import SloCheck


def priced(name, usd, **changes):
    return dataclasses.replace(served("h100", count=50), name=name, cost=Cost(usd, usd, "list", "2026-11-01"), **changes)


def missed(name, usd, seconds):
    return priced(name, usd, slo=(SloCheck("ttft", 99.0, "", 1.0, seconds, False),))


def test_of_equally_cheap_ones_the_one_with_more_room_is_recommended() -> None:
    tight = dataclasses.replace(priced("tight", 2.0), slo_capacity=Estimate(4.2, 4.1, 4.3))
    roomy = dataclasses.replace(priced("roomy", 2.0), slo_capacity=Estimate(6.0, 5.9, 6.1))
    assert recommend([tight, roomy], 4.0).deployment == "roomy"


def test_the_cheapest_that_meets_the_slo_wins():
    found = recommend([priced("dear", 9.0), priced("cheap", 2.0), missed("cheaper", 1.0, 3.0), unfitting()], 4.0)
    assert (found.deployment, found.usd_per_hour) == ("cheap", 2.0)
    assert "cheapest of 2" in found.sentence


def test_a_stable_one_is_preferred_to_a_cheaper_saturated_one():
    assert recommend([priced("full", 1.0, verdict="saturated"), priced("calm", 2.0)], 4.0).deployment == "calm"


def test_an_overloaded_one_is_never_recommended():
    assert recommend([priced("cheap", 1.0, verdict="overloaded"), priced("calm", 2.0)], 4.0).deployment == "calm"


def test_one_that_leaves_requests_unanswered_is_never_recommended_and_the_nearest_is_named() -> None:
    deaf = priced("deaf", 1.0, verdict="requests unanswered", reason="2% of the requests get no answer")
    assert recommend([deaf, priced("calm", 2.0)], 4.0).deployment == "calm"
    worse = dataclasses.replace(deaf, name="worse", metrics={**(deaf.metrics or {}), "unanswered_share": 0.5})
    sentence = recommend([worse, deaf], 4.0).sentence
    assert "Nothing here answers enough of the requests" in sentence
    assert sentence.endswith("deaf (1 x H100 SXM, bf16): 2% of the requests get no answer.")


def test_without_all_prices_the_fewest_gpus_win():
    found = recommend([priced("eight", 1.0, gpus=8), dataclasses.replace(priced("one", 9.0), cost=None)], 4.0)
    assert found.deployment == "one"
    assert "smallest" in found.sentence or "only" in found.sentence


def test_nothing_fits_and_the_nearest_way_out_is_named():
    found = recommend(nothing_fits().deployments, 4.0)
    assert found.deployment is None
    assert nothing_fits().deployments[0].remedies[0] in found.sentence


def test_a_missed_slo_names_the_nearest_and_by_how_much():
    found = recommend([missed("far", 1.0, 9.0), missed("near", 1.0, 1.2)], 4.0)
    assert found.deployment is None
    assert "near" in found.sentence
    assert "1.2 s against 1 s" in found.sentence


def test_nobody_keeping_up_names_who_comes_closest():
    few, more = (priced(n, 1.0, verdict="overloaded", queueing_point=Estimate(q, q, q)) for n, q in (("few", 1.0), ("more", 3.0)))
    sentence = recommend([few, more], 4.0).sentence
    assert "more" in sentence
    assert "3 requests/s" in sentence


def test_no_deployments_is_no_error():
    assert recommend([], 4.0).deployment is None


def test_headroom_is_capacity_within_the_slo_over_demand_less_one():
    d = priced("d", 1.0, slo_capacity=Estimate(6.0, 5.0, 7.0), queueing_point=Estimate(9.0, 8.0, 9.5))
    assert headroom(d, 4.0) == pytest.approx(0.5)
    assert headroom(dataclasses.replace(d, slo_capacity=None, slo=()), 4.0) == pytest.approx(1.25)
    assert headroom(dataclasses.replace(d, slo_capacity=None), 4.0) is None
    assert headroom(d, None) is None
