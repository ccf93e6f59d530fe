"""What every engine of the catalog must keep."""

import dataclasses
from datetime import date

import pytest

from simulator.catalog.engines import Engine, EngineArgs, engine, engines
from simulator.catalog.gpus import Gpu, gpus
from simulator.catalog.models import DenseMlp, GroupedQueryAttention, Layer, Model
from simulator.errors import UnknownName

each = pytest.mark.parametrize("version", engines(), ids=lambda version: version.name)
LAYER = Layer(mixer=GroupedQueryAttention(heads=32, kv_heads=8, head_dim=128, value_head_dim=128), mlp=DenseMlp(width=14336))
MODEL = Model(
    name="eight-billion",
    architecture="LlamaForCausalLM",
    hidden=4096,
    vocabulary=128256,
    layers=(LAYER,) * 32,
    tied_embeddings=False,
    max_position=131072,
    source="test",
)


@each
def test_an_engine_says_where_its_defaults_come_from_and_when_they_were_checked(version: Engine) -> None:
    assert len(version.source) > 20
    assert date(2026, 1, 1) <= date.fromisoformat(version.checked) <= date(2027, 12, 31)


@each
def test_an_engine_is_found_by_its_own_name(version: Engine) -> None:
    assert engine(version.name) == version


@each
@pytest.mark.parametrize("card", gpus(), ids=lambda card: card.name)
def test_resolving_leaves_nothing_open_and_gives_limits_that_fit_each_other(version: Engine, card: Gpu) -> None:
    args = version.resolve(EngineArgs(), card, MODEL)
    assert all(getattr(args, f.name) is not None for f in dataclasses.fields(args) if f.name not in OPEN)
    assert args.max_num_seqs is not None and args.max_num_batched_tokens is not None and args.max_model_len is not None
    assert args.max_num_seqs <= args.max_num_batched_tokens
    assert args.enable_chunked_prefill or args.max_num_batched_tokens >= args.max_model_len
    assert version.resolve(args, card, MODEL) == args, "resolving twice changes nothing"


# What has no default of its own: None says that nothing of the kind was asked for.
OPEN = {
    "kv_cache_memory_bytes", "num_gpu_blocks_override", "cudagraph_mode", "cudagraph_capture_sizes", "max_cudagraph_capture_size",
    "limit_mm_per_prompt", "mm_processor_kwargs", "mamba_cache_mode", "spec_method", "spec_model",
    "max_num_scheduled_tokens", "max_num_active_seqs", "max_num_queued_reqs", "max_num_queued_tokens", "api_server_count",
    "max_prefill_tokens", "max_cpu_loras", "capacity_scheduler_policy", "spec_acceptance_length", "spec_acceptance_rates",
}  # fmt: skip


@each
def test_an_engine_without_measurements_says_so(version: Engine) -> None:
    assert version.extrapolated == (version.family != "vllm")


@pytest.mark.parametrize("name", ["vlm-0.19", "vllm-19", "sglan", "vllm 7.1", ""])
def test_an_engine_that_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(UnknownName, match="unknown engine"):
        engine(name)
