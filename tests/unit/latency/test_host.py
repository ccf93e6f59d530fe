"""A host that its user has measured, in place of the usual one."""

import pytest

from simulator.catalog.engine_args import EngineArgs
from simulator.catalog.engines import engine
from simulator.catalog.gpus import gpu
from simulator.catalog.kernels import overheads
from simulator.catalog.models import model
from simulator.latency.host import Host
from simulator.latency.step import StepTime, StepWork
from simulator.planning.fleet_plan import plan_fleet
from simulator.scenario import Scenario
from simulator.server import Server, plan_server


def step_time(host: Host, release: str = "vllm-0.7.3", **args: object) -> StepTime:
    found = plan_server(model("qwen2.5-0.5b"), None, gpu("h100"), EngineArgs(**args), engine(release), host=host)
    assert isinstance(found, Server)
    return found.step_time


def test_a_slow_host_takes_longer_between_steps_and_for_each_sequence() -> None:
    usual, slow = step_time(Host()), step_time(Host(slowness=3))
    assert slow.per_sequence - usual.per_sequence == pytest.approx(2 * 52e-6)
    assert slow.constant - usual.constant == pytest.approx(2 * 1290e-6)
    assert slow.tokens[:257] == pytest.approx(usual.tokens[:257]), "what a graph covers does not wait for it"


def test_what_was_measured_replaces_the_figure_and_is_not_scaled() -> None:
    stated = Host(slowness=3, sequence_us=200, step_us=500, layer_us=900).on(overheads(engine("vllm-0.16.0")))
    assert (stated.sequence_us, stated.sync_sequence_us, stated.step_us, stated.sync_step_us) == (200, 0, 500, 0)
    assert stated.launch_layer_us == stated.eager_layer_us == 900
    assert stated.kernel_us == overheads(engine("vllm-0.16.0")).kernel_us


def test_a_scenario_states_its_host() -> None:
    pool = {"name": "a", "gpu": "h100", "host": {"slowness": 2}}
    asked = {"arrivals": {"kind": "poisson", "rate": "1/s"}, "prompt": 100, "output": 100, "requests": 10}
    scenario = Scenario(name="s", model="qwen2.5-0.5b", engine="vllm-0.7.3", workload=asked, deployments=[pool])
    (deployment,) = scenario.deployments
    assert plan_fleet(scenario, deployment).server.target.host == Host(slowness=2)


def test_v0_launches_every_prompt_and_long_decodes_kernel_by_kernel() -> None:
    slow, usual = step_time(Host(layer_us=1000), max_model_len=16384), step_time(Host(layer_us=1), max_model_len=16384)
    prompt = StepWork(chunks=((0, 100, True),))
    assert slow.seconds(prompt) > 24e-3 > 10e-3 > usual.seconds(prompt)
    for context, launched in ((8000, False), (8192, True)):
        decode = StepWork(contexts=(100, context))
        assert (slow.seconds(decode) > 24e-3) == launched
        assert usual.seconds(decode) < 10e-3


def test_v1_captures_prompts_too_and_knows_no_longest_context() -> None:
    one, other = (step_time(Host(layer_us=us), "vllm-0.16.0", max_model_len=16384) for us in (1, 1000))
    for work in (StepWork(chunks=((0, 100, True),)), StepWork(contexts=(16000,))):
        assert one.seconds(work) == other.seconds(work)
