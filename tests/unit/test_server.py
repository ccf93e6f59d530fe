"""The binder: what of arguments and memory plan a simulated engine is given."""

from dataclasses import replace

import numpy as np
import pytest

from simulator import catalog
from simulator.catalog.engines import EngineArgs
from simulator.engine.fleet.queue_limits import NO_LIMITS, QueueLimits
from simulator.engine.fleet.router import LeastOutstanding
from simulator.engine.scheduler.config import KvGroup, SchedulerConfig
from simulator.engine.scheduler.rules import SchedulerRules
from simulator.latency.calibration import Calibration, DecodeFactor, Factors
from simulator.latency.models import ConstantStep
from simulator.memory.plan import MemoryPlan, plan_memory
from simulator.server import DoesNotStart, FleetPlan, PoolPlan, Server, kv_pool, plan_server
from simulator.validation.protocols import requests_of
from simulator.workload.requests import Requests


def plan(model: str, gpu: str = "h100-sxm", **args: int) -> MemoryPlan:
    found = catalog.model(model)
    return plan_memory(found, found.quantization, catalog.gpu(gpu), EngineArgs(**args), catalog.engine("vllm-0.19.0"))  # type: ignore[arg-type]


def test_one_kind_of_attention_has_the_whole_pool_but_the_null_block() -> None:
    found = plan("llama-3.1-8b", max_model_len=8192)
    assert kv_pool(found) == (found.num_gpu_blocks - 1, (KvGroup(),), 0)


def test_full_and_sliding_layers_share_one_pool() -> None:
    found = plan("gpt-oss-20b", max_model_len=16384)
    blocks, groups, states = kv_pool(found)
    assert (blocks, states) == (found.num_gpu_blocks - 1, 0)
    assert set(groups) == {KvGroup(window=128), KvGroup()}


def test_layer_groups_keep_their_block_sizes_and_windows() -> None:
    """Gemma 4: five groups of sliding layers in blocks of 16 tokens, and full layers that keep half as much in blocks of 32."""
    found = plan("gemma-4-26b-a4b", max_model_len=12288)
    blocks, groups, states = kv_pool(found)
    assert (blocks, states) == (found.num_gpu_blocks - 1, 0)
    assert set(groups) == {KvGroup(groups=5, window=1024), KvGroup(block_size=32)}


def test_a_sequence_holds_the_blocks_of_its_states_whatever_its_length() -> None:
    found = plan("nemotron-3-nano-30b-a3b", max_model_len=32768)
    blocks, groups, states = kv_pool(found)
    assert (groups, states) == ((KvGroup(),), 4), (
        "23 layers of Mamba and 6 of attention make four groups of states and one of keys"
    )
    assert blocks == found.num_gpu_blocks - 1
    for context in (100, 5_000, 32_768):
        per_sequence = SchedulerConfig(
            kv_blocks=blocks, block_size=found.layout.block_size, max_num_seqs=1, max_num_batched_tokens=1, state_blocks=states
        ).blocks_for(context)
        assert found.num_gpu_blocks / per_sequence == pytest.approx(found.concurrency_at(context))


def server(model: str = "llama-3.1-8b", release: str = "vllm-0.19.0", **given: object) -> Server | DoesNotStart:
    """A model on one H100."""
    args = EngineArgs(**{"max_model_len": 16384, **given.pop("args", {})})  # type: ignore[call-overload]
    found = catalog.model(model)
    return plan_server(found, None, catalog.gpu("h100-sxm"), args, catalog.engine(release), **given)  # type: ignore[arg-type]


def started(*args: object, **given: object) -> Server:
    found = server(*args, **given)  # type: ignore[arg-type]
    assert isinstance(found, Server), found.plan.reason
    return found


def test_every_argument_that_the_scheduler_obeys_reaches_it() -> None:
    args = {
        "block_size": 32,
        "max_num_seqs": 17,
        "max_num_batched_tokens": 4099,
        "long_prefill_token_threshold": 77,
        "max_num_partial_prefills": 3,
        "scheduling_policy": "priority",
        "enable_prefix_caching": False,
        "async_scheduling": False,
        "scheduler_reserve_full_isl": True,
        "num_gpu_blocks_override": 1_001,
    }
    assert started(args=args).limits == SchedulerConfig(
        rules=SchedulerRules.of(catalog.engine("vllm-0.19.0").scheduler_rules),
        kv_blocks=1_000,
        block_size=32,
        max_num_seqs=17,
        max_num_batched_tokens=4099,
        max_model_len=16384,
        long_prefill_token_threshold=77,
        max_num_partial_prefills=3,
        scheduling_policy="priority",
        enable_chunked_prefill=True,
        enable_prefix_caching=False,
        reserve_full_prompt=True,
        async_scheduling=False,
    )


def test_limits_of_newer_releases_reach_the_scheduler_and_the_door() -> None:
    args = {
        "max_num_seqs": 17,
        "max_num_active_seqs": 5,
        "max_num_batched_tokens": 4099,
        "max_num_scheduled_tokens": 400,
        "watermark": 0.1,
        "long_prefill_token_threshold": 77,
        "long_prefill_token_threshold_adaptive": True,
        "prefill_schedule_interval": 3,
        "num_gpu_blocks_override": 1_101,
        "max_num_queued_reqs": 40,
        "max_num_queued_tokens": 9_000,
    }
    found = started(release="vllm-0.33.0", args=args)
    limits = found.limits
    assert (limits.max_num_active_seqs, limits.max_num_scheduled_tokens, limits.watermark_blocks) == (5, 400, 110)
    assert (limits.long_prefill_token_threshold_adaptive, limits.prefill_schedule_interval) == (True, 3)
    assert found.queue_limits == QueueLimits(max_num_queued_reqs=40, max_num_queued_tokens=9_000)
    fleet = FleetPlan((PoolPlan(found, 2),))
    assert fleet.letting_all_in().server == replace(found, queue_limits=NO_LIMITS)
    assert fleet.letting_all_in().instances == 2


@pytest.mark.parametrize(
    ("model", "release", "ranks", "interval"),
    [
        ("llama-3.1-8b", "vllm-0.32.0", 1, 1),
        ("llama-3.1-8b", "vllm-0.33.0", 1, 3),
        ("llama-3.1-8b", "vllm-0.32.0", 2, 1),
        ("gpt-oss-20b", "vllm-0.32.0", 1, 1),
        ("gpt-oss-20b", "vllm-0.24.0", 2, 3),
    ],
)
def test_prompts_are_paced_among_ranks_that_share_experts_and_alone_from_0_33_on(
    model: str, release: str, ranks: int, interval: int
) -> None:
    found = started(model, release, args={"prefill_schedule_interval": 3, "data_parallel_size": ranks})
    assert found.limits.prefill_schedule_interval == interval


def test_a_fleet_counts_whom_its_queue_limits_turn_away() -> None:
    found = started(release="vllm-0.33.0", args={"max_num_queued_reqs": 3})
    requests = Requests(np.zeros(6), np.array([20_000, *[100] * 5]), np.full(6, 10))
    fleet = FleetPlan((PoolPlan(found),))
    assert fleet.turned_away(fleet.serve(requests)) == 2
    everyone = fleet.letting_all_in()
    assert everyone.turned_away(everyone.serve(requests)) == 0


def test_an_engine_without_memory_says_why_and_what_would_help() -> None:
    found = server("llama-3.1-70b")
    assert isinstance(found, DoesNotStart)
    assert "CUDA out of memory" in found.reason
    assert found.plan.remedies


@pytest.mark.parametrize("release", ["vllm-0.19.0", "vllm-0.30.0"])
@pytest.mark.parametrize("model", ["llama-3.1-8b", "gemma-3-27b", "gpt-oss-20b", "nemotron-3-nano-30b-a3b"])
def test_a_printed_kv_cache_has_the_blocks_that_print_so(model: str, release: str) -> None:
    """Up to one block of each group is lost where the engine shares the blocks out before it prints."""
    short = {"max_model_len": 4096, "max_num_seqs": 256} if release == "vllm-0.30.0" else {"max_model_len": 4096}
    planned = started(model, release, args=short)
    again = started(model, release, args=short, kv_tokens=planned.plan.kv_tokens)
    assert again.plan.kv_tokens == planned.plan.kv_tokens
    lost = planned.limits.kv_blocks - again.limits.kv_blocks
    assert 0 <= lost < len(planned.plan.layout.groups)
    half = started(model, release, args=short, kv_tokens=planned.plan.kv_tokens // 2)
    assert half.limits.kv_blocks == pytest.approx(planned.limits.kv_blocks / 2, rel=0.01)
    assert replace(half.limits, kv_blocks=1) == replace(planned.limits, kv_blocks=1)


def test_a_calibration_scales_the_step_time_that_the_latency_model_gives() -> None:
    twice = Factors(
        model="llama-3.1-8b", gpu="h100-sxm", quantization="bf16", decode=(DecodeFactor(sequences=1, factor=2.0, percent=1.0),)
    )
    latency, calibration = ConstantStep(step_ms=10.0), Calibration(source="mine", fitted="2026-11-30", factors=(twice,))
    plain = started(latency=latency).step_time
    scaled = started(latency=latency, calibration=calibration).step_time
    assert plain.tokens[1] + plain.constant == pytest.approx(0.010)
    assert scaled.tokens[1] + scaled.constant == pytest.approx(0.020)


def test_a_stated_link_replaces_the_datasheets() -> None:
    fast, slow = (started(args={"tensor_parallel_size": 2}, link_bytes_per_s=rate) for rate in (None, 10e9))
    assert slow.target.link_bytes_per_s == 10e9
    assert slow.step_time.tokens[2048] > 1.2 * fast.step_time.tokens[2048]


def test_a_fleet_has_the_instances_and_gpus_of_its_pools() -> None:
    found = started(args={"tensor_parallel_size": 2, "pipeline_parallel_size": 2, "data_parallel_size": 3})
    fleet = FleetPlan((PoolPlan(found, instances=6),))
    assert (fleet.instances, fleet.gpus) == (6, 24)
    assert (fleet.with_instances(1).instances, fleet.with_instances(1).server) == (1, found)


def test_a_fleet_serves_on_every_instance_as_its_router_says() -> None:
    four = requests_of(np.full(4, 100), np.full(4, 10))
    fleet = FleetPlan((PoolPlan(started(), instances=2, router=LeastOutstanding()),))
    assert fleet.serve(four).requests["replica"].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("model", "release", "balance", "lock_step"),
    [
        ("llama-3.1-8b", "vllm-0.10.0", "fewest_waiting", 32),
        ("llama-3.1-8b", "vllm-0.14.0", "weighted", None),
        ("qwen3-30b-a3b", "vllm-0.19.0", "weighted", 32),
        ("qwen3-30b-a3b", "vllm-0.25.0", "rotating", 32),
        ("qwen3-30b-a3b", "vllm-0.30.0", "in_flight", 16),
        ("llama-3.1-8b", "sglang-0.5.6", "in_turn", None),
    ],
)
def test_ranks_are_given_requests_and_keep_step_as_their_release_does(model, release, balance, lock_step):
    args = EngineArgs(data_parallel_size=2)
    found = plan_server(catalog.model(model), None, catalog.gpu("h200-sxm"), args, catalog.engine(release))
    parallel = found.data_parallel
    assert (parallel.ranks, parallel.balance) == (2, balance)
    assert (parallel.lock_step and parallel.lock_step.asks_every) == lock_step


def test_with_an_external_load_balancer_the_router_sees_every_rank():
    args = EngineArgs(data_parallel_size=2, data_parallel_external_lb=True)
    found = plan_server(catalog.model("qwen3-30b-a3b"), None, catalog.gpu("h200-sxm"), args, catalog.engine("vllm-0.19.0"))
    assert found.data_parallel.balance == "router"
    assert found.data_parallel.lock_step.pads_up_to == 512


def test_v0_computes_prompts_before_decodes_unless_it_chunks_them() -> None:
    assert started(release="vllm-0.7.3").limits.prefill_first
    assert not started(release="vllm-0.7.3", args={"enable_chunked_prefill": True}).limits.prefill_first
    assert not started(args={"enable_chunked_prefill": False, "max_num_batched_tokens": 16384}).limits.prefill_first
