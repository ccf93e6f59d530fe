"""Which kernel runs a weight format on a GPU, and at what rates."""

from __future__ import annotations

from simulator.catalog.gpus import ComputeType, Gpu
from simulator.catalog.kernels import Efficiency, Kernels, RunningKernel
from simulator.catalog.quantizations import WeightFormat
from simulator.errors import NotModelled
from simulator.latency.physics import Rates

_WEIGHT_ONLY: dict[str, RunningKernel] = {
    "fp8": "fp8_wo",
    "fp8_block": "fp8_wo",
    "nvfp4": "nvfp4_wo",
    "mxfp4": "mxfp4_wo",
    "int8": "int8_wo",
}


def running_kernel(form: WeightFormat | None, gpu: Gpu) -> tuple[RunningKernel, ComputeType]:
    """The kernel a format runs on, and the type its matmul computes in; None is a 16-bit weight."""
    sixteen: ComputeType = "bf16" if gpu.computes("bf16") else "fp16"
    if form is None or form.kernel in ("bf16", "fp32"):
        return "bf16", sixteen
    if form.kernel in ("int8_wo", "int4_wo", "nf4"):
        return form.kernel, sixteen
    if gpu.computes(form.compute):
        return form.kernel, form.compute
    return _WEIGHT_ONLY[form.kernel], sixteen


def rates(form: WeightFormat | None, place: str, gpu: Gpu, kernels: Kernels) -> Rates:
    """The rates of a matmul (`place` "gemm" or "moe") over weights of a format.

    Raises NotModelled when neither the GPU nor its architecture has efficiencies for the kernel.
    """
    kernel, compute = running_kernel(form, gpu)
    table: dict[RunningKernel, Efficiency] = kernels.gemm if place == "gemm" else kernels.moe
    if kernel not in table:
        raise NotModelled(f"no {kernel} {place} kernel is modelled on {gpu.name}; known there: {', '.join(table)}")
    reached = table[kernel]
    narrow = form is not None and compute == form.compute
    return Rates(
        bytes_per_s=reached.bandwidth * gpu.memory_bytes_per_s,
        flops_per_s=reached.compute * gpu.flops[compute],
        weight_bytes=2.0 if form is None else form.bytes,
        activation_bytes=form.activation_bits / 8 if form is not None and narrow else 2.0,
        sharpness=reached.sharpness,
    )
