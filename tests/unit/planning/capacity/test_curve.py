"""Where KV memory runs out along the curve."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.planning_fixtures import small

from simulator.planning.capacity import curve, probes
from simulator.planning.fleet_plan import plan_fleet
from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.results.model import OomPoint
from simulator.scenario import load
from simulator.server import FleetPlan


def test_kv_memory_is_full_where_no_further_request_fits_though_a_few_blocks_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine blocks a request from its first token on: 22 requests leave two of 200 blocks, and nobody is preempted."""
    for module in (curve, probes):
        monkeypatch.setattr(module, "WHOLE", 4_000)
    few = ("max_num_seqs: 64", "max_num_seqs: 64, num_gpu_blocks_override: 201, enable_prefix_caching: false")
    lengths = ("prompt: 100\n  output: 20", "prompt: 130\n  output: 14")
    scenario = load(small(tmp_path, few, lengths, ("max_model_len: 4096", "max_model_len: 1024")))
    one = dataclasses.replace(scenario, deployments=scenario.deployments[:1])
    found = review(one, machine=InProcess()).deployments[0]
    assert found.oom_point is not None and found.queueing_point is not None
    assert found.oom_point.full_at_per_s is not None
    assert found.oom_point.full_at_per_s < found.queueing_point.value
    assert found.oom_point.preempts_at_per_s is None


def at(kv_use_peak: float, preempted: float) -> Any:
    """What is read of a run: the peak of its KV use, and the share of its requests that were preempted."""
    preemptions = np.where(np.arange(100) < 100 * preempted, 2, 0)
    return SimpleNamespace(trace=SimpleNamespace(requests={"preemptions": preemptions}), metrics={"kv_use_peak": kv_use_peak})


def test_the_rates_at_which_memory_runs_out_are_the_lowest_that_show_it(tmp_path: Path) -> None:
    scenario = load(small(tmp_path))
    plan = plan_fleet(scenario, scenario.deployments[0])
    assert isinstance(plan, FleetPlan)
    point = OomPoint(longest_context_tokens=4096, concurrency=10.0, typical_context_tokens=110.0)
    seen = {9.0: at(1.0, 0.6), 3.0: at(0.97, 0.0), 5.0: at(0.98, 0.0), 7.0: at(0.99, 0.01), 8.0: at(1.0, 0.5)}
    found = curve.with_rates(plan, point, seen)
    assert found is not None
    assert (found.full_at_per_s, found.preempts_at_per_s, found.preempts_most_at_per_s) == (5.0, 7.0, 9.0)
    assert found.next_limit == "KV memory at 10 sequences of 110 tokens binds first, then max_num_seqs at 64 sequences"
    never = curve.with_rates(plan, point, {3.0: at(0.97, 0.0)})
    assert never is not None
    assert (never.full_at_per_s, never.preempts_at_per_s, never.preempts_most_at_per_s) == (None, None, None)
