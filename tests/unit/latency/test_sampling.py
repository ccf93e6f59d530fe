"""What a step does to its logits besides taking the largest."""

from pathlib import Path

import numpy as np
import pytest
from support.latency_cases import case

from simulator.catalog.engines import engine
from simulator.catalog.samplers import samplers
from simulator.errors import NotModelled, ScenarioError
from simulator.latency.sampling import Sampling
from simulator.planning.fleet_plan import plan_fleet
from simulator.scenario import load
from simulator.units import US

CHAT = Sampling(temperature=0.6, top_k=20, top_p=0.95)


def test_greedy_answers_take_nothing_more_whatever_else_is_said() -> None:
    greedy = Sampling(temperature=0, top_k=20, top_p=0.95)
    assert greedy.seconds(np.array([0.0, 64.0]), 151_936, engine("vllm-0.12.0"), 2e12).tolist() == [0, 0]


def test_a_sort_costs_a_constant_and_so_much_a_logit() -> None:
    (sort,) = samplers(engine("vllm-0.12.0"))
    seconds = CHAT.seconds(np.array([0.0, 64.0]), 100_000, engine("vllm-0.12.0"), 2e12)
    assert seconds[0] == 0
    assert seconds[1] == pytest.approx(sort.fixed_us * US + 64 * 100_000 * (sort.logit_bytes + 40) / 2e12)


def test_few_sequences_are_sorted_where_the_kernel_is_for_many() -> None:
    old, new = (CHAT.seconds(np.array([7.0, 64.0]), 151_936, engine(name), 2e12) for name in ("vllm-0.12.0", "vllm-0.18.0"))
    assert new[0] == old[0]
    assert new[1] < old[1] / 2


def test_releases_that_sort_are_slow_and_those_with_flashinfer_are_not() -> None:
    kernels = {name: samplers(engine(f"vllm-{name}"))[-1].kernel for name in ("0.8.5", "0.10.0", "0.11.2", "0.17.0", "0.25.0")}
    assert [kernel.split()[0] for kernel in kernels.values()] == ["a", "FlashInfer", "a", "Triton", "FlashInfer"]


def test_a_step_takes_so_much_longer_for_its_sequences_and_not_for_its_prompts() -> None:
    c = case("qwen3-8b", "h100", release="vllm-0.12.0")
    greedy, drawn = c.bind(), c.bind(sampling=CHAT)
    assert (drawn.tokens == greedy.tokens).all()
    reached = 0.7 * c.gpu.memory_bytes_per_s
    expected = CHAT.seconds(np.array([32.0]), c.model.vocabulary, engine("vllm-0.12.0"), reached)
    assert drawn.sampled[32] - greedy.sampled[32] == pytest.approx(float(expected[0]))


def test_other_engines_samplers_are_refused_by_name() -> None:
    with pytest.raises(NotModelled, match="what sglang takes for top-k and top-p is not modelled"):
        samplers(engine("sglang"))


def test_penalties_are_refused_as_not_modelled(tmp_path: Path) -> None:
    file = tmp_path / "chat.yaml"
    lines = ["model: qwen3-8b", "workload: {arrivals: 1/s, prompt: 100, output: 100, requests: 10}", "deployments: [{gpu: h100}]"]
    file.write_text("\n".join([*lines, "sampling: {temperature: 1, repetition_penalty: 1.05}"]))
    with pytest.raises(ScenarioError, match="sampling.repetition_penalty: not modelled; leave it out"):
        load(file)


def test_a_scenario_says_how_its_answers_are_sampled(tmp_path: Path) -> None:
    file = tmp_path / "chat.yaml"
    lines = ["model: qwen3-8b", "workload: {arrivals: 1/s, prompt: 100, output: 100, requests: 10}", "deployments: [{gpu: h100}]"]
    file.write_text("\n".join([*lines, "sampling: {temperature: 0.6, top_k: 20, top_p: 0.95}"]))
    scenario = load(file)
    assert plan_fleet(scenario, scenario.deployments[0]).server.target.sampling == CHAT
