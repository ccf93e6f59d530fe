"""What SGLang's and TensorRT-LLM's schedulers do, worked by hand: one tick a step, unless said otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulator import catalog
from simulator.catalog.engine_args import EngineArgs
from simulator.engine.record import REFUSED, RunRecord, inter_token_latencies
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.scheduler.sglang_rules import SglangRules
from simulator.engine.serve import serve
from simulator.latency.step import StepTime
from simulator.server import Server, plan_server
from simulator.workload.requests import Requests

RULES = SglangRules(chunked_prefill_size=128)
SGLANG = SchedulerConfig(kv_blocks=100, block_size=1, max_num_seqs=4, max_num_batched_tokens=128, sglang=RULES)
NO_EVICT = SchedulerConfig(kv_blocks=4, block_size=4, max_num_seqs=4, max_num_batched_tokens=32, guaranteed_no_evict=True)


def served(config: SchedulerConfig, *asked: tuple[float, int, int], token: float = 0.0) -> RunRecord:
    """Requests of (arrival, prompt, output); a step takes a tick, and `token` more for each of its tokens."""
    columns = [np.array(column) for column in zip(*asked, strict=True)]
    tokens = 1.0 + token * np.arange(config.max_num_batched_tokens + 1)
    step = StepTime(tokens, np.zeros(config.max_num_seqs + 1), 0.0, 0.0, 0.0, 0.0)
    return serve(Requests(columns[0].astype(float), columns[1], columns[2]), [(step, config)], tick_s=1.0)


def test_sglang_computes_a_prompt_while_nobody_decodes() -> None:
    record = served(SGLANG, (0, 5, 4), (1, 7, 1))
    assert record.requests["first_token_s"].tolist() == [1, 2]
    assert record.requests["finish_s"].tolist() == [5, 2]
    gaps, weights = inter_token_latencies(record)
    assert sorted(np.repeat(gaps, weights).tolist()) == [1, 1, 2]


def test_while_requests_decode_new_ones_are_looked_for_once_in_so_many_steps() -> None:
    seldom = replace(SGLANG, sglang=replace(RULES, recv_interval=4))
    record = served(seldom, (0, 5, 12), (2, 7, 1), (7, 7, 1), (20, 7, 1))
    assert record.requests["scheduled_s"].tolist() == [0, 5, 10, 20], "after four decodes or at once"
    assert served(SGLANG, (0, 5, 12), (2, 7, 1)).requests["scheduled_s"].tolist() == [0, 2]


def test_who_finishes_while_the_next_step_is_composed_decodes_once_more_for_nothing() -> None:
    overlapped = replace(SGLANG, async_scheduling=True)
    record = served(overlapped, (0, 5, 2), (2, 5, 1))
    assert record.requests["finish_s"].tolist() == [2, 4]
    assert record.stretches["sequences"].tolist() == [1, 1, 1, 1, 1]
    assert served(SGLANG, (0, 5, 2), (2, 5, 1)).requests["finish_s"].tolist() == [2, 3]


def test_sglang_retracts_the_shortest_answer_when_tokens_run_out() -> None:
    tight = replace(SGLANG, kv_blocks=24, sglang=replace(RULES, schedule_conservativeness=0.001))
    record = served(tight, (0, 2, 16), (1, 2, 14))
    assert record.requests["preemptions"].tolist() == [0, 1]
    careful = replace(tight, sglang=replace(RULES, schedule_conservativeness=2.0))
    assert served(careful, (0, 2, 16), (1, 2, 14)).requests["preemptions"].tolist() == [0, 0]


def test_sglang_takes_no_request_that_fills_its_cache_to_the_last_two_tokens() -> None:
    statuses = served(SGLANG, (0, 90, 8), (0, 90, 9)).requests["status"].tolist()
    assert statuses == [0, REFUSED]


def test_a_request_that_never_is_evicted_waits_until_all_of_it_has_blocks() -> None:
    record = served(NO_EVICT, (0, 4, 8), (0, 4, 4))
    assert record.requests["scheduled_s"].tolist() == [0, 8]
    assert record.requests["preemptions"].tolist() == [0, 0]


def test_tensorrt_llm_cuts_prompts_to_whole_blocks_beside_decodes() -> None:
    config = replace(NO_EVICT, kv_blocks=40, max_num_batched_tokens=10)
    record = served(config, (0, 3, 9), (1, 20, 1))
    assert record.stretches["prefill_tokens"].tolist()[:4] == [3, 8, 8, 4]


def planned(engine: str, **args: object) -> Server:
    model, gpu = catalog.model("llama-3.1-8b"), catalog.gpu("h100-sxm")
    server = plan_server(model, None, gpu, EngineArgs(**args), catalog.engine(engine))
    assert isinstance(server, Server)
    return server


def test_each_engine_is_bound_to_its_own_scheduler() -> None:
    assert planned("vllm").limits.sglang is None
    limits = planned("sglang-0.5.9", scheduling_policy="lpm", schedule_conservativeness=0.5).limits
    assert limits.sglang == SglangRules(schedule_policy="lpm", schedule_conservativeness=0.5)
    assert planned("sglang-0.5.6").limits.sglang == SglangRules(caches_answers=False)
    assert planned("tensorrt-llm").limits.guaranteed_no_evict
    assert not planned("tensorrt-llm", capacity_scheduler_policy="max_utilization").limits.guaranteed_no_evict


def test_prompts_without_graphs_take_the_launches_of_their_layers() -> None:
    """A step with a prompt takes at least its launches; the same tokens in decodes do not."""
    for engine in ("sglang", "tensorrt-llm"):
        time = planned(engine).step_time
        assert len(time.prompt) == len(time.tokens)
        assert time.prompt[64] > 0.2 * time.tokens[64]
        assert time.prompt[0] == 0
    assert not len(planned("vllm").step_time.prompt)


def test_prompts_of_tokens_that_pick_few_experts_are_launched_as_those_of_a_dense_model() -> None:
    """gpt-oss picks four of its experts, Qwen3 eight: what experts add to the launches of SGLang's prompts is for the latter."""
    args = EngineArgs(tensor_parallel_size=8, max_model_len=8192)
    longer = {}
    for name in ("gpt-oss-120b", "qwen3-235b-a22b-fp8"):
        server = plan_server(catalog.model(name), None, catalog.gpu("h200-sxm"), args, catalog.engine("sglang-0.5.9"))
        assert isinstance(server, Server)
        longer[name] = float(server.step_time.prompt[64]) / len(server.plan.model.layers)
    assert longer["gpt-oss-120b"] < 0.001 < longer["qwen3-235b-a22b-fp8"]
