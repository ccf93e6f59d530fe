"""GPUs by name, and GPUs of one's own."""

from typing import Any

import pytest

from simulator.catalog import engine, model
from simulator.catalog.engine_args import EngineArgs
from simulator.catalog.gpus import gpu, gpu_from_fields, gpu_to_fields, require_rates
from simulator.errors import ScenarioError, UnknownName
from simulator.memory.plan import plan_memory
from simulator.memory.training.plan import Training, plan_training, training_cost
from simulator.server import plan_server
from simulator.units import GIB

OWN: dict[str, Any] = {
    "name": "h100-modded",
    "architecture": "hopper",
    "memory_gib": 158.4,
    "memory_gb_per_s": 3350,
    "tflops": {"fp16": 989, "bf16": 989, "fp8": 1979},
    "link": "nvlink",
    "link_gb_per_s": 450,
    "tdp_watts": 700,
}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("h100_sxm", "h100-sxm"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("H100-SXM-80GB", "h100-sxm"),
        ("h100", "h100-sxm"),
        ("H100 (PCIe)", "h100-pcie"),
        ("A100-80GB", "a100-80gb-sxm"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb-sxm"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb-pcie"),
        ("A100-40GB", "a100-40gb-sxm"),
        ("rtx4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("rtx6000ada", "rtx-6000-ada"),
        ("NVIDIA GB10 (DGX Spark, 128GB unified)", "gb10"),
        ("AMD Instinct MI300X 192GB", "mi300x"),
    ],
)
def test_a_gpu_is_found_as_people_write_it(written: str, name: str) -> None:
    assert gpu(written).name == name


@pytest.mark.parametrize(
    ("name", "gib"), [("h100", 79.18), ("a100", 79.25), ("a100-40gb", 39.39), ("rtx-4090", 23.52), ("t4", 14.56)]
)
def test_memory_is_what_the_driver_reports(name: str, gib: float) -> None:
    assert gpu(name).memory_bytes / GIB == pytest.approx(gib, abs=0.005)


def test_a_gpu_of_ones_own_is_written_in_the_units_of_the_catalog() -> None:
    own = gpu_from_fields(OWN)
    assert own.memory_bytes == round(158.4 * GIB)
    assert own.memory_bytes_per_s == 3350e9
    assert own.flops["fp8"] == 1979e12
    assert own.link_bytes_per_s == 450e9
    assert gpu(own) is own


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"memory_gb": 80}, "unknown field 'memory_gb'; did you mean 'memory_gib'"),
        ({"memory_gib": -80}, "memory_gib must be a number above 0, not -80"),
        ({"memory_gib": "80GB"}, "memory_gib must be a number above 0, not '80GB'"),
        ({"tflops": 989}, "tflops must give dense TFLOP/s by type"),
        ({"tflops": {"fp17": 1}}, "Input should be 'fp32'"),
        ({"tflops": {"fp16": 0}}, "tflops.fp16 must be a number above 0"),
        ({"architecture": "hoper"}, "'hoper' is not in catalog/data/architectures.yaml; did you mean 'hopper'"),
        ({"link": "usb"}, "link: Input should be"),
    ],
)
def test_a_gpu_of_ones_own_that_cannot_be_is_refused_by_field(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ScenarioError, match="GPU h100-modded: ") as problem:
        gpu_from_fields({**OWN, **change})
    assert said in str(problem.value)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("field", [field for field in OWN if field not in ("name", "memory_gib")])
def test_a_field_that_is_missing_is_named_where_times_are_asked(field: str) -> None:
    own = gpu_from_fields({key: value for key, value in OWN.items() if key != field})
    with pytest.raises(ScenarioError, match=f"GPU h100-modded: {field} missing: memory needs memory_gib alone"):
        require_rates(own)
    require_rates(gpu_from_fields(OWN))


def test_a_card_of_ones_own_has_at_least_its_memory() -> None:
    with pytest.raises(ScenarioError, match="memory_gib missing"):
        gpu_from_fields({key: value for key, value in OWN.items() if key != "memory_gib"})


def test_memory_alone_answers_a_memory_question_and_no_other() -> None:
    own = gpu("memory_gib=24,name=mine")
    assert (own.name, own.memory_bytes) == ("mine", 24 * GIB)
    assert gpu_to_fields(own).keys() >= {"name", "memory_gib"}
    assert gpu_from_fields(gpu_to_fields(own)) == own
    llama = model("llama-3.1-8b")
    assert plan_memory(llama, None, own, EngineArgs(max_model_len=8192), engine("vllm")).outcome == "starts"
    assert plan_training(llama, own, Training(method="qlora", activation_checkpointing="full")).fits
    with pytest.raises(ScenarioError, match="GPU mine: architecture, memory_gb_per_s, tflops"):
        plan_server(llama, None, own, EngineArgs(max_model_len=8192), engine("vllm"))
    with pytest.raises(ScenarioError, match="GPU mine: architecture, memory_gb_per_s, tflops"):
        training_cost(llama, own, Training(tokens=10**9))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("memory=24", "unknown field 'memory'"),
        ("memory_gib=much", "memory_gib must be a number"),
        ("name=mine", "memory_gib missing"),
    ],
)
def test_a_card_that_is_written_wrongly_is_refused_by_field(written: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        gpu(written)


def test_a_name_that_is_nearly_right_offers_the_right_one() -> None:
    with pytest.raises(UnknownName, match=r"unknown GPU 'h100-smx'; did you mean 'h100-sxm'"):
        gpu("H100 SMX")
