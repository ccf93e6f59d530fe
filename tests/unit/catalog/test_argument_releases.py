"""Which release has which argument, and which values an engine does not start with."""

import dataclasses
from typing import Any

import pytest
from pydantic import ValidationError

from simulator.catalog.argument_releases import spans
from simulator.catalog.engine_args import ResolvedArgs
from simulator.catalog.engines import EngineArgs, engine
from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.errors import NotModelled, SimulatorError
from simulator.scenario.serve_line import parse
from simulator.spec import first_mistake

GIVEN: dict[str, Any] = {
    "async_scheduling": True,
    "skip_mm_profiling": True,
    "mamba_cache_dtype": "float32",
    "mamba_ssm_cache_dtype": "float32",
    "decode_context_parallel_size": 2,
    "kv_cache_memory_bytes": 10**9,
    "stream_interval": 4,
    "mamba_cache_mode": "none",
    "language_model_only": True,
    "scheduler_reserve_full_isl": False,
    "watermark": 0.01,
    "prefill_schedule_interval": 2,
    "max_num_scheduled_tokens": 512,
    "max_num_partial_prefills": 2,
    "max_num_queued_reqs": 0,
    "max_num_queued_tokens": 10_000,
    "max_num_active_seqs": 3,
    "long_prefill_token_threshold_adaptive": True,
}
INTRODUCED = [
    # the argument, the last release without it that was read, the first with it
    ("async_scheduling", "0.9.2", "0.10.0"),
    ("skip_mm_profiling", "0.10.0", "0.10.1"),
    ("mamba_cache_dtype", "0.10.0", "0.10.1"),
    ("mamba_ssm_cache_dtype", "0.10.0", "0.10.1"),
    ("decode_context_parallel_size", "0.10.1.1", "0.10.2"),
    ("kv_cache_memory_bytes", "0.10.1.1", "0.10.2"),
    ("stream_interval", "0.11.0", "0.11.1"),
    ("mamba_cache_mode", "0.14.0", "0.15.0"),
    ("language_model_only", "0.16.0", "0.17.0"),
    ("scheduler_reserve_full_isl", "0.18.0", "0.19.0"),
    ("watermark", "0.23.0", "0.24.0"),
    ("prefill_schedule_interval", "0.23.0", "0.24.0"),
    ("max_num_scheduled_tokens", "0.25.1", "0.26.0"),
    ("max_num_queued_reqs", "0.28.0", "0.29.0"),
    ("max_num_queued_tokens", "0.28.0", "0.29.0"),
    ("max_num_active_seqs", "0.30.0", "0.31.0"),
    ("long_prefill_token_threshold_adaptive", "0.30.0", "0.31.0"),
]


def resolved(release: str, **given: Any) -> ResolvedArgs:
    return engine(release).resolve(EngineArgs(**given), gpu("h100"), model("qwen3-8b"))


def test_every_argument_that_some_release_lacks_is_ours_and_told_here() -> None:
    fields = {f.name for f in dataclasses.fields(EngineArgs)}
    assert set(spans()) <= fields
    assert set(spans()) == set(GIVEN)
    assert {name for name, _, _ in INTRODUCED} == set(GIVEN) - {"max_num_partial_prefills"}


@pytest.mark.parametrize(("argument", "before", "since"), INTRODUCED)
def test_a_release_before_an_argument_refuses_it_and_names_the_one_that_introduced_it(
    argument: str, before: str, since: str
) -> None:
    with pytest.raises(SimulatorError, match=rf"vllm-{before} has no {argument}: vLLM {since} introduced it; .* from {since} on"):
        resolved(before, **{argument: GIVEN[argument]})
    for release in (since, "vllm-main"):
        assert getattr(resolved(release, **{argument: GIVEN[argument]}), argument) == GIVEN[argument]


def test_a_release_after_an_argument_names_the_one_that_removed_it() -> None:
    assert resolved("0.26.0", max_num_partial_prefills=2).max_num_partial_prefills == 2
    with pytest.raises(
        SimulatorError, match=r"vllm-0.27.1 has no max_num_partial_prefills: vLLM 0.27.0 removed it; leave it out"
    ):
        resolved("0.27.1", max_num_partial_prefills=2)


@pytest.mark.parametrize("family", ["sglang", "tensorrt-llm"])
def test_other_engines_have_no_argument_of_vllms_alone(family: str) -> None:
    with pytest.raises(SimulatorError, match=rf"{family}-.* has no max_num_queued_reqs: it is an argument of vLLM; leave it out"):
        resolved(family, max_num_queued_reqs=1)


def test_an_argument_of_one_engine_given_to_another_is_named_with_what_that_has() -> None:
    with pytest.raises(SimulatorError, match=r"no watermark: it is an argument of vLLM; there schedule_conservativeness"):
        resolved("sglang", watermark=0.01)
    with pytest.raises(SimulatorError, match=r"no watermark: it is an argument of vLLM; there capacity_scheduler_policy"):
        resolved("tensorrt-llm", watermark=0.01)
    with pytest.raises(SimulatorError, match=r"no schedule_conservativeness: it is an argument of SGLang; in vLLM watermark"):
        resolved("vllm", schedule_conservativeness=0.5)
    with pytest.raises(SimulatorError, match=r"no capacity_scheduler_policy: it is an argument of TensorRT-LLM"):
        resolved("sglang", capacity_scheduler_policy="max_utilization")
    with pytest.raises(SimulatorError, match="lpm: it is a policy of SGLang; choose fcfs"):
        resolved("vllm", scheduling_policy="lpm")
    with pytest.raises(NotModelled, match="--enable-priority-scheduling"):
        resolved("sglang", scheduling_policy="priority")


def test_all_engines_compose_a_step_while_the_one_before_runs_unless_told_not_to() -> None:
    for family in ("sglang", "tensorrt-llm"):
        assert resolved(family).async_scheduling
        assert not resolved(family, async_scheduling=False).async_scheduling


def test_builds_have_the_arguments_of_the_release_they_are_taken_for() -> None:
    assert resolved("0.23.1rc1.dev550", watermark=0.1).watermark == 0.1
    with pytest.raises(SimulatorError, match=r"vllm-0.23.1rc1.dev100 has no watermark: vLLM 0.24.0 introduced it"):
        resolved("0.23.1rc1.dev100", watermark=0.1)


def test_what_an_engine_is_resolved_to_run_with_is_not_asked_again() -> None:
    args = resolved("0.18.0")
    assert args.scheduler_reserve_full_isl is False
    assert engine("0.18.0").resolve(args, gpu("h100"), model("qwen3-8b")) == args


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("watermark", -0.1, "greater than or equal to 0"),
        ("watermark", 1.0, "less than 1"),
        ("watermark", float("nan"), "finite number"),
        ("watermark", "0.1", "valid number"),
        ("max_num_active_seqs", 0, "greater than or equal to 1"),
        ("max_num_scheduled_tokens", 0, "greater than or equal to 1"),
        ("max_num_queued_reqs", -1, "greater than or equal to 0"),
        ("max_num_queued_tokens", -1, "greater than or equal to 0"),
        ("max_num_queued_tokens", 1.5, "valid integer"),
        ("prefill_schedule_interval", 0, "greater than or equal to 1"),
        ("long_prefill_token_threshold", -1, "greater than or equal to 0"),
    ],
)
def test_values_outside_their_range_are_refused(field: str, value: Any, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        EngineArgs(**{field: value})
    assert first_mistake(refused.value).location == (field,)
    assert said in first_mistake(refused.value).said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"max_num_active_seqs": 9, "max_num_seqs": 8},
            "max_num_active_seqs 9 is above max_num_seqs 8, and vllm-0.33.0 does not start so; "
            "lower the first to 8 or raise the second to 9",
        ),
        ({"max_num_active_seqs": 1025}, "max_num_active_seqs 1025 is above max_num_seqs 1024"),
        (
            {"max_num_scheduled_tokens": 8193},
            "max_num_scheduled_tokens 8193 is above max_num_batched_tokens 8192, and a step of so many tokens does not fit",
        ),
        (
            {"long_prefill_token_threshold": 4097, "max_model_len": 4096},
            "long_prefill_token_threshold 4097 is above max_model_len 4096",
        ),
    ],
)
def test_limits_that_contradict_each_other_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SimulatorError) as refused:
        resolved("0.33.0", **given)
    assert str(refused.value).startswith(said)
    assert refused.value.fields[0] in given


def test_a_threshold_above_the_length_was_refused_only_beside_partial_prefills_until_0_27() -> None:
    given = {"long_prefill_token_threshold": 4097, "max_model_len": 4096}
    assert resolved("0.26.0", **given).long_prefill_token_threshold == 4097
    with pytest.raises(SimulatorError, match="long_prefill_token_threshold 4097 is above max_model_len 4096"):
        resolved("0.26.0", **given, max_num_partial_prefills=2)
    with pytest.raises(SimulatorError, match="long_prefill_token_threshold 4097 is above max_model_len 4096"):
        resolved("0.27.0", **given)


def test_partial_prefills_need_chunked_prefill() -> None:
    with pytest.raises(
        SimulatorError, match="max_num_partial_prefills 2 needs chunked prefill, and vllm-0.26.0 does not start so"
    ):
        resolved("0.26.0", max_num_partial_prefills=2, enable_chunked_prefill=False, max_num_batched_tokens=40_960)


@pytest.mark.parametrize("argument", sorted(GIVEN))
def test_a_serve_line_states_every_one_of_them(argument: str) -> None:
    value = GIVEN[argument]
    words = [f"--{argument.replace('_', '-')}"] if value is True else [f"--{argument.replace('_', '-')}={value}".lower()]
    assert parse(["m", *words]).arguments == {argument: value}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vllm-main", "vllm-main is taken for 0.33.0, the newest release known here"),
        ("nightly", "vllm-nightly is taken for 0.33.0, the newest release known here"),
        ("vllm-nightly V1", "vllm-nightly V1 is taken for 0.33.0, the newest release known here"),
        ("0.10.1.1", "vllm-0.10.1.1 is taken for release 0.10.1"),
        ("0.19.1rc1.dev316", "vllm-0.19.1rc1.dev316 is taken for release 0.19.1"),
        ("0.23.1rc1.dev550", "vllm-0.23.1rc1.dev550 is taken for release 0.24.0"),
        ("0.20.0rc1", "vllm-0.20.0rc1 is taken for release 0.20.0"),
        ("0.1.7", "vllm-0.1.7 is older than 0.2.0, the oldest release known here, and taken for that"),
        ("0.40", "vllm-0.40 is newer than 0.33.0, the newest release known here, and taken for that"),
        ("0.33.0", ""),
        ("vllm", ""),
    ],
)
def test_it_says_which_release_a_name_is_taken_for(name: str, said: str) -> None:
    assert engine(name).taken_for == said


def test_builds_before_a_release_have_the_defaults_of_the_one_before() -> None:
    build, release = engine("0.19.1rc1.dev316"), engine("0.19.0")
    same = {"name", "version", "note", "taken_for"}
    assert {f.name for f in dataclasses.fields(build) if getattr(build, f.name) != getattr(release, f.name)} <= same
