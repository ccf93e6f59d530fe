"""How fast kernels run on each GPU, and what engines add around them; each number with its basis."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field

from simulator.catalog import stanzas
from simulator.catalog.engine_args import MoeBackend
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu
from simulator.errors import NotModelled, UnknownName
from simulator.spec import Count, Fraction, Natural, NonNegative, Positive, spec

RunningKernel = Literal[
    "fp32",
    "bf16",
    "fp8",
    "fp8_block",
    "fp8_wo",
    "int8",
    "int8_wo",
    "int4_wo",
    "int4_exllama",
    "nvfp4",
    "nvfp4_wo",
    "mxfp4",
    "mxfp4_wo",
    "nf4",
]
Family = Literal["vllm", "sglang", "tensorrt-llm"]


@spec
class Matmul:
    """Fractions of the datasheet that a matmul kernel reaches, and what it costs besides.

    seconds = fixed + p-norm(bytes / (bandwidth * BW), FLOPs / (compute * PEAK), depth * k) + quantize * 3 * tokens * k / BW,
    with p = sharpness. `depth_ns` is the walk along k that small outputs cannot spread over the GPU; `quantize` the separate pass
    over 16-bit activations that 8- and 4-bit kernels need. Steps of more than `unpack_above` tokens unpack the weights to 16 bits
    at `unpack_bandwidth` of BW, and go on as a 16-bit matmul. `taken_from`: where the numbers of an unmeasured kernel are from.
    Releases of vLLM from `fused_since` on pay `fused_us` in place of fixed_us: their compiler fuses what quantizes the inputs.
    `stairs`: measured seconds over that curve by tokens, where the kernel computes whole tiles and changes them with the tokens.
    """

    bandwidth: Fraction
    compute: Positive
    sharpness: Positive = 1.0
    fixed_us: NonNegative = 0.0
    depth_ns: NonNegative = 0.0
    quantize: NonNegative = 0.0
    fused_us: NonNegative | None = None
    fused_since: str = ""
    stairs: dict[Count, Positive] = Field(default_factory=dict)
    unpack_above: Count | None = None
    unpack_bandwidth: Positive = 0.5
    taken_from: str = ""


@spec
class Experts:
    """Fractions of the datasheet that a grouped matmul over experts reaches.

    seconds = fixed + p-norm(weights of touched experts / (bandwidth * BW), FLOPs / (compute * PEAK)) + routing passes over the
    routed tokens' 16-bit activations.
    """

    bandwidth: Fraction
    compute: Positive
    sharpness: Positive = 1.0
    fixed_us: NonNegative = 0.0
    routing: NonNegative = 2.0
    taken_from: str = ""


@spec
class Attention:
    """Softmax attention over a paged cache of one element width.

    Decode: decode_us a call, `decode_bandwidth` of BW for the cache, `sequence` passes over each sequence's 16-bit queries and
    outputs. Prefill: `prefill_compute` of the 16-bit FLOP/s, `query` passes over all of q, k, v and outputs.
    """

    decode_us: NonNegative
    decode_bandwidth: Fraction
    sequence: NonNegative
    prefill_compute: Positive
    query: NonNegative


@spec
class AllReduce:
    """An all-reduce of one number of ranks: microseconds before the first byte and fraction of the link, NCCL and one-shot.

    `custom_us` and `custom_link` are None where the engine has no one-shot kernel: it needs peer access, and beyond two ranks an
    NVLink mesh (vllm/distributed/device_communicators/custom_all_reduce.py, read November 2026).
    """

    nccl_us: NonNegative
    nccl_link: Positive
    custom_us: NonNegative | None = None
    custom_link: Positive | None = None


@spec
class Kernels:
    """Efficiencies of one GPU, or of the architecture it stands for where the GPU itself was not measured.

    `attention` by bits of a cache element; `latent` the same for MLA. `experts` are those of the newest release; `triton_below`
    names the vLLM release before which a format ran on Triton, whose experts are in `experts_by_backend`.
    `derating`: what all kernels of a guessed card take longer than the fractions of its sibling say, one figure for all cards of
    a `derating_class`; `extrapolated` says why, `benchmarks/cards.py` what it rests on.
    `measured`: its kernels were, at least those of 16 bits; `extrapolated` says in words what was not.
    """

    name: str
    measured: bool = True
    gemm: dict[RunningKernel, Matmul]
    experts: dict[RunningKernel, Experts]
    experts_by_engine: dict[Family, dict[RunningKernel, Experts]] = Field(default_factory=dict)
    experts_by_backend: dict[MoeBackend, dict[RunningKernel, Experts]] = Field(default_factory=dict)
    triton_below: dict[RunningKernel, str] = Field(default_factory=dict)
    attention: dict[Literal[16, 8], Attention]
    latent: dict[Literal[16, 8], Attention]
    all_reduce: dict[int, AllReduce]
    elementwise_bandwidth: Positive = 0.75
    sampling_bandwidth: Positive = 0.70
    derating: Annotated[float, Field(ge=1)] = 1.0
    derating_class: str = ""
    extrapolated: tuple[str, ...] = ()
    source: str
    checked: str


@spec
class Apart:
    """What differs where an engine computes prompts in one pool and answers in another.

    `prompt_on` replaces an engine's; `hand_over_ms` passes between the end of a prompt and its transfer's start,
    for queues that both sides poll.
    """

    prompt_on: dict[str, Positive] = Field(default_factory=dict)
    hand_over_ms: NonNegative = 0.0
    source: str


@spec
class Overheads:
    """What an engine adds to its kernels: multipliers on their seconds, and seconds of its own.

    `all_reduce` multiplies the time before an all-reduce's first byte, where ranks wait for each other; `exchange` what the
    exchange of data-parallel ranks in front of and behind experts takes.
    `kernel_us` is a small kernel (norm, rotary embedding, activation, cache write) and the gap behind it,
    `recurrent_us` what the many of a layer with a recurrence take more; `step_us` and
    `sequence_us` are the engine's own work between steps, to which `sync_step_us` and `sync_sequence_us` come where it does not
    schedule a step while the one before runs. Tensor-parallel ranks each prepare the batch and wait for the slowest:
    `rank_sequence_us` more a sequence for every doubling of them. Where no CUDA graph covers a step, the CPU needs
    `launch_layer_us` to launch a layer, `launch_rank_us` more for every doubling of tensor-parallel ranks, `launch_experts_us`
    more where it has experts and `launch_op_us` for each op that must not be fused; `eager_layer_us` without compilation, and
    `eager_quantize_us` more where kernels of their own quantize the activations of its matmuls.
    Engines that run prompts without graphs or compilation, whatever the step's size, need `prompt_layer_us` to launch a layer of
    such a step, `prompt_rank_us` more for every doubling of tensor-parallel ranks, `prompt_experts_us` more where it has experts
    (in full where a token picks `prompt_experts_picked` of them or more, nothing at half as many)
    and `prompt_recurrent_us` more where it has a recurrence; and on an architecture its GPU's work takes `prompt_on` times as
    long as kernels alone would. `experts_on` and `gemm_on` multiply the seconds of experts and of linear layers, by the
    architecture and the kernel that runs them ("blackwell bf16").
    `expert_skew` is the Zipf exponent of how unevenly tokens choose experts.
    """

    name: str
    gemm: Positive = 1.0
    experts: Positive = 1.0
    all_reduce: Positive = 1.0
    exchange: Positive = 1.0
    attention: Positive = 1.0
    quantize: NonNegative = 1.0
    expert_skew: NonNegative = 0.0
    kernel_us: NonNegative
    recurrent_us: NonNegative = 0.0
    step_us: NonNegative
    sequence_us: NonNegative
    rank_sequence_us: NonNegative = 0.0
    sync_step_us: NonNegative = 0.0
    sync_sequence_us: NonNegative = 0.0
    launch_layer_us: NonNegative = 0.0
    launch_rank_us: NonNegative = 0.0
    launch_experts_us: NonNegative = 0.0
    launch_op_us: NonNegative = 0.0
    eager_layer_us: NonNegative = 0.0
    prompt_layer_us: NonNegative = 0.0
    prompt_rank_us: NonNegative = 0.0
    prompt_experts_us: NonNegative = 0.0
    prompt_experts_picked: Natural = 0
    prompt_recurrent_us: NonNegative = 0.0
    prompt_on: dict[str, Positive] = Field(default_factory=dict)
    experts_on: dict[str, Positive] = Field(default_factory=dict)
    gemm_on: dict[str, Positive] = Field(default_factory=dict)
    eager_quantize_us: NonNegative = 0.0
    extrapolated: tuple[str, ...] = ()
    apart: Apart | None = None
    source: str
    checked: str

    def in_a_pool(self) -> Overheads:
        """The overheads in a prefill or a decode pool."""
        if self.apart is None:
            return self
        return replace(self, prompt_on=self.prompt_on | self.apart.prompt_on)


@spec
class Interconnect:
    """All-reduces by number of ranks over one way between cards, with where the numbers are from."""

    name: str
    all_reduce: dict[int, AllReduce]
    source: str
    checked: str


@spec
class Exchange:
    """All-to-alls of experts' tokens of one kind: microseconds before the first byte, both ways together, and what they reach.

    `doubling_us` comes to it for every doubling of two servers; `link` is the fraction of the link between GPUs, None where
    the network between servers tells.
    """

    name: str
    first_us: NonNegative
    doubling_us: NonNegative = 0.0
    link: Positive | None = None
    source: str
    checked: str


@cache
def exchange(name: str) -> Exchange:
    """All-to-alls over `nvlink`, or between servers of `few-tokens` or `many-tokens`."""
    return Exchange(name=name, **_dated(stanzas.load_entry("exchanges", name)))


def interconnect(name: str) -> Interconnect:
    """All-reduces over `host-memory`, an `nvlink-bridge` or an `nvlink-domain`, whatever the card."""
    return Interconnect(
        name=name, **_dated(stanzas.load_entry("interconnects", stanzas.find("interconnects", name, "interconnect")))
    )


def kernels(gpu: Gpu) -> Kernels:
    """The efficiencies of a GPU: its own, or those of its architecture and link. Raises NotModelled when there are none."""
    for name in (gpu.name, f"{gpu.architecture}-{gpu.link}", gpu.architecture):
        try:
            return _kernels(stanzas.find("kernels", name, "kernels"))
        except UnknownName:
            continue
    raise NotModelled(f"no kernel efficiencies are known for {gpu.name} or its architecture {gpu.architecture}")


def overheads(engine: Engine) -> Overheads:
    """The overheads of an engine: of its own family and generation, under those that it states itself."""
    name = stanzas.find("overheads", f"{engine.family}-{engine.generation}", "engine overheads")
    return Overheads(name=name, **_dated(stanzas.load_entry("overheads", name)) | dict(engine.own_overheads))


@cache
def _kernels(name: str) -> Kernels:
    fields = _merged(name)
    gemm = fields["gemm"]
    same = {kernel: gemm[other] for kernel, other in gemm.items() if isinstance(other, str)}
    return Kernels(name=name, **{**fields, "gemm": gemm | same})


def _merged(name: str) -> dict[str, Any]:
    """The stanza of a name over the one it is `like`, table by table; a kernel may stand there as the name of another."""
    own = _dated(stanzas.load_entry("kernels", name))
    parent = own.pop("like", None)
    base = _merged(parent) if parent else {}
    tables = {key: {**base.get(key, {}), **own.get(key, {})} for key in ("gemm", "experts", "attention", "latent", "all_reduce")}
    return {**base, **own, **tables}


def _dated(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "checked": str(fields["checked"])}
