"""Kernel efficiencies and engine overheads: what GPUs have, and what is said of what was not measured."""

from dataclasses import replace

import pytest
from support.latency_cases import case
from support.untimed_cards import timed_cards, untimed_cards

from simulator.catalog import stanzas
from simulator.catalog.engines import EngineArgs, engine
from simulator.catalog.gpus import Gpu, gpu, gpus
from simulator.catalog.kernels import kernels, overheads
from simulator.catalog.models import model
from simulator.catalog.quantizations import quantization
from simulator.errors import NotModelled, SimulatorError
from simulator.latency.breakdown import parts
from simulator.latency.models import Roofline
from simulator.latency.step import StepWork
from simulator.latency.target import Target
from simulator.memory.plan import plan_memory

GPUS = gpus()


@pytest.mark.parametrize("card", untimed_cards(), ids=lambda card: card.name)
def test_a_card_without_efficiencies_is_refused_by_name_where_time_is_asked(card: Gpu) -> None:
    with pytest.raises(NotModelled, match=f"no kernel efficiencies are known for {card.name} or its architecture"):
        kernels(card)


@pytest.mark.parametrize("card", timed_cards(), ids=lambda card: card.name)
def test_every_other_gpu_of_the_catalog_has_efficiencies(card: Gpu) -> None:
    found = kernels(card)
    assert found.source
    assert {"bf16"} <= found.gemm.keys()
    assert {16, 8} == found.attention.keys()
    assert {2, 4, 8} <= found.all_reduce.keys()
    assert found.measured or found.extrapolated[0].startswith("no kernels of this GPU were measured")


@pytest.mark.parametrize("name", sorted(stanzas.stanzas("kernels")))
def test_no_kernel_is_much_faster_than_the_datasheet(name: str) -> None:
    """No kernel reads faster than the memory; attention over 8 bits may compute in 8 bits.

    GeForce cards run above the clock that their datasheet's rate is for: up to a tenth above.
    """
    known = name in {card.name for card in GPUS}
    card = gpu(name) if known else replace(gpu("h100"), name="another", architecture=name.split("-pcie")[0])
    found = kernels(card)
    by_engine = [table for tables in (found.experts_by_engine, found.experts_by_backend) for table in tables.values()]
    every = [pair for table in (found.gemm, found.experts, *by_engine) for pair in table.items()]
    for kernel, reached in every:
        assert 0.05 < reached.bandwidth <= 1, kernel
        assert 0.02 < reached.compute < 1.15, kernel
    for bits, reached in (*found.attention.items(), *found.latent.items()):
        assert 0.1 < reached.decode_bandwidth <= 1
        assert 0.1 < reached.prefill_compute <= (1.0 if bits == 16 else 1.2)


def test_a_gpu_that_was_not_measured_takes_its_architectures_efficiencies() -> None:
    sibling = kernels(gpu("gh200"))
    assert not sibling.measured
    assert sibling.gemm == kernels(gpu("h100")).gemm
    assert "taken from H100 SXM" in sibling.extrapolated[0]


@pytest.mark.parametrize("name", sorted(stanzas.stanzas("kernels")))
def test_a_derating_has_a_class_a_reason_and_no_measurement(name: str) -> None:
    found = stanzas.load_entry("kernels", name)
    assert ("derating" in found) == ("derating_class" in found)
    if "derating" in found:
        assert not found["measured"]
        assert any("longer than" in line or "hold" in line for line in found["extrapolated"])


def test_a_derating_slows_every_kernel_but_not_the_links() -> None:
    c, factor = case("llama-3.1-8b", "rtx 3090", tensor_parallel_size=2), kernels(gpu("rtx 3090")).derating
    slow, usual = c.parts(), parts(replace(c.rank(), kernels=replace(c.rank().kernels, derating=1.0)))
    step = StepWork(contexts=(500,) * 4)
    assert factor > 1
    for name in ("gemm", "attention", "small kernels", "head"):
        assert slow[name].seconds(step) == pytest.approx(factor * usual[name].seconds(step)), name
    assert slow["all-reduce"].seconds(step) == usual["all-reduce"].seconds(step)


def test_a_card_on_pcie_does_not_take_nvlinks_all_reduce() -> None:
    assert kernels(gpu("a100-80gb-pcie")).gemm == kernels(gpu("a100-80gb")).gemm
    assert kernels(gpu("a100-80gb-pcie")).all_reduce == kernels(gpu("rtx 4090")).all_reduce
    assert kernels(gpu("h100-pcie")).all_reduce != kernels(gpu("h100")).all_reduce


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(NotModelled, match="no kernel efficiencies are known for m1 or its architecture metal"):
        kernels(_unchecked(gpu("h100"), name="m1", architecture="metal"))


def _unchecked(card: object, **changed: str) -> object:
    """A copy with fields that validation would refuse."""
    twin = object.__new__(type(card))
    for field in card.__dataclass_fields__:
        object.__setattr__(twin, field, changed.get(field, getattr(card, field)))
    return twin


@pytest.mark.parametrize("name", ["vllm 0.6.3", "vllm 0.19.0", "sglang", "tensorrt-llm"])
def test_every_engine_has_overheads(name: str) -> None:
    found = overheads(engine(name))
    assert found.source
    assert found.kernel_us > 0
    assert bool(found.extrapolated) == (engine(name).family != "vllm")


def test_v0_does_more_between_steps_than_v1() -> None:
    old, new = overheads(engine("vllm 0.7.3")), overheads(engine("vllm 0.19.0"))
    assert old.step_us > new.step_us
    assert old.sequence_us > new.sequence_us


@pytest.mark.parametrize("card", GPUS, ids=lambda card: card.name)
def test_no_card_decodes_faster_than_its_memory_reads_the_weights(card: Gpu) -> None:
    """One sequence of Llama-3.1-8B, whose embedding is not read."""
    llama, vllm = model("llama-3.1-8b"), engine("vllm-0.19.0")
    embedding = llama.vocabulary * llama.hidden * 2
    for name in ("bf16", "fp16", "fp8", "int8-weight-only", "awq-int4"):
        try:
            plan = plan_memory(llama, quantization(name), card, EngineArgs(max_model_len=1024), vllm)
            step_time = Roofline().bind(Target(llama, quantization(name), card, plan.args, vllm))
        except SimulatorError:
            continue
        seconds = step_time.seconds(StepWork(contexts=(128,)))
        assert seconds > (plan.weights_bytes - embedding) / card.memory_bytes_per_s, name
