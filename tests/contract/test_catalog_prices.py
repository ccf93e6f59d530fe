"""What every price of the catalog must keep."""

from datetime import date

import pytest

from simulator.catalog.gpus import gpu, gpus
from simulator.catalog.prices import Price, price, prices, providers
from simulator.errors import UnknownName

each = pytest.mark.parametrize("listed", prices(), ids=lambda listed: f"{listed.provider}-{listed.gpu}-{listed.commitment}")


@each
def test_a_price_has_a_date_and_a_source(listed: Price) -> None:
    assert listed.source
    assert date(2026, 1, 1) <= date.fromisoformat(listed.checked) <= date(2027, 12, 31)


@each
def test_a_price_is_of_a_gpu_that_the_catalog_knows_by_that_name(listed: Price) -> None:
    assert gpu(listed.gpu).name == listed.gpu


@each
def test_a_price_is_found_by_gpu_provider_and_commitment(listed: Price) -> None:
    assert price(listed.gpu, listed.provider, listed.commitment) == listed


@each
def test_dollars_an_hour_are_those_of_one_gpu(listed: Price) -> None:
    assert 0.1 < listed.usd_per_gpu_hour < 20
    assert 0.2 < listed.usd_per_gpu_hour / (gpu(listed.gpu).flops["fp16"] / 1e15) < 15


def test_the_price_without_a_provider_is_the_cheapest_machine_of_ones_own() -> None:
    offers = [p for p in prices("h100") if p.commitment == "on-demand"]
    assert price("h100") == min(offers, key=lambda p: p.usd_per_gpu_hour)
    assert prices("h100")[0].commitment == "community", "a community offer is cheaper, and not taken"


def test_a_gpu_without_a_price_has_none() -> None:
    assert price("v100") is None
    assert price("h100", provider="digitalocean") is None
    assert {g.name for g in gpus()} - {p.gpu for p in prices()}, "not every GPU has a price"


def test_a_provider_or_commitment_nobody_has_is_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'lambda'"):
        price("h100", provider="lamda")
    with pytest.raises(UnknownName, match="did you mean 'on-demand'"):
        price("h100", commitment="on_demand")
    assert "aws" in providers()
