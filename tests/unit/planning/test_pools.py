"""Runs of a prefill and a decode pool: cost, memory, what binds, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.planning_fixtures import small

from simulator.errors import NotModelled
from simulator.planning.run import review
from simulator.planning.size import size
from simulator.results.model import DeploymentResult
from simulator.scenario import load

_THREE = """  - {name: H100, gpu: h100-sxm}
  - {name: L40S, gpu: l40s}
  - {name: T4, gpu: t4, quantization: fp16}
"""


def scenario(folder: Path, pools: str, *more: tuple[str, str]) -> Path:
    return small(folder, (_THREE, f"  - {{name: apart, {pools}}}\n"), *more)


def answered(folder: Path, pools: str, *more: tuple[str, str], curve: bool = False) -> DeploymentResult:
    (result,) = review(scenario(folder, pools, *more), curve=curve).deployments
    return result


def test_a_run_has_both_pools_the_parts_of_ttft_and_the_link(tmp_path: Path) -> None:
    d = answered(tmp_path, "prefill: {gpu: h100-sxm}, decode: {gpu: l40s, replicas: 2}")
    prefill, decode = d.pools
    assert d.verdict == "stable"
    assert (d.gpus, d.title) == (3, "1 x h100-sxm + 2 x l40s, bf16")
    assert d.cost is not None
    assert d.cost.usd_per_hour == 3.0 + 2 * 1.0
    assert prefill.memory.gpu == "h100-sxm"
    assert decode.memory.gpu == "l40s"
    assert d.memory == decode.memory
    assert (d.counted(1), d.counted(2)) == ("1 set of both pools", "2 sets of both pools")
    assert d.replicas == 1, "growth buys both pools again, not a third of them"
    assert d.link is not None
    assert d.metrics is not None
    assert sum(d.link.waits.values()) == pytest.approx(d.metrics["ttft_mean_s"], rel=0.05)
    assert d.link.bytes_mean == 7 * 16 * 131_072
    assert d.link.transfers == 400
    assert d.link.use_mean == pytest.approx(sum(d.link.shares) / len(d.link.shares), rel=1e-3)
    assert "NixlConnector" in d.serve_command


@pytest.mark.parametrize(
    ("link", "steps", "binds"),
    [
        ("{gb_per_s: 0.5, efficiency: 1}", "{kind: linear, step_ms: 10, token_us: 1}", "link"),
        ("{gb_per_s: 900, efficiency: 1}", "{kind: linear, step_ms: 10, token_us: 100}", "prefill pool"),
        ("{gb_per_s: 900, efficiency: 1}", "{kind: linear, step_ms: 10, token_us: 1}", "decode pool"),
    ],
)
def test_what_binds_is_found_by_trial(tmp_path: Path, link: str, steps: str, binds: str) -> None:
    """10 ms a step: 64 sequences decode 320 requests/s; 0.5 GB/s carry 34; 100 us a prompt token compute 100."""
    changed = ("{kind: linear, step_ms: 10, token_us: 1}", steps), ("  requests: 400", "  requests: 300")
    pools = f"prefill: {{gpu: h100-sxm}}, decode: {{gpu: h100-sxm}}, link: {link}"
    d = answered(tmp_path, pools, *changed, curve=True)
    assert d.binding is not None
    assert d.binding.resource == binds
    assert d.queueing_point is not None
    known = {"link": 0.5e9 / (7 * 16 * 131_072), "prefill pool": 98.0, "decode pool": 320.0}
    assert d.queueing_point.value == pytest.approx(known[binds], rel=0.08)


def test_a_pool_that_does_not_start_says_which_and_what_would_help(tmp_path: Path) -> None:
    d = answered(tmp_path, "prefill: {gpu: h100-sxm}, decode: {gpu: t4, quantization: fp16}")
    assert d.verdict == "does not fit"
    assert d.reason.startswith("the decode pool: ")
    assert d.remedies
    assert all(remedy.startswith("decode: ") for remedy in d.remedies)


def test_a_decode_pool_that_can_hold_no_request_is_a_result_with_remedies(tmp_path: Path) -> None:
    pools = "prefill: {gpu: h100-sxm}, decode: {gpu: h100-sxm, max_model_len: 110}"
    d = answered(tmp_path, pools)
    assert d.verdict == "requests unanswered"
    assert "exceed max_model_len=110" in d.reason
    assert any("max_model_len 120" in remedy for remedy in d.remedies)


def test_sizes_of_two_pools_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotModelled, match="how many prefill and decode instances it takes is not searched"):
        size(load(scenario(tmp_path, "prefill: {gpu: h100-sxm}, decode: {gpu: h100-sxm}")))


def test_pools_of_another_engine_say_whose_rules_they_go_by(tmp_path: Path) -> None:
    pools = "prefill: {gpu: h100-sxm}, decode: {gpu: h100-sxm}"
    ours = answered(tmp_path, pools)
    theirs = answered(tmp_path, pools, ("vllm-0.19.0", "sglang-0.5.6"))
    assert not any("as vLLM does it" in note for note in ours.notes)
    assert any("as vLLM does it: that of sglang-0.5.6 is not modelled" in note for note in theirs.notes)
