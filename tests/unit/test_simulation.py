"""Where the rooms meet: what of a memory plan the scheduler is given."""

import pytest

from simulator import catalog
from simulator.catalog.engines import EngineArgs
from simulator.engine.scheduler.config import KvGroup, SchedulerConfig
from simulator.memory.plan import MemoryPlan, plan_memory
from simulator.simulation import kv_pool


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
