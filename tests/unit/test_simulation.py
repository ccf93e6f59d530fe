"""Where the rooms meet: what of a memory plan the scheduler is given."""

import pytest

from simulator import catalog
from simulator.catalog.engines import EngineArgs
from simulator.engine.limits import KvGroup
from simulator.memory.plan import MemoryPlan, plan_memory
from simulator.simulation import kv_pool


def plan(model: str, gpu: str = "h100-sxm", **args: int) -> MemoryPlan:
    found = catalog.model(model)
    return plan_memory(found, found.quantization, catalog.gpu(gpu), EngineArgs(**args), catalog.engine("vllm-0.19.0"))  # type: ignore[arg-type]


def test_one_kind_of_attention_has_the_whole_pool_but_the_null_block() -> None:
    found = plan("llama-3.1-8b", max_model_len=8192)
    assert kv_pool(found) == (found.num_gpu_blocks - 1, (KvGroup(),))


def test_full_and_sliding_layers_share_one_pool() -> None:
    found = plan("gpt-oss-20b", max_model_len=16384)
    blocks, groups = kv_pool(found)
    assert blocks == found.num_gpu_blocks - 1
    assert set(groups) == {KvGroup(window=128), KvGroup()}


@pytest.mark.parametrize("model", ["qwen3-next-80b-a3b"])
def test_layers_with_a_state_are_counted_by_whole_sequences(model: str) -> None:
    found = plan(model, "b200", max_model_len=32768)
    assert found.outcome == "starts"
    blocks, groups = kv_pool(found)
    assert groups == (KvGroup(),)
    per_sequence = -(-32768 // found.layout.block_size)
    assert blocks / per_sequence == pytest.approx(found.max_concurrency, rel=0.02)  # whole blocks
