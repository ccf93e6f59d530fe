"""The page of `sim size`: the answer first, every candidate with its reason, and the price with its date."""

import dataclasses
import re
from pathlib import Path

import pytest
from support.planning_fixtures import small

from simulator.planning.machines.pool import Processes
from simulator.planning.size import Ask, Sizing, answered, size
from simulator.report.pages.size import size_page
from simulator.scenario import load


@pytest.fixture(scope="module")
def sizing(tmp_path_factory: pytest.TempPathFactory) -> Sizing:
    return size(load(small(tmp_path_factory.mktemp("size"))), ask=Ask(growth=2.0), machine=Processes(1))


def test_the_answer_stands_before_the_table_and_every_candidate_has_its_reason(sizing: Sizing) -> None:
    page = size_page(answered(sizing, Processes(1)))
    answer, table = page.index("L40S: 1 GPU = 1 replica x 1 GPU, $1.00 an hour, $730 a month"), page.index("why it lost")
    assert answer < table < page.index("What more traffic costs") < page.index("Replicas that more traffic needs")
    assert "Costs $2.00 an hour more (200%)." in page
    assert "Does not start:" in page
    assert "$1.00 per GPU-hour, given in the scenario." in page
    assert "x2: 40/s" in page


def test_a_listed_price_has_provider_and_date_and_an_unknown_one_says_how_to_give_it(sizing: Sizing) -> None:
    listed = dataclasses.replace(sizing.scenario, prices=dataclasses.replace(sizing.scenario.prices, usd_per_gpu_hour={}))
    text = size_page(dataclasses.replace(sizing, scenario=listed)).split("why it lost")[1].split("</table>")[0]
    assert re.search(r"\$\d+\.\d\d per GPU-hour, \w+ on-demand[^<]*, 20\d\d-\d\d-\d\d\.", text)
    no_price = tuple(dataclasses.replace(c, usd_per_hour=float("inf"), price="") for c in sizing.candidates)
    nowhere = dataclasses.replace(listed.prices, provider="aws", commitment="community")
    unpriced = dataclasses.replace(sizing, scenario=dataclasses.replace(listed, prices=nowhere), candidates=no_price)
    text = size_page(unpriced)
    assert "No price is known: give prices.usd_per_gpu_hour.l40s." in text
    assert "$inf" not in text


def test_where_nothing_will_do_the_nearest_is_named(tmp_path: Path) -> None:
    impossible = size(load(small(tmp_path, ("tpot_s: 0.05", "tpot_s: 0.005"))), machine=Processes(1))
    page = size_page(impossible)
    assert "No configuration will do" in page
    assert "Nearest is" in page
