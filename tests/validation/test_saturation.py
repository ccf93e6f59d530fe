"""Where throughput stops growing: against a published sweep of concurrencies, and against runs ten times longer."""

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.shared import SHARED, needs_shared

from simulator import catalog
from simulator.catalog.engines import EngineArgs
from simulator.engine.load import ClosedLoop
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.serve import serve
from simulator.latency.models import Roofline
from simulator.latency.step import StepTime
from simulator.latency.target import Target
from simulator.memory.plan import plan_memory
from simulator.planning.capacity.closed_loop import SHARE, levels_off
from simulator.planning.capacity.full_batch import ceiling
from simulator.planning.capacity.probes import CHECK, WHOLE, probes
from simulator.planning.capacity.search import MOST_SIMULATIONS, Flow, queueing_point
from simulator.planning.fleet_plan import plan_fleet
from simulator.results.steady_state import judge
from simulator.scenario import load
from simulator.workload.requests import Requests
from simulator.workload.sample import sample

KV_TOKENS = 377_024
"""As the engine of these runs printed it; the memory plan has its own test."""
CHATBOT = Path(__file__).resolve().parents[2] / "scenarios" / "chatbot.yaml"


@pytest.fixture(scope="module")
def server() -> tuple[StepTime, SchedulerConfig]:
    """Qwen3-8B, BF16, on one H100 under vLLM 0.30 with max_model_len 16384 and 90 % of the memory, as measured."""
    model, gpu, engine = catalog.model("qwen3-8b"), catalog.gpu("h100-sxm"), catalog.engine("vllm-0.30.0")
    plan = plan_memory(model, None, gpu, EngineArgs(max_model_len=16_384, gpu_memory_utilization=0.9), engine)
    args = plan.args
    assert args.max_num_seqs is not None
    assert args.max_num_batched_tokens is not None
    limits = SchedulerConfig(
        kv_blocks=KV_TOKENS // 16,
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        reserve_full_prompt=bool(args.scheduler_reserve_full_isl),
    )
    return Roofline().bind(Target(model, None, gpu, args, engine)), limits


def _throughput(server: tuple[StepTime, SchedulerConfig], prompt: int, output: int, users: int) -> float:
    """Output tokens/s of the benchmark's own protocol: five requests a user, at least 50, over the whole run."""
    n = max(50, 5 * users)
    requests = Requests(np.zeros(n), np.full(n, prompt), np.full(n, output))
    trace = serve(requests, [server], load=ClosedLoop(concurrency=users))
    return n * output / float(np.nanmax(trace.requests["finish_s"]))


def _measured(prompt: int, output: int) -> list[tuple[float, float]]:
    with (SHARED / "validation" / "closed_loop_h100_qwen3-8b_bf16.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if (int(r["input_len"]), int(r["output_len"])) == (prompt, output)]
    return sorted((float(r["concurrency"]), float(r["output_tok_s"])) for r in rows)


@needs_shared
@pytest.mark.parametrize(("prompt", "output", "published"), [(2048, 2048, 128), (8192, 512, 64)])
def test_throughput_stops_growing_where_it_was_measured_to(
    server: tuple[StepTime, SchedulerConfig], prompt: int, output: int, published: int
) -> None:
    """Within 15 %, both read off the same concurrencies; and the first of them at the plateau is the same."""
    measured = _measured(prompt, output)
    simulated = [(users, _throughput(server, prompt, output, int(users))) for users, _ in measured]
    found, truth = levels_off(simulated), levels_off(measured)
    print(f"{prompt}/{output}: levels off at {found:.1f} users, measured {truth:.1f} ({found / truth - 1:+.1%})")
    assert found == pytest.approx(truth, rel=0.15)
    first = [
        next(users for users, rate in points if rate >= SHARE * max(r for _, r in points)) for points in (simulated, measured)
    ]
    assert first == [published, published]


def test_the_queueing_point_is_where_a_run_ten_times_longer_turns_from_stable_to_growing() -> None:
    """Within 3 %, in at most 25 simulations: chat on an L40S. The verdict's own power puts its turn up to 2 % above capacity."""
    scenario = load(CHATBOT)
    fleet = plan_fleet(scenario, next(d for d in scenario.deployments if d.name.startswith("L40S")))
    full = ceiling(fleet.server.step_time, fleet.server.limits, sample(scenario.workload, scenario.seed))
    of, asked = probes(fleet, scenario.workload, full, scenario.seed), 0

    def counted(flow: Callable[[float], Flow]) -> Callable[[float], Flow]:
        def ask(rate: float) -> Flow:
            nonlocal asked
            asked += 1
            return flow(rate)

        return ask

    found = queueing_point(counted(of.mixed), full.requests_per_s, check=counted(of.burst), calm=counted(of.calm))
    longer = dataclasses.replace(scenario.workload, requests=10 * round(CHECK * WHOLE))

    def grows(rate: float) -> bool:
        return judge(fleet.serve(sample(longer.at_rate(rate), scenario.seed)), open_loop=True).verdict == "overloaded"

    assert not grows(found.value / 1.03)
    assert grows(found.value / 0.97)
    print(f"queueing point {found.value:.2f} requests/s, {asked} simulations")
    assert asked <= MOST_SIMULATIONS


def test_just_above_the_queueing_point_a_search_sees_growth_though_a_large_batch_fills_slowly() -> None:
    """Chat on an L4 with 4-bit weights: over a hundred sequences, filled from empty for longer than a run lasts."""
    scenario = load(CHATBOT)
    fleet = plan_fleet(scenario, next(d for d in scenario.deployments if d.name == "L4, GPTQ 4-bit"))
    full = ceiling(fleet.server.step_time, fleet.server.limits, sample(scenario.workload, scenario.seed))
    asked = probes(fleet, scenario.workload, full, scenario.seed)
    point = queueing_point(asked.mixed, full.requests_per_s, check=asked.burst, calm=asked.calm).value
    assert asked.calm(1.03 * point).grows
    assert asked.calm(0.97 * point).keeps_up(0.02)
