"""Engine versions, and the arguments a user left open."""

import dataclasses

import pytest
from pydantic import ValidationError

from simulator.catalog.engines import EngineArgs, engine, on_card
from simulator.catalog.gpus import gpu
from simulator.catalog.models import DenseMlp, GatedDeltaNet, GroupedQueryAttention, Layer, Model, model
from simulator.errors import SimulatorError

ATTENTION = Layer(mixer=GroupedQueryAttention(heads=32, kv_heads=8, head_dim=128, value_head_dim=128), mlp=DenseMlp(width=14336))
RECURRENT = Layer(
    mixer=GatedDeltaNet(key_heads=16, value_heads=32, key_head_dim=128, value_head_dim=128, conv_kernel=4),
    mlp=DenseMlp(width=14336),
)
MODEL = Model(
    name="eight-billion",
    architecture="LlamaForCausalLM",
    hidden=4096,
    vocabulary=128256,
    layers=(ATTENTION,) * 32,
    tied_embeddings=False,
    max_position=131072,
    source="test",
)
HYBRID = dataclasses.replace(MODEL, layers=(RECURRENT, ATTENTION) * 16)


def limits(version: str, card: str, **given: object) -> tuple[int | None, int | None]:
    args = engine(version).resolve(EngineArgs(**given), gpu(card), MODEL)  # type: ignore[arg-type]
    return args.max_num_batched_tokens, args.max_num_seqs


@pytest.mark.parametrize(
    ("written", "version", "generation", "utilization"),
    [
        ("vllm", "0.33.0", "v1", 0.92),
        ("vllm-0.19.0", "0.19.0", "v1", 0.9),
        ("vllm 0.19", "0.19.0", "v1", 0.9),
        ("vllm==0.25.1", "0.25.1", "v1", 0.92),
        ("v0.11.0", "0.11.0", "v1", 0.9),
        ("0.6.3.post1", "0.6.3", "v0", 0.9),
        ("0.5", "0.5.0", "v0", 0.9),
        ("0.13.0+faa43dbf.nv26.01", "0.13.0", "v1", 0.9),
        ("0.23.1rc1.dev550", "0.24.0", "v1", 0.92),
        ("0.19.1rc1.dev316", "0.19.1", "v1", 0.9),
        ("0.8.5.dev169 V0", "0.8.5", "v0", 0.9),
        ("vllm-0.31.0", "0.31.0", "v1", 0.92),
        ("vllm-0.32", "0.32.0", "v1", 0.92),
        ("0.10.1.1", "0.10.1.1", "v1", 0.9),
        ("vllm-v0.20.0rc1", "0.20.0", "v1", 0.92),
        ("vllm-main", "0.33.0", "v1", 0.92),
        ("nightly", "0.33.0", "v1", 0.92),
        ("vllm-nightly-1a2b3c4d5e6f", "0.33.0", "v1", 0.92),
        ("tensorrt-llm 1.2.0rc3", "1.2.0", "v1", 0.9),
        ("TRT-LLM", "1.3.0", "v1", 0.9),
    ],
)
def test_a_version_resolves_as_people_write_it(written: str, version: str, generation: str, utilization: float) -> None:
    found = engine(written)
    assert (found.version, found.generation, found.gpu_memory_utilization) == (version, generation, utilization)


def test_a_release_after_the_newest_has_its_defaults_and_says_so() -> None:
    newest, next_one = engine("vllm"), engine("vllm-0.34.0")
    assert next_one.batch_defaults == newest.batch_defaults
    assert next_one.taken_for == "vllm-0.34.0 is newer than 0.33.0, the newest release known here, and taken for that"
    assert next_one.taken_for in next_one.note
    assert not newest.taken_for


@pytest.mark.parametrize(
    ("version", "card", "expected"),
    [
        ("0.8.0", "h100", (8192, 1024)),
        ("0.8.0", "rtx-4090", (2048, 1024)),
        ("0.8.4", "rtx-4090", (2048, 256)),
        ("0.8.4", "a100", (2048, 256)),
        ("0.8.5", "a100", (8192, 1024)),
        ("0.9.0", "a100", (2048, 256)),
        ("0.19.0", "h100", (8192, 1024)),
        ("0.19.0", "rtx-4090", (2048, 256)),
        ("0.27.0", "b200", (8192, 1024)),
        ("0.28.0", "b200", (16384, 1024)),
        ("0.30.0", "h100", (8192, 1024)),
        ("0.30.0", "h200", (8192, 1024)),
        ("0.6.3", "h100", (512, 256)),
        ("0.7.3", "h100", (2048, 256)),
    ],
)
def test_batch_limits_follow_the_gpu_and_the_version(version: str, card: str, expected: tuple[int, int]) -> None:
    assert limits(version, card) == expected


def test_v0_takes_whole_prompts_unless_the_context_is_long() -> None:
    assert limits("0.7.3", "h100", max_model_len=8192) == (8192, 256)
    assert limits("0.7.3", "h100", max_model_len=32768) == (32768, 256)
    assert limits("0.7.3", "h100", max_model_len=32769) == (2048, 256)
    assert limits("0.7.3", "h100", max_model_len=1024) == (2048, 256)


def test_without_chunked_prefill_a_step_takes_a_whole_prompt() -> None:
    assert limits("0.19.0", "rtx-4090", max_model_len=16384, enable_chunked_prefill=False) == (16384, 256)


def test_the_first_v1_releases_ignore_a_wish_to_switch_chunked_prefill_off() -> None:
    assert limits("0.9.0", "rtx-4090", max_model_len=16384, enable_chunked_prefill=False) == (2048, 256)


def test_a_small_token_budget_lowers_the_sequences_that_were_left_open() -> None:
    assert limits("0.19.0", "h100", max_num_batched_tokens=512) == (512, 512)


def test_few_short_sequences_lower_the_token_budget_that_was_left_open() -> None:
    assert limits("0.19.0", "h100", max_num_seqs=2, max_model_len=1024) == (2048, 2)


def test_what_the_engine_refuses_is_refused_with_the_way_out() -> None:
    with pytest.raises(SimulatorError, match=r"max_num_batched_tokens 128 is below max_num_seqs 256.*lower the second to 128"):
        limits("0.19.0", "h100", max_num_batched_tokens=128, max_num_seqs=256)
    with pytest.raises(SimulatorError, match=r"is below max_model_len 8192.*enable_chunked_prefill"):
        limits("0.19.0", "h100", max_num_batched_tokens=4096, max_model_len=8192, enable_chunked_prefill=False)


def test_what_the_user_gave_stays() -> None:
    given = EngineArgs(
        gpu_memory_utilization=0.5,
        max_model_len=4096,
        max_num_seqs=7,
        max_num_batched_tokens=4097,
        block_size=32,
        enable_prefix_caching=False,
        enable_chunked_prefill=True,
        async_scheduling=False,
        scheduler_reserve_full_isl=False,
    )
    assert dataclasses.asdict(engine("vllm").resolve(given, gpu("h100"), MODEL)) == dataclasses.asdict(given)


def test_nothing_is_left_open_but_what_nobody_asked_for() -> None:
    resolved = engine("vllm").resolve(EngineArgs(), gpu("h100"), MODEL)
    still_open = {name for name, value in dataclasses.asdict(resolved).items() if value is None}
    assert still_open == {
        "kv_cache_memory_bytes", "num_gpu_blocks_override", "cudagraph_mode", "cudagraph_capture_sizes", "spec_method",
        "spec_acceptance_length", "spec_acceptance_rates",
        "spec_model", "max_cudagraph_capture_size", "limit_mm_per_prompt", "mm_processor_kwargs", "mamba_cache_mode",
        "max_num_scheduled_tokens", "max_num_active_seqs", "max_num_queued_reqs", "max_num_queued_tokens", "api_server_count",
        "max_prefill_tokens", "capacity_scheduler_policy", "max_cpu_loras",
    }  # fmt: skip
    with pytest.raises(ValidationError, match="max_num_seqs"):
        dataclasses.replace(resolved, max_num_seqs=None)


def test_the_context_is_the_models_own_when_left_open() -> None:
    assert engine("vllm").resolve(EngineArgs(), gpu("h100"), MODEL).max_model_len == 131072


def test_admission_and_scheduling_follow_the_version() -> None:
    def resolved(version: str, **given: int) -> EngineArgs:
        return engine(version).resolve(EngineArgs(**given), gpu("h100"), MODEL)  # type: ignore[arg-type]

    assert [resolved(v).scheduler_reserve_full_isl for v in ("0.7.3", "0.18.1", "0.19.0", "0.30.0")] == [True, False, True, True]
    assert [resolved(v).async_scheduling for v in ("0.7.3", "0.13.0", "0.14.0", "0.30.0")] == [False, False, True, True]
    assert [resolved(v, pipeline_parallel_size=2).async_scheduling for v in ("0.14.0", "0.15.0")] == [False, True]
    assert [resolved(v).enable_prefix_caching for v in ("0.7.3", "0.8.0")] == [False, True]


def test_hybrid_models_cache_prefixes_by_default_only_from_028_on() -> None:
    def caches(version: str) -> bool | None:
        return engine(version).resolve(EngineArgs(), gpu("h100"), HYBRID).enable_prefix_caching

    assert [caches("0.27.1"), caches("0.28.0")] == [False, True]


def test_graphs_are_deducted_from_020_on_and_captured_up_to_twice_the_sequences() -> None:
    assert [engine(v).cuda_graphs_deducted for v in ("0.18.0", "0.19.0", "0.20.0", "0.30.0")] == [False, False, True, True]
    few = engine("0.19.0").resolve(EngineArgs(max_num_seqs=64), gpu("h100"), MODEL)
    many = engine("0.19.0").resolve(EngineArgs(), gpu("h100"), MODEL)
    assert engine("0.19.0").largest_cudagraph(few) == 128
    assert engine("0.19.0").largest_cudagraph(many) == 512
    assert engine("0.9.0").largest_cudagraph(few) == 512
    assert engine("0.7.3").largest_cudagraph(many) == 256
    assert engine("0.19.0").largest_cudagraph(dataclasses.replace(few, enforce_eager=True)) == 0


def test_sglang_keeps_a_reserve_that_grows_with_the_chunk_and_the_gpus() -> None:
    def share(card: str, tensor_parallel_size: int = 1) -> float | None:
        args = EngineArgs(tensor_parallel_size=tensor_parallel_size)
        return engine("sglang").resolve(args, gpu(card), MODEL).gpu_memory_utilization

    assert share("h100") == pytest.approx(1 - (13.0 + 1 / 8) / 79.18, abs=0.001)
    assert share("h100", 8) == pytest.approx(1 - (13.0 + 1) / 79.18, abs=0.001)
    assert share("rtx-4090") == pytest.approx(1 - (3.6 + 1 / 8) / 23.52, abs=0.001)


@pytest.mark.parametrize(("release", "length"), [("vllm 0.11.0", 131_072), ("vllm 0.12.0", 4_096), ("vllm 0.30.0", 4_096)])
def test_longrope_models_start_at_their_original_length_from_0_12_on(release: str, length: int) -> None:
    resolved = engine(release).resolve(EngineArgs(), gpu("h100"), model("phi-4-mini"))
    assert resolved.max_model_len == length
    assert engine(release).resolve(EngineArgs(max_model_len=65_536), gpu("h100"), model("phi-4-mini")).max_model_len == 65_536


def test_releases_with_both_engines_serve_cards_below_capability_8_with_the_old_one() -> None:
    """vLLM 0.10.0, vllm/engine/arg_utils.py: V1 needs compute capability 8; 0.11 has no V0."""
    old, new = gpu("t4"), gpu("a100")
    assert [on_card(engine(f"vllm-{v}"), old).generation for v in ("0.7.3", "0.8.5", "0.10.0", "0.11.0")] == [
        "v0",
        "v0",
        "v0",
        "v1",
    ]
    assert on_card(engine("vllm-0.8.5"), new) == engine("vllm-0.8.5")
    assert "t4, whose compute capability is below 8, with its V0 engine" in on_card(engine("vllm-0.8.5"), old).taken_for
