"""Where KV memory runs out along the curve."""

import dataclasses
from pathlib import Path

import pytest
from support.planning_fixtures import small

from simulator.planning.capacity import curve, probes
from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.scenario import load


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
