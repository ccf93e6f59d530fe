"""Image encoders: what profiling them takes, and what takes it away."""

import pytest
from support.memory_fixtures import resolved

from simulator.catalog.engines import EngineArgs, engine
from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.memory.encoder import encoding, items_profiled, text_only, without_encoder
from simulator.memory.plan import plan_without_remedies
from simulator.units import GIB

QWEN, GEMMA3, LLAMA = model("qwen3.5-9b"), model("gemma-3-27b"), model("llama-3.1-8b")


@pytest.mark.parametrize(
    ("name", "tokens", "items"),
    [
        ("qwen3.5-9b", 2048, 1),  # budget of 16384 tokens, profiled with 1 image item (public logs of Qwen3.5, 0.16 to 0.23)
        ("qwen3.6-27b", 65536, 4),  # budget of 65536 tokens, profiled with 4 image items (0.23)
        ("gemma-4-26b-a4b", 8192, 3),  # profiled with 3 video items (0.19)
        ("kimi-k2.5", 4096, 1),  # budget of 4096 tokens, profiled with 1 image item
    ],
)
def test_as_many_items_are_profiled_as_logs_say(name: str, tokens: int, items: int) -> None:
    item = model(name).vision
    assert item is not None
    assert items_profiled(item, resolved(max_num_batched_tokens=tokens, max_model_len=131072)) == items


def test_encoding_the_largest_image_takes_a_gib_and_a_half_and_leaves_its_tokens() -> None:
    peak, kept = encoding(QWEN, resolved())
    assert peak / GIB == pytest.approx(1.5, abs=0.1)
    assert kept == 16384 * 4096 * 2
    assert encoding(LLAMA, resolved()) == (0, 0)


@pytest.mark.parametrize(
    ("given", "none"),
    [
        ({"language_model_only": True}, True),
        ({"limit_mm_per_prompt": {"image": 0, "video": 0}}, True),
        ({"limit_mm_per_prompt": {"image": 0}}, False),
        ({"limit_mm_per_prompt": {"image": 4, "video": 0}}, False),
    ],
)
def test_limits_of_zero_for_all_it_encodes_leave_the_encoder_out(given: dict[str, object], none: bool) -> None:
    args = resolved(**given)
    assert text_only(QWEN, args) is none
    assert (without_encoder(QWEN, args).vision_parameters == 0) is none
    assert (encoding(QWEN, args) == (0, 0)) is none


def test_a_limit_on_images_is_enough_where_there_are_only_images() -> None:
    assert text_only(GEMMA3, resolved(limit_mm_per_prompt={"image": 0}))


def test_fewer_pixels_take_less_and_skipping_the_profile_takes_nothing() -> None:
    whole, _ = encoding(QWEN, resolved())
    quarter, _ = encoding(QWEN, resolved(mm_processor_kwargs={"max_pixels": 4096 * 1024}))
    assert quarter == pytest.approx(whole / 4)
    assert encoding(QWEN, resolved(mm_processor_kwargs={"size": {"longest_edge": 4096 * 1024}}))[0] == quarter
    assert encoding(QWEN, resolved(skip_mm_profiling=True)) == (0, 0)


def test_processor_options_that_change_nothing_here_are_named() -> None:
    args = EngineArgs(mm_processor_kwargs={"fps": 2})
    plan = plan_without_remedies(QWEN, None, gpu("l40s"), args, engine("vllm-0.26.0"))
    assert any("mm_processor_kwargs: fps not modelled" in note for note in plan.notes)


def test_a_text_only_start_of_a_vision_model_has_its_encoder_for_kv_cache() -> None:
    """Qwen3-VL-32B on L40S is refused with its encoder and starts without."""
    args = {"max_model_len": 8192, "gpu_memory_utilization": 0.95}
    of = [
        plan_without_remedies(
            model("qwen3-vl-32b"),
            model("Qwen/Qwen3-8B-FP8").quantization,
            gpu("l40s"),
            EngineArgs(**args, **given),
            engine("0.20.0"),
        )
        for given in ({}, {"language_model_only": True})
    ]
    assert of[1].kv_cache_bytes - of[0].kv_cache_bytes > 2 * GIB
    assert of[1].weights_bytes < of[0].weights_bytes - 1e9
