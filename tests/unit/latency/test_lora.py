"""What LoRA adapters add to a step."""

import numpy as np
import pytest

from simulator.catalog import engine, gpu, model
from simulator.catalog.engine_args import EngineArgs
from simulator.errors import NotModelled, SimulatorError
from simulator.latency.models import Roofline
from simulator.latency.step import AdapterTime, StepTime, StepWork
from simulator.latency.target import Target
from simulator.memory.lora import adapted
from simulator.memory.plan import plan_memory


def target(version: str = "vllm-0.33.0", **args: object) -> Target:
    given = EngineArgs(**{"max_model_len": 8192, "enable_lora": True, "max_loras": 4, **args})
    plan = plan_memory(model("llama-3.1-8b"), None, gpu("h100-sxm"), given, engine(version))
    return Target(plan.model, plan.quantization, plan.gpu, plan.args, plan.engine)


def test_the_work_of_a_step_adds_up_by_hand() -> None:
    adapters = AdapterTime(tokens=100 * np.arange(9.0), each=7.0, swap=1000.0, load=5000.0)
    time = StepTime(np.arange(9.0), np.zeros(5), 0.0, 0.0, 0.0, 0.0, adapters=adapters)
    plain = StepWork(contexts=(10, 20), chunks=((0, 4, True),))
    assert time.seconds(plain) == 6
    running = StepWork(contexts=(10, 20), chunks=((0, 4, True),), adapters=2, swaps=1, loads=1)
    assert time.seconds(running) == 6 + 600 + 2 * 7 + 1000 + 5000


def test_two_kernels_for_each_projection_of_each_layer() -> None:
    assert adapted(model("llama-3.1-8b")) == 4 * 32
    adapters = Roofline().bind(target()).adapters
    assert adapters.tokens[1] == pytest.approx(2 * 4 * 32 * 6e-6, rel=0.01)


def test_a_step_without_adapters_costs_nothing_since_its_graphs_are_apart() -> None:
    step = StepWork(contexts=(1000,))
    for version, more in (("vllm-0.33.0", 0.0), ("vllm-0.11.0", 2 * 4 * 32 * 2.7e-6)):
        plain = Roofline().bind(target(version, enable_lora=False)).seconds(step)
        assert Roofline().bind(target(version)).seconds(step) - plain == pytest.approx(more, abs=1e-9)


def test_a_larger_rank_takes_longer_to_read_and_to_compute() -> None:
    small, large = (Roofline().bind(target(max_lora_rank=rank)).adapters for rank in (16, 64))
    assert large.each == pytest.approx(4 * small.each)
    assert large.tokens[2000] > small.tokens[2000]
    assert large.swap > small.swap


@pytest.mark.parametrize(
    ("version", "args", "said"),
    [
        ("sglang-0.5.9", {}, "the time of LoRA adapters in sglang-0.5.9"),
        ("vllm-0.6.3", {}, "the time of LoRA adapters in vllm-0.6.3"),
        ("vllm-0.33.0", {"enforce_eager": True}, "the time of LoRA adapters with enforce_eager"),
    ],
)
def test_what_has_no_model_is_refused_by_name(version: str, args: dict[str, object], said: str) -> None:
    with pytest.raises(NotModelled, match=said):
        Roofline().bind(target(version, **args))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"max_lora_rank": 24}, "max_lora_rank 24: vllm-0.33.0 has 1, 8, 16, 32"),
        ({"max_cpu_loras": 3}, r"max_cpu_loras \(3\) must be >= max_loras \(4\)"),
    ],
)
def test_slots_that_vllm_does_not_make_are_refused(args: dict[str, object], said: str) -> None:
    with pytest.raises(SimulatorError, match=said):
        target(**args)
