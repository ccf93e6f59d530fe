"""What LoRA adapters add to a step: two small kernels for every projection, and the adapters' own bytes.

A kernel takes each token down to the rank, and another one up again. They run in every step that
has an adapter in it; before vLLM 0.11.1 also in those that have none, where they end at once.
Their work is done for the rank that slots have (max_lora_rank), whatever an adapter's own is.

Sources, read December 2026. vLLM pull request 25914 (September 2025), Llama-2-7B: kernels that end
at once add 10.5 % to steps of 6.6 ms, 2.7 us each. vLLM pull request 32425 (January 2026): the
larger of a pair takes 10 to 14 us. vLLM pull request 48887 (August 2026), Qwen2.5-7B with prompts
of 2,048 tokens: 12.6 % more time per output token. vLLM vllm/lora/layers, vllm/lora/ops (0.33).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulator.errors import NotModelled
from simulator.latency.breakdown import step
from simulator.latency.gpu_share import GpuShare, gpu_share
from simulator.latency.step import AdapterTime, StepTime
from simulator.latency.target import Target
from simulator.memory.lora import adapted, lora_bytes
from simulator.memory.tensors import tensors
from simulator.units import US

_IDLE_US = 2.7
# A guess between a kernel that ends at once and the larger of a pair.
_KERNEL_US = 6.0
# Guesses: what such thin matmuls reach of a GPU's arithmetic, and reading adapters of its bandwidth.
_ARITHMETIC, _BANDWIDTH = 0.2, 0.6
# Guesses: PCIe 4.0 with sixteen lanes, and one copy for each of the two matrices of a projection.
_PCIE_BYTES_PER_S, _COPY_US = 25e9, 20.0
# Guesses: reading a file of many small tensors. A guide for vLLM names 50 to 200 ms for a first
# load and 20 ms for a swap (gigagpu.com, 2026).
_DISK_BYTES_PER_S, _READING_S = 1e9, 0.05


def adapter_time(target: Target) -> StepTime:
    """What serving LoRA adapters adds to a step. Raises NotModelled for what has no model."""
    args, engine = target.args, target.engine
    if engine.family != "vllm" or engine.generation != "v1":
        raise NotModelled(f"the time of LoRA adapters in {engine.name}; vLLM's V1 engine is modelled", field="enable_lora")
    for name, given in (("pipeline_parallel_size", args.pipeline_parallel_size > 1), ("enforce_eager", args.enforce_eager)):
        if given:
            raise NotModelled(f"the time of LoRA adapters with {name}", field=("enable_lora", name))
    r = gpu_share(target)
    one = replace(args, max_loras=1)
    slot = lora_bytes(target.model, tensors(target.model), one)
    projections = adapted(target.model)
    idle = 0.0 if engine.at_least("0.11.1") else 2 * projections * _IDLE_US * US
    kernels = 2 * projections * _KERNEL_US * US - idle
    moved = slot / _PCIE_BYTES_PER_S + 2 * projections * _COPY_US * US
    adapters = AdapterTime(
        tokens=kernels + _matmuls(r, slot),
        each=slot / (_BANDWIDTH * r.gpu.memory_bytes_per_s),
        swap=moved,
        load=slot * args.tensor_parallel_size / _DISK_BYTES_PER_S + _READING_S,
    )
    return replace(step(r, constant=idle), adapters=adapters)


def _matmuls(r: GpuShare, slot_bytes: float) -> np.ndarray:
    """Seconds of two operations a token for every value of an adapter, two bytes each."""
    return np.asarray(r.tokens * slot_bytes / (_ARITHMETIC * r.sixteen_flops))
