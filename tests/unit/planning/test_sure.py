"""What a sizing takes: what is surely enough at the least cost, not what should do by a hair."""

import dataclasses

import pytest
from support.planning_fixtures import small

from simulator.planning.ci_checks import sizing_checks
from simulator.planning.machines.pool import Processes
from simulator.planning.size import Sizing, answered, size
from simulator.planning.sure import Choice, chosen, settled, surest
from simulator.report.pages.size import size_page
from simulator.report.sizing import sentences
from simulator.results.assurance import Assurance
from simulator.scenario import load

MEETS = Assurance("meets", 0.97, sure_per_s=25.0)


@pytest.fixture(scope="module")
def sizing(tmp_path_factory: pytest.TempPathFactory) -> Sizing:
    """20 requests/s: one L40S at $1 an hour, or one H100 at $3."""
    found = size(load(small(tmp_path_factory.mktemp("sure"))), machine=Processes(1))
    return answered(found, Processes(1))


def standing(sizing: Sizing, *assurances: Assurance) -> Sizing:
    """The sizing with other chances of what was run."""
    runs = zip(sizing.answers, assurances, strict=True)
    answers = tuple(dataclasses.replace(answer, assurance=each) for answer, each in runs)
    return dataclasses.replace(sizing, answers=answers)


def close(sure_per_s: float | None) -> Assurance:
    return Assurance("too close to call", 0.6, sure_per_s=sure_per_s)


def taken(sizing: Sizing) -> tuple[str, int]:
    choice = chosen(sizing)
    assert choice is not None
    return choice.candidate.deployment.name, choice.replicas


def test_the_cheapest_is_taken_where_it_is_sure(sizing: Sizing) -> None:
    assert taken(standing(sizing, MEETS, MEETS)) == ("L40S", 1)


def test_two_replicas_that_are_sure_are_taken_before_one_that_is_close(sizing: Sizing) -> None:
    held = standing(sizing, close(11.0), MEETS)
    assert taken(held) == ("L40S", 2)
    first, second, *_ = sentences(held, 12)
    assert first.startswith("Take L40S: 2 GPUs = 2 replicas x 1 GPU (90% sure")
    assert second.startswith("Cheaper and less than sure: L40S (1 GPU = 1 replica x 1 GPU, $1.00")


def test_a_dearer_card_is_taken_where_it_is_cheaper_to_be_sure(sizing: Sizing) -> None:
    held = standing(sizing, close(5.5), MEETS)
    assert taken(held) == ("H100", 1)
    assert "Cheaper and less than sure: L40S" in " ".join(sentences(held, 12))
    assert "The cheapest that surely does." in size_page(held)
    (fits, cost) = sizing_checks(held, 2.0)
    assert fits.passed
    assert not cost.passed, "the budget holds for what is taken"


def test_where_nothing_is_sure_the_cheapest_that_should_do_is_taken_and_that_is_said(
    sizing: Sizing,
) -> None:
    held = standing(sizing, close(None), close(None))
    assert surest(held) is None
    assert taken(held) == ("L40S", 1)
    assert "Nothing here is 90% sure, with any number of replicas." in " ".join(sentences(held, 12))
    assert "The cheapest that may do, and not surely" in size_page(held)


def test_no_more_are_run_once_the_next_costs_as_much_as_what_is_sure(sizing: Sizing) -> None:
    h100 = sizing.fitting[1]
    first = dataclasses.replace(sizing, answers=sizing.answers[:1])
    assert settled(standing(first, MEETS), h100)
    assert settled(standing(first, close(7.0)), h100), "three at $1 cost no more than one at $3"
    assert not settled(standing(first, close(5.5)), h100)


def test_dollars_and_gpus_of_a_choice_are_those_of_its_replicas(sizing: Sizing) -> None:
    choice = Choice(sizing.fitting[1], 3)
    assert (choice.usd_per_hour, choice.gpus) == (9.0, 3)
    assert choice.wording == "3 GPUs = 3 replicas x 1 GPU"
