"""Trust: what of a step time was not measured on this GPU and engine, and how far off the class has been in validation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from simulator.catalog import stanzas
from simulator.catalog.engine_args import ResolvedArgs
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu
from simulator.catalog.kernels import kernels, overheads
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization
from simulator.latency.gpu_share import running_kernel
from simulator.latency.interconnect import through_host
from simulator.latency.target import Target
from simulator.spec import Positive, spec


@spec
class TypicalError:
    """How far predictions of a class of configurations were from measurements: the 80th percentile of the absolute error.

    The class: engine family and generation, dense or MoE, and whether the kernels were measured on the GPU.
    """

    name: str
    engine: str
    moe: bool
    measured: bool
    ttft: Positive
    tpot: Positive
    e2e: Positive
    output_tokens_per_s: Positive
    basis: str
    source: str
    checked: str


def typical_error(model: Model, gpu: Gpu, engine: Engine, args: ResolvedArgs | None = None) -> dict[str, tuple[float, str]]:
    """Percent and what it rests on for `ttft`, `tpot`, `e2e` and `output_tokens_per_s`. Raises NotModelled without kernels.

    Wider with arguments that bring in what was compared with few runs: a pipeline, or cards that go through the host's memory.
    """
    measured = kernels(gpu).measured and not overheads(engine).extrapolated
    wanted = f"{engine.family}-{engine.generation}", model.is_moe, measured
    found = next((e for e in _classes() if (e.engine, e.moe, e.measured) == wanted), None)
    if found is None:
        return {}
    factor, why = _widened(gpu, args)
    basis = f"{found.basis}; times {factor:g}: {why}" if why else found.basis
    return {name: (factor * getattr(found, name), basis) for name in ("ttft", "tpot", "e2e", "output_tokens_per_s")}


def _widened(gpu: Gpu, args: ResolvedArgs | None) -> tuple[float, str]:
    """How much wider the errors of arguments are than those of their class, and why; 1 and nothing where they are not."""
    if args is None:
        return 1.0, ""
    if args.pipeline_parallel_size > 1:
        return 2.0, "the one pipeline that was compared, over three nodes, was predicted twice too fast"
    if through_host(gpu, args.tensor_parallel_size, None) and args.tensor_parallel_size > 1:
        return 1.5, "hosts differ in what cards without peer access reach through their memory"
    return 1.0, ""


def extrapolations(target: Target) -> tuple[str, ...]:
    """What a roofline step time takes from elsewhere than this GPU and engine, each in a sentence."""
    args = target.args
    found = list(_taken(target.model, target.quantization, target.gpu, target.engine))
    found += _interconnect(target)
    if args.pipeline_parallel_size > 1:
        found.append(
            "pipeline parallelism: not measured; steps are taken as even micro-batches, so a lone prompt comes out too fast"
        )
    if args.data_parallel_size > 1 and args.enable_expert_parallel:
        found.append("data parallelism with expert parallelism: not measured; ranks are taken to be equally loaded")
    return tuple(dict.fromkeys(found))


def _interconnect(target: Target) -> Iterator[str]:
    """What of the traffic between PCIe cards is another server's, even where the link is stated."""
    args, card, link = target.args, target.gpu, target.link_bytes_per_s
    ranks = max(args.tensor_parallel_size, args.data_parallel_size if args.enable_expert_parallel else 1)
    if ranks == 1 or card.link != "pcie":
        return
    if through_host(card, ranks, link):
        yield f"{card.name}: no peer access, traffic takes the host's memory, and hosts differ fourfold in what that reaches"
    elif link is None:
        yield "all-reduces over PCIe: taken from one server; what yours reaches depends on its slots (link_gb_per_s)"
    else:
        yield "all-reduces over PCIe: what they reach of the link that is stated is taken from one server"


def _taken(model: Model, quantization: Quantization | None, gpu: Gpu, engine: Engine) -> Iterator[str]:
    """Kernels and overheads that were not measured on this GPU and engine."""
    reached = kernels(gpu)
    yield from (f"{gpu.name}: {line}" for line in reached.extrapolated)
    forms = {*quantization.formats.items()} if quantization else set()
    for group, form in sorted(forms, key=str):
        if group == "experts" and not model.is_moe:
            continue
        table = reached.experts if group == "experts" else reached.gemm
        kernel = table.get(running_kernel(form, gpu))
        if kernel is not None and kernel.taken_from:
            what = "experts" if group == "experts" else "matmuls"
            yield f"{running_kernel(form, gpu)} {what} on {gpu.name}: taken from {kernel.taken_from}"
    yield from overheads(engine).extrapolated
    if engine.extrapolated:
        yield f"{engine.name}: nothing of this version was measured"


@cache
def _classes() -> tuple[TypicalError, ...]:
    return tuple(TypicalError(name=name, **_fields(name)) for name in stanzas.stanzas("errors"))


def _fields(name: str) -> dict[str, Any]:
    fields = stanzas.load_entry("errors", name)
    return {**fields, "checked": str(fields["checked"])}
