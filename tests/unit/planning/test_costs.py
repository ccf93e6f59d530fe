"""Dollars and watts, worked by hand."""

import dataclasses

import pytest

from simulator.catalog import gpu
from simulator.planning.costs import IDLE_SHARE, cost, owned_usd_per_gpu_hour, price_of, usd_per, watts
from simulator.scenario import Deployment, Owned, Prices

H100 = gpu("h100-sxm")
EIGHT = Deployment(gpu=H100, tensor_parallel_size=4, replicas=2)


def test_a_price_of_the_deployment_wins_over_every_other() -> None:
    prices = Prices(usd_per_gpu_hour={"H100": 2.0}, owned=Owned(usd_per_gpu=30_000, years=4, usd_per_kwh=0.1))
    assert price_of(EIGHT.with_pool(usd_per_gpu_hour=1.5).pool, prices) == (1.5, "given in the scenario", "")


def test_a_price_of_the_scenario_is_found_under_any_name_of_the_gpu() -> None:
    assert price_of(EIGHT.pool, Prices(usd_per_gpu_hour={"NVIDIA H100 80GB HBM3": 2.0})) == (2.0, "given in the scenario", "")


def test_a_listed_price_comes_with_its_source_and_date() -> None:
    found = price_of(EIGHT.pool, Prices(provider="aws"))
    assert found is not None
    assert found[0] == 6.88
    assert "aws" in found[1]
    assert found[2].startswith("20")


def test_a_gpu_that_nobody_lists_has_no_price() -> None:
    mine = dataclasses.replace(H100, name="of-my-own")
    assert price_of(EIGHT.with_pool(gpu=mine).pool, Prices()) is None
    assert cost(EIGHT.with_pool(gpu=mine), Prices()) is None


def test_owned_hardware_costs_its_price_over_its_years_and_its_power() -> None:
    owned = Owned(usd_per_gpu=35_064, years=4, usd_per_kwh=0.10, pue=1.5, watts_per_gpu=1000)
    assert owned_usd_per_gpu_hour(owned, H100) == pytest.approx(1.0 + 0.15)


def test_a_deployment_costs_all_its_gpus() -> None:
    found = cost(EIGHT, Prices(usd_per_gpu_hour={"h100-sxm": 2.0}), output_tokens_per_s=1000.0, total_tokens_per_s=4000.0)
    assert found is not None
    assert found.usd_per_hour == 16.0
    assert found.usd_per_month == pytest.approx(11_680)
    assert found.usd_per_million_output_tokens == pytest.approx(16 / 3.6)
    assert found.usd_per_million_total_tokens == pytest.approx(4 / 3.6)


def test_what_never_comes_has_no_price() -> None:
    assert usd_per(1e6, 2.0, 0.0) is None
    assert usd_per(1e6, 2.0, None) is None


def test_power_is_tdp_while_busy_and_a_share_of_it_otherwise() -> None:
    assert watts(H100, 1.0) == H100.tdp_watts
    assert watts(H100, 0.0) == pytest.approx(H100.tdp_watts * IDLE_SHARE)


def test_electricity_is_what_is_stated_or_the_owner_s_with_its_room() -> None:
    owned = Owned(usd_per_gpu=1000, years=4, usd_per_kwh=0.2, pue=1.5)
    assert Prices().electricity() is None
    assert Prices(owned=owned).electricity() == pytest.approx(0.3)
    assert Prices(owned=owned, usd_per_kwh=0.1).electricity() == 0.1
    found = cost(EIGHT, Prices(provider="aws", usd_per_kwh=0.1), busy=1.0)
    assert found is not None
    assert (found.watts, found.usd_per_kwh) == (8 * H100.tdp_watts, 0.1)
