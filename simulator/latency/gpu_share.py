"""One GPU of a deployment: its share of the model, and how fast its kernels run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from simulator.catalog.engine_args import MoeBackend
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu
from simulator.catalog.kernels import Attention, Experts, Kernels, Matmul, Overheads, RunningKernel, kernels, overheads
from simulator.catalog.links import LinkSpec
from simulator.catalog.models import Layer, Model
from simulator.catalog.quantizations import Quantization, TensorGroup, WeightFormat, runs_as
from simulator.errors import NotModelled
from simulator.latency import physics
from simulator.latency.aiconfigurator import Tables
from simulator.latency.interconnect import Ranks
from simulator.latency.physics import Array, Rates
from simulator.latency.sampling import Sampling
from simulator.latency.target import Target
from simulator.units import BYTES_OF, US

_NVFP4_BYTES = 0.5625  # 4 bits, and a scale byte for every 16 values
_UNPACKED: dict[str, RunningKernel] = {"fp8": "fp8_wo", "fp8_block": "fp8_wo", "nvfp4": "nvfp4_wo", "mxfp4": "mxfp4_wo"}


@dataclass(frozen=True, slots=True)
class GpuShare:
    """One GPU of a deployment, with the token and sequence counts that its tables run over.

    `pp` stages work on as many micro-batches, each of 1/pp of a step's tokens and sequences; the tables below are those of one.
    `tp` splits attention and dense layers; experts are whole on their ranks with enable_expert_parallel, and split along their
    width without. `dp` ranks bring their tokens together in front of the experts. `link_bytes_per_s` is what the user's server
    gives from one GPU to another in one direction, in place of the datasheet's. CUDA graphs cover steps of up to `largest_graph`
    tokens, in V0 decodes of up to `longest_graph` tokens of context, 0 where none gets longer.
    `covers_prompts`: they do so where a step computes prompts too. `compiled`: the others run
    compiled code; `quantizes_inputs`: what the kernels that quantize inputs take of their own time,
    less than 1 where the compiler fuses them; `custom_ops`: what it must not fuse. `asynchronous`:
    a step is scheduled while the one before runs; `verified`: tokens of a decoding sequence;
    `sampling`: what is done to logits;
    `moe_backend`: the kernels of experts. `network` joins servers. `tf32`: matmuls of 32 bits run on tensor cores.
    `silicon`: measured kernels to take for matmuls and experts.
    """

    model: Model
    quantization: Quantization | None
    gpu: Gpu
    engine: Engine
    kernels: Kernels
    overheads: Overheads
    tp: int
    pp: int
    dp: int
    whole_experts: bool
    cache_bytes: float
    link_bytes_per_s: float | None
    tokens: Array
    sequences: Array
    largest_graph: int
    longest_graph: int
    covers_prompts: bool
    compiled: bool
    quantizes_inputs: float
    custom_ops: tuple[str, ...]
    asynchronous: bool
    sampling: Sampling = field(default_factory=Sampling)
    moe_backend: MoeBackend = "auto"
    network: LinkSpec = field(default_factory=LinkSpec)
    tf32: bool = False
    verified: int = 1
    silicon: Tables | None = None

    def ranks(self, number: int, apart: int = 1) -> Ranks:
        """So many GPUs of the replica, every `apart`-th, as a collective has them."""
        return Ranks(self.gpu, number, apart, self.link_bytes_per_s, self.network)

    def link(self, fraction: float) -> float:
        """Bytes/s that an all-reduce reaches, from the fraction of a link that it does."""
        return fraction * (self.link_bytes_per_s or self.gpu.link_bytes_per_s)

    @property
    def fused_norms(self) -> bool:
        """Whether norms run inside the all-reduce before them: FlashInfer's kernel in vLLM V1 on data-center Blackwell."""
        return self.tp > 1 and self.gpu.architecture == "blackwell" and self.engine.generation == "v1"

    @property
    def sixteen_flops(self) -> float:
        """FLOP/s of 16-bit matmuls."""
        return self.gpu.flops["bf16" if self.gpu.computes("bf16") else "fp16"]

    @property
    def quantizes_apart(self) -> bool:
        """Whether inputs of block-FP8 and NVFP4 layers are quantized by small kernels of their own: data-center Blackwell."""
        return self.gpu.architecture == "blackwell" and self.engine.family == "vllm"

    def quantizing_kernels(self, group: TensorGroup, layer: int) -> int:
        """Small kernels that quantize the inputs of one half layer: two where they run apart."""
        form = self.format(group, layer)
        apart = self.quantizes_apart and form is not None and running_kernel(form, self.gpu) in ("fp8_block", "nvfp4")
        return 2 if apart else 0

    @property
    def attention(self) -> Attention:
        """Softmax attention over this cache's element width."""
        return self.kernels.attention[16 if self.cache_bytes > 1 else 8]

    @property
    def latent(self) -> Attention:
        """Latent attention over this cache's element width."""
        return self.kernels.latent[16 if self.cache_bytes > 1 else 8]

    def format(self, group: TensorGroup, layer: int | None = None) -> WeightFormat | None:
        """The format of a tensor group, None where it stays in 16 bits."""
        return self.quantization.format(group, layer) if self.quantization else None

    def gemm(self, group: TensorGroup, layer: int, n: float, k: float) -> Array:
        """Seconds of one linear layer over the table of tokens."""
        return self._matmul(self.tokens, n, k, self.format(group, layer))

    def head(self, n: float, k: float) -> Array:
        """Seconds of the LM head over the table of sequences."""
        return self._matmul(self.sequences, n, k, self.format("lm_head"))

    def plain_gemm(self, n: float, k: float) -> Array:
        """Seconds of a linear layer whose weights are 16-bit whatever the quantization."""
        return physics.gemm(self.tokens, n, k, self.gemm_rates(None))

    def _matmul(self, tokens: Array, n: float, k: float, form: WeightFormat | None) -> Array:
        factor = self.overheads.gemm_on.get(f"{self.gpu.architecture} {running_kernel(form, self.gpu)}", 1.0)
        return self._unscaled_matmul(tokens, n, k, form) * factor

    def _unscaled_matmul(self, tokens: Array, n: float, k: float, form: WeightFormat | None) -> Array:
        reached = self._gemm_kernel(form)
        rates = self.gemm_rates(form)
        if self.silicon is not None and tokens is self.tokens:
            alone = self._rates(form, reached, 3 * reached.quantize, reached.depth_ns * 1e-9)
            return self.silicon.matmul(running_kernel(form, self.gpu), tokens, n, k, alone, rates)
        padded = physics.padded(tokens, self.largest_graph) if reached.stairs else tokens
        packed = physics.gemm(padded, n, k, rates) * physics.stairs(padded, reached.stairs)
        if reached.stairs:  # a few steps fall by some percent before the next: more tokens are never taken to be faster
            packed = np.maximum.accumulate(packed)
        if form is None or reached.unpack_above is None:
            return packed
        unpacking = n * k * (form.bytes + 2.0) / (reached.unpack_bandwidth * self.gpu.memory_bytes_per_s)
        plain = physics.gemm(tokens, n, k, self.gemm_rates(None))
        return np.where(tokens > reached.unpack_above, unpacking + plain, packed)

    def gemm_rates(self, form: WeightFormat | None) -> Rates:
        """Rates of a dense matmul over weights of a format. Raises NotModelled where its kernel is not known on this GPU."""
        reached = self._gemm_kernel(form)
        return self._rates(form, reached, 3 * reached.quantize * self.quantizes_inputs, reached.depth_ns * 1e-9)

    def _gemm_kernel(self, form: WeightFormat | None) -> Matmul:
        kernel = running_kernel(form, self.gpu)
        if (reached := self.kernels.gemm.get(kernel)) is None:
            raise _unknown(kernel, self.gpu, self.kernels.gemm)
        return reached

    def expert_rates(self, form: WeightFormat | None) -> Rates:
        """Rates of a grouped matmul over weights of a format. Raises NotModelled where its kernel is not known on this GPU."""
        kernel = running_kernel(form, self.gpu)
        own = self.kernels.experts_by_engine.get(self.engine.family, {})
        backend = self._moe_backend(kernel)
        if backend != "auto":
            own = self.kernels.experts_by_backend.get(backend, {})
            if kernel not in own:
                known = [name for name, table in self.kernels.experts_by_backend.items() if kernel in table]
                raise NotModelled(
                    f"moe_backend {backend} with {kernel} experts is not modelled on {self.gpu.name}; "
                    f"known there: {', '.join(['auto', *known])}"
                )
        if (reached := own.get(kernel, self.kernels.experts.get(kernel))) is None:
            raise _unknown(kernel, self.gpu, self.kernels.experts)
        return self._rates(form, reached, 2 * reached.routing, 0.0)

    def _moe_backend(self, kernel: RunningKernel) -> MoeBackend:
        """The backend that is asked for, or what the release takes by itself where that is not the newest one's."""
        below = self.kernels.triton_below.get(kernel)
        early = self.engine.family == "vllm" and below is not None and not self.engine.at_least(below)
        return "triton" if self.moe_backend == "auto" and early else self.moe_backend

    def _fixed_us(self, reached: Matmul | Experts) -> float:
        if isinstance(reached, Matmul) and reached.fused_us is not None and self.engine.at_least(reached.fused_since):
            return reached.fused_us
        return reached.fixed_us

    def _rates(self, form: WeightFormat | None, reached: Matmul | Experts, passes: float, depth_s: float) -> Rates:
        runs = runs_as(form, self.gpu)
        return Rates(
            bytes_per_s=reached.bandwidth * self.gpu.memory_bytes_per_s,
            flops_per_s=reached.compute * self.gpu.flops[runs.compute],
            weight_bytes=form.bytes if form is not None else 2.0,
            activation_bytes=form.activation_bits / 8 if form is not None and not runs.weight_only else 2.0,
            sharpness=reached.sharpness,
            fixed_s=self._fixed_us(reached) * US,
            depth_s=depth_s,
            pass_s=passes / self.gpu.memory_bytes_per_s,
        )


def gpu_share(target: Target) -> GpuShare:
    """One rank of the target."""
    model, quantization, gpu, args, engine = target.model, target.quantization, target.gpu, target.args, target.engine
    own = target.host.on(overheads(engine).in_a_pool() if target.apart else overheads(engine))
    compiled = engine.generation == "v1" and not args.enforce_eager
    asked = (quantization.kv_cache_dtype if quantization else None) or "bf16"
    stored = asked if args.kv_cache_dtype == "auto" else args.kv_cache_dtype
    return GpuShare(
        model=model,
        quantization=quantization,
        gpu=gpu,
        engine=engine,
        kernels=kernels(gpu),
        overheads=own,
        tp=args.tensor_parallel_size,
        pp=args.pipeline_parallel_size,
        dp=args.data_parallel_size if args.enable_expert_parallel and model.is_moe else 1,
        whole_experts=args.enable_expert_parallel,
        cache_bytes=_NVFP4_BYTES if stored == "nvfp4" else float(BYTES_OF[stored]),
        link_bytes_per_s=target.link_bytes_per_s,
        tokens=_of_one_micro_batch(args.max_num_batched_tokens, args.pipeline_parallel_size),
        sequences=_of_one_micro_batch(args.max_num_seqs * args.decode_length, args.pipeline_parallel_size),
        largest_graph=engine.largest_cudagraph(args),
        longest_graph=engine.max_seq_len_to_capture if args.max_model_len > engine.max_seq_len_to_capture else 0,
        asynchronous=args.async_scheduling,
        covers_prompts=args.graphs_cover_prompts,
        compiled=compiled,
        custom_ops=args.custom_ops,
        quantizes_inputs=1.0 if engine.generation == "v1" and args.quantizes_apart else own.quantize,
        sampling=target.sampling,
        moe_backend=args.moe_backend,
        network=target.network,
        tf32=args.float32_matmul_precision == "high",
        verified=args.decode_length,
    )


def _of_one_micro_batch(most: int, stages: int) -> Array:
    """0 to `most` tokens or sequences of a step, as one of `stages` micro-batches has them: at least one where there are any."""
    counts = np.arange(most + 1, dtype=np.float64)
    return np.where(counts > 0, np.maximum(counts / stages, 1.0), 0.0)


def running_kernel(form: WeightFormat | None, gpu: Gpu) -> RunningKernel:
    """The kernel that a weight format runs on; None is a 16-bit weight. Raises NotModelled where the GPU cannot run it."""
    weight_only = runs_as(form, gpu).weight_only
    if form is None:
        return "bf16"
    return _UNPACKED.get(form.kernel, form.kernel) if weight_only else form.kernel


def distinct_layers(r: GpuShare) -> list[tuple[Layer, int, int]]:
    """Layers that differ in shape or format: (layer, the first index that has it, how many there are)."""
    q = r.quantization
    special: dict[int, set[object]] = {}
    for index, group in q.exceptions if q else ():
        special.setdefault(index, set()).add(group)
    for (index, name), form in q.overrides.items() if q else ():
        special.setdefault(index, set()).add((name, form.name if form else None))
    keys = [(layer, frozenset(special.get(index, ()))) for index, layer in enumerate(r.model.layers)]
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    return [(key[0], first[key], count) for key, count in Counter(keys).items()]


def _unknown(kernel: RunningKernel, gpu: Gpu, known: Iterable[str]) -> NotModelled:
    return NotModelled(f"no {kernel} kernel is modelled on {gpu.name}; known there: {', '.join(known)}")
