"""Quantizations: bits with scales and zeros, what stays in 16 bits, and how each GPU multiplies them."""

import pytest

from simulator.catalog.gpus import gpu
from simulator.catalog.quantizations import Quantization, WeightFormat, quantization, runs_as
from simulator.errors import NotModelled, UnknownName

FP8 = WeightFormat(name="fp8", bits=8, compute="fp8", activation_bits=8, kernel="fp8")
NVFP4 = WeightFormat(name="nvfp4", bits=4.5, compute="fp4", activation_bits=4.5, kernel="nvfp4")


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("none", "bf16"),
        ("half", "fp16"),
        ("float32", "fp32"),
        ("INT8 W8A8", "int8-w8a8"),
        ("w8a16", "int8-weight-only"),
        ("gptq-marlin-int4", "gptq-int4"),
        ("AWQ", "awq-int4"),
        ("FP8", "fp8"),
        ("compressed-tensors fp8", "fp8"),
        ("fp8_block", "fp8-block"),
        ("bitsandbytes-4bit", "bnb-nf4"),
        ("GPTQ-Int4 (w4a16 g128)", "gptq-int4"),
    ],
)
def test_a_quantization_is_found_however_it_is_written(spelling: str, name: str) -> None:
    assert quantization(spelling).name == name


def test_a_misspelt_quantization_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UnknownName, match="did you mean .*awq-int4"):
        quantization("awk-int4")


def test_scales_and_zeros_are_counted_with_the_bits() -> None:
    assert quantization("gptq-int4").formats["mlp"].bits == 4 + 16 / 128 + 4 / 128
    assert quantization("gptq-int8").formats["mlp"].bits == 8 + 16 / 128 + 8 / 128
    assert quantization("w4a16").formats["mlp"].bits == 4 + 16 / 128
    assert quantization("nvfp4").formats["mlp"].bits == 4 + 8 / 16
    assert quantization("mxfp4").formats["experts"].bits == 4 + 8 / 32
    assert quantization("fp8-block").formats["mlp"].bits == pytest.approx(8 + 32 / 128**2, abs=1e-4)


def test_embeddings_norms_router_and_lm_head_stay_in_16_bits() -> None:
    for name in ("awq-int4", "fp8", "nvfp4", "int8-w8a8", "bnb-nf4"):
        assert not {"embedding", "norm", "router", "lm_head", "vision"} & set(quantization(name).formats)


def test_an_exception_leaves_a_group_of_one_layer_in_16_bits() -> None:
    mixed = Quantization(name="mixed", formats={"mlp": FP8}, exceptions=frozenset({(3, "mlp")}), source="by hand")
    assert mixed.format("mlp", 2) == FP8
    assert mixed.format("mlp", 3) is None
    assert mixed.format("mlp") == FP8
    assert mixed.format("attention", 2) is None


def test_an_override_counts_for_a_module_before_its_group() -> None:
    overrides = {(0, "o_proj"): None, (1, "attention"): NVFP4}
    mixed = Quantization(name="mixed", formats={"attention": FP8}, overrides=overrides, source="by hand")
    assert mixed.format("attention", 0, "o_proj") is None
    assert mixed.format("attention", 0, "qkv_proj") == FP8
    assert mixed.format("attention", 1, "qkv_proj") == NVFP4


@pytest.mark.parametrize(
    ("name", "card", "compute", "weight_only"),
    [
        ("fp8", "h100-sxm", "fp8", False),
        ("fp8", "a100-80gb-sxm", "bf16", True),
        ("fp8", "t4", "fp16", True),
        ("fp8", "mi300x", "fp8", False),
        ("nvfp4", "b200", "fp4", False),
        ("nvfp4", "h100-sxm", "bf16", True),
        ("mxfp4", "b200", "fp8", False),
        ("mxfp4", "h100-sxm", "bf16", True),
        ("int8-w8a8", "a100-80gb-sxm", "int8", False),
        ("awq-int4", "h100-sxm", "bf16", True),
        ("awq-int4", "t4", "fp16", True),
        ("bf16", "t4", "fp16", False),
        ("fp16", "h100-sxm", "fp16", False),
        ("fp32", "h100-sxm", "fp32", False),
    ],
)
def test_a_gpu_computes_in_the_format_or_unpacks_it_as_vllm_does(name: str, card: str, compute: str, weight_only: bool) -> None:
    run = runs_as(quantization(name).formats["experts"], gpu(card))
    assert (run.compute, run.weight_only) == (compute, weight_only)


def test_weights_that_are_only_stored_narrow_are_said_so() -> None:
    assert "has no fp8: weights only" in runs_as(FP8, gpu("a100-80gb-sxm")).note
    assert runs_as(FP8, gpu("h100-sxm")).note == ""


@pytest.mark.parametrize(
    ("name", "card", "way_out"),
    [
        ("int8-w8a8", "b200", "choose fp8 or w8a16"),
        ("int8-w8a8", "v100", "choose fp8 or w8a16"),
        ("fp8", "v100", "choose gptq-int4"),
        ("awq-int4", "mi300x", "choose bf16 or fp8"),
    ],
)
def test_what_vllm_has_no_kernel_for_is_not_modelled_and_the_way_out_named(name: str, card: str, way_out: str) -> None:
    with pytest.raises(NotModelled, match=way_out):
        runs_as(quantization(name).formats["experts"], gpu(card))
