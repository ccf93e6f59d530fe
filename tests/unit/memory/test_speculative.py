"""Speculative decoding and LoRA slots: what they load, and what the cache keeps for them."""

import pytest
from support.memory_fixtures import GDN, gqa, model_of, resolved

from simulator.catalog.engines import EngineArgs, engine
from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.errors import NotModelled
from simulator.memory.cuda_graphs import graphs_by_kind
from simulator.memory.kv_cache import kv_layout
from simulator.memory.plan import MemoryPlan, plan_without_remedies
from simulator.memory.speculative import drafter_of
from simulator.memory.weights import weight_bytes
from simulator.units import GIB

H100 = gpu("h100-sxm")


def plan(name: str, version: str = "0.27.1", **args: object) -> MemoryPlan:
    return plan_without_remedies(model(name), None, H100, EngineArgs(**args), engine(version))


def test_draft_layers_are_loaded_and_cached() -> None:
    """GLM-5.1-NVFP4 with its MTP layer on eight RTX PRO 6000 loads 0.95 GiB more a GPU (public logs, 0.20)."""
    args = {"tensor_parallel_size": 8, "max_model_len": 8192}
    alone, drafting = (
        plan_without_remedies(
            model("GLM-5.1-NVFP4"), None, gpu("rtx-pro-6000-workstation"), EngineArgs(**args, **given), engine("0.20.2")
        )
        for given in ({}, {"spec_method": "mtp", "spec_tokens": 1})
    )
    assert (drafting.weights_bytes - alone.weights_bytes) / GIB == pytest.approx(0.95, abs=0.25)
    assert drafting.kv_bytes_per_token > alone.kv_bytes_per_token


def test_a_draft_model_brings_its_own_weights_and_cache() -> None:
    alone, drafting = (
        plan("qwen3-8b", max_model_len=8192),
        plan("qwen3-8b", max_model_len=8192, spec_model="qwen3-0.6b", spec_tokens=3),
    )
    small = weight_bytes(model("qwen3-0.6b"), None, EngineArgs()).bytes
    assert drafting.weights_bytes - alone.weights_bytes == pytest.approx(small)
    assert drafting.weights_by_format["drafter"] == pytest.approx(small)


def test_drafting_from_the_prompt_loads_nothing() -> None:
    assert drafter_of(model("qwen3-8b"), resolved(spec_method="ngram", spec_tokens=4)) is None
    assert plan("qwen3-8b", spec_method="ngram", spec_tokens=4).weights_bytes == plan("qwen3-8b").weights_bytes


def test_an_eagle_head_is_a_guess_that_says_so() -> None:
    found = plan("llama-3.1-8b", spec_method="eagle3", spec_tokens=3)
    assert any("the eagle3 head is taken as one layer" in note for note in found.notes)
    assert found.weights_bytes > plan("llama-3.1-8b").weights_bytes


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("llama-3.1-8b", {"spec_method": "mtp"}, "llama-3.1-8b has no draft layers"),
        ("llama-3.1-8b", {"spec_method": "dflash"}, "dflash is not modelled"),
        ("llama-3.1-8b", {"spec_method": "draft_model"}, "needs spec_model"),
    ],
)
def test_what_cannot_draft_is_refused_by_name(name: str, given: dict[str, object], said: str) -> None:
    with pytest.raises(NotModelled, match=said):
        plan(name, **given)


def test_recurrent_layers_keep_a_state_for_every_drafted_token() -> None:
    hybrid = model_of(*([GDN] * 3 + [gqa()]) * 4)

    def states(**given: object) -> list[int]:
        args = resolved(spec_method="ngram", spec_tokens=3, **given)
        layout = kv_layout(hybrid.layers, hybrid, None, args, engine("0.27.1"), H100)
        return [layer.states for layer in layout.groups if layer.kind == "state"]

    assert set(states()) == {4}
    assert set(states(enable_prefix_caching=True)) == {5}


def test_decode_steps_of_several_tokens_capture_larger_graphs() -> None:
    """vLLM 0.27.1: up to max_num_seqs * (1 + drafted) * 2, at most 512; whole steps from 1 + drafted on."""
    args = resolved(max_num_seqs=16, spec_method="ngram", spec_tokens=3)
    assert engine("0.27.1").largest_cudagraph(args) == 128
    assert graphs_by_kind(args, engine("0.27.1")) == (19, 9)


def test_slots_for_adapters_are_weights() -> None:
    """Qwen3-8B with LoRA on two T4, vLLM 0.22.1: 7.70 GiB instead of 7.64 (public log)."""
    args = EngineArgs(tensor_parallel_size=2)
    qwen = model("qwen3-8b")
    alone = weight_bytes(qwen, None, args).bytes
    slots = weight_bytes(qwen, None, EngineArgs(tensor_parallel_size=2, enable_lora=True)).bytes - alone
    assert slots / GIB == pytest.approx(0.06, abs=0.015)
    four = EngineArgs(tensor_parallel_size=2, enable_lora=True, max_loras=4, max_lora_rank=64)
    assert weight_bytes(qwen, None, four).bytes - alone == pytest.approx(16 * slots)
