"""Which deployment to rent."""

import dataclasses

import pytest
from support.report_fixtures import nothing_fits, served, unfitting

from simulator.results.assurance import Assurance
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


def test_nothing_fits_and_the_nearest_way_out_is_named_with_its_card():
    far, near = nothing_fits().deployments
    found = recommend([far, near], 4.0)
    assert found.deployment is None
    needed = [d.memory.used_bytes / d.memory.total_bytes for d in (far, near)]
    assert needed[1] < needed[0]
    assert found.sentence.endswith(f"{near.name} ({near.title}) with {near.remedies[0]}.")


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


def sured(d, chance, **more):
    standing = "meets" if chance >= 0.9 else "too close to call" if chance > 0.1 else "misses"
    return dataclasses.replace(d, assurance=Assurance(standing, chance, **more))


def test_what_is_sure_wins_over_what_is_cheaper_and_too_close_to_call():
    close, safe = sured(priced("close", 1.0), 0.8), sured(priced("safe", 2.0), 0.97, sure_per_s=6.0)
    found = recommend([close, safe], 4.0)
    assert (found.deployment, found.chance) == ("safe", 0.97)
    assert "(97% sure)" in found.sentence and "room for 50% more traffic" in found.sentence
    (open_,) = [line for line in found.lines if "close (" in line]
    assert open_.startswith("Cheaper and too close to call: close (")
    assert "80% sure" in open_ and "sim calibrate" in open_
    assert any(
        "at +50 % it still will do, at twice the traffic it takes 2 replicas ($4.00 an hour)" in line for line in found.lines
    )


def test_what_is_likely_is_recommended_only_where_nothing_is_sure_and_says_so():
    found = recommend([sured(priced("likely", 3.0), 0.75), sured(priced("open", 1.0), 0.5)], 4.0)
    assert found.deployment == "likely"
    assert "likely to meet the SLO, and nothing here is sure to (75% sure)" in found.sentence
    assert any("two measured runs" in line for line in found.lines)


def test_room_is_counted_to_the_rate_that_growth_is_counted_to():
    likely = priced("likely", 3.0, slo_capacity=Estimate(8.0, 7.0, 9.0))
    found = recommend([sured(likely, 0.75, likely_per_s=5.0)], 4.0)
    assert "with room for 25% more traffic" in found.sentence
    assert "Likely up to 5 requests/s; at +50 % it takes 2 replicas" in " ".join(found.lines)


@pytest.mark.parametrize("chance", [0.3, 0.41, 0.5, 0.55, 0.6])
def test_what_is_less_than_likely_is_not_recommended_whichever_side_of_the_limit_it_came_out(chance):
    near = sured(missed("near", 3.0, 1.1) if chance < 0.5 else priced("near", 3.0), chance, likely_per_s=2.5)
    found = recommend([near, sured(missed("far", 1.0, 9.0), 0.01)], 4.0)
    assert found.deployment is None
    assert found.sentence.startswith("Nothing here is sure to meet the SLO at 4 requests/s. Too close to call: near (")
    assert any("2 replicas of near" in line and "($6.00 an hour)" in line for line in found.lines)


def test_too_few_requests_are_named_with_how_many_would_tell():
    few = dataclasses.replace(priced("few", 1.0), assurance=Assurance("too few to say", 0.95, needed=230))
    assert "few (too few requests to say: 230 would tell)" in recommend([few], 4.0).sentence


def test_the_price_comes_with_its_date_and_a_month():
    dated = priced("dated", 2.0)
    dated = dataclasses.replace(dated, cost=Cost(2.0, 2.0, "list: http://x", "2026-11-01", usd_per_month=1460.0))
    assert "1 GPU: $2.00 an hour, $1,460 a month (list, 2026-11-01)." in recommend([dated], 4.0).lines


def test_what_misses_has_no_headroom():
    late = missed("late", 1.0, 3.0)
    assert headroom(dataclasses.replace(late, slo_capacity=Estimate(6.0, 5.0, 7.0)), 4.0) is None


def test_headroom_is_capacity_within_the_slo_over_demand_less_one():
    d = priced("d", 1.0, slo_capacity=Estimate(6.0, 5.0, 7.0), queueing_point=Estimate(9.0, 8.0, 9.5))
    assert headroom(d, 4.0) == pytest.approx(0.5)
    assert headroom(dataclasses.replace(d, slo_capacity=None, slo=()), 4.0) == pytest.approx(1.25)
    assert headroom(dataclasses.replace(d, slo_capacity=None), 4.0) is None
    assert headroom(d, None) is None


def test_room_and_growth_of_traffic_that_varies_are_counted_from_its_peak() -> None:
    d = priced("cheap", 2.0, slo_capacity=Estimate(14.0, 13.0, 15.0), queueing_point=Estimate(20.0, 19.0, 21.0))
    d = dataclasses.replace(d, assurance=Assurance("meets", 0.95, sure_per_s=12.0))
    even, varying = recommend([d], 6.0), recommend([d], 6.0, 10.0)
    assert "with room for 100% more traffic" in even.sentence
    assert "with room for 20% more traffic" in varying.sentence
    assert varying.headroom == pytest.approx(0.4)
    (growth,) = [line for line in varying.lines if "even traffic" in line]
    assert growth.startswith("Sure up to 12 requests/s of even traffic, against a peak of 10/s; at +50 % it takes 2 replicas")
    assert "at +50 % it still will do" in " ".join(even.lines)
