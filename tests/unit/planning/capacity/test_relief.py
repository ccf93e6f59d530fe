"""What binds is what was relieved with a gain, not what was seen to be full."""

from pathlib import Path

import pytest
from support.planning_fixtures import small

from simulator.planning.capacity import probes, relief
from simulator.planning.capacity.curve import asked_of
from simulator.planning.capacity.probes import full_server
from simulator.planning.capacity.relief import binding, trials
from simulator.planning.fleet_plan import plan_fleet
from simulator.results.model import Binding, Resource
from simulator.scenario import load
from simulator.server import FleetPlan
from simulator.workload.sample import sample

LIMITS = "max_num_seqs: 64}"
SEEN = Binding("token budget", 0.4, "prompts wait because steps are full (40% of busy time)")
SECONDS: dict[Resource, float] = {"bandwidth": 3.0, "compute": 1.0}


@pytest.fixture(autouse=True)
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "WHOLE", 4_000)


def asked(tmp_path: Path, limits: str):
    scenario = load(small(tmp_path, (LIMITS, limits)))
    fleet = plan_fleet(scenario, scenario.deployments[0])
    assert isinstance(fleet, FleetPlan)
    requests = sample(scenario.workload, scenario.seed)
    probed = asked_of(scenario, fleet, full_server(fleet.server, requests))
    assert probed is not None
    return scenario, scenario.deployments[0], fleet, requests, probed


def test_too_few_sequences_bind_and_twice_as_many_do_about_twice_as_much(tmp_path: Path) -> None:
    found = binding(*asked(tmp_path, "max_num_seqs: 16}"), SEEN, SECONDS)
    assert found.resource == "sequence limit"
    assert found.gain == pytest.approx(0.95, abs=0.15)
    assert "with twice max_num_seqs 9" in found.sentence or "with twice max_num_seqs 1" in found.sentence


def test_too_few_blocks_bind(tmp_path: Path) -> None:
    found = binding(*asked(tmp_path, "max_num_seqs: 64, num_gpu_blocks_override: 260}"), SEEN, SECONDS)
    assert found.resource == "KV memory"
    assert found.gain is not None and found.gain > 0.3


def test_a_full_token_budget_of_which_more_changes_nothing_does_not_bind(tmp_path: Path) -> None:
    few = "max_num_seqs: 16, max_num_batched_tokens: 2048}"
    tried = {trial.resource: trial for trial in trials(*asked(tmp_path, few), "token budget")}
    assert abs(tried["token budget"].gain) < relief.NOTICED
    assert tried["token budget"].words == "with eight times max_num_batched_tokens no more"


def test_where_no_limit_gains_anything_it_is_the_longest_part_of_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relief, "_completed", lambda *given: 5.0)
    found = binding(*asked(tmp_path, LIMITS), SEEN, SECONDS)
    assert (found.resource, found.share, found.gain) == ("bandwidth", 0.75, None)
    assert "with eight times max_num_batched_tokens no more" in found.sentence


def test_what_cannot_bind_is_not_simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for far more sequences than may run, more KV memory raises no ceiling."""
    assert [trial.resource for trial in trials(*asked(tmp_path, LIMITS), "nothing")] == ["sequence limit"]
