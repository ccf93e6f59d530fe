"""Protocols: the server and the requests behind a measured run, and the simulation of both."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from simulator.catalog.engines import Engine, EngineArgs
from simulator.catalog.gpus import Gpu
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization
from simulator.engine.cluster import serve
from simulator.engine.limits import Limits
from simulator.engine.recorder import FINISHED, Trace
from simulator.engine.source import OpenLoop, Source
from simulator.errors import MeasurementError
from simulator.latency.calibration import Calibration, apply
from simulator.latency.frontend import FrontEnd
from simulator.latency.models import LatencySpec, Roofline
from simulator.latency.step import StepTime
from simulator.latency.target import Target
from simulator.memory.plan import plan_without_remedies
from simulator.results.tables import latencies, with_frontend
from simulator.workload.requests import BlockHashes, Floats, Ints, Requests

# Seconds between the prompts of an earlier pass, and tokens in the blocks that its prefix cache is looked up by.
_APART_S, _BLOCK = 10.0, 16


@dataclass(frozen=True, slots=True)
class Server:
    """One configuration under test; `kv_tokens` replaces the planned KV cache where the engine printed its own.

    `client_sequence_s` is what a client in the engine's own process needs of the CPU for each sequence of a step.
    """

    model: Model
    quantization: Quantization | None
    gpu: Gpu
    engine: Engine
    args: EngineArgs
    replicas: int = 1
    kv_tokens: int | None = None
    link_bytes_per_s: float | None = None
    client_sequence_s: float = 0.0

    @property
    def key(self) -> tuple[object, ...]:
        """What decides a binding."""
        quantization = self.quantization.name if self.quantization else None
        told = self.args, self.kv_tokens, self.link_bytes_per_s, self.client_sequence_s
        return self.model.name, quantization, self.gpu.name, self.engine.name, told


@dataclass(slots=True)
class Bench:
    """Simulates servers under load, binding each configuration once, with a calibration where one is given."""

    latency: LatencySpec = field(default_factory=Roofline)
    calibration: Calibration | None = None
    bound: dict[tuple[object, ...], tuple[StepTime, Limits]] = field(default_factory=dict)

    def bind(self, server: Server) -> tuple[StepTime, Limits]:
        """Step time and limits of one replica. Raises MeasurementError where our memory plan says that it would not start."""
        if server.key not in self.bound:
            step_time, limits = _bind(server, self.latency)
            found = self.calibration and self.calibration.find(server.model, server.quantization, server.gpu, server.args)
            self.bound[server.key] = apply(step_time, found or None), limits
        return self.bound[server.key]

    def run(self, server: Server, requests: Requests, source: Source | None = None) -> Trace:
        """The trace of a server under load."""
        return serve(requests, [self.bind(server)] * server.replicas, source=source or OpenLoop())


def _bind(server: Server, latency: LatencySpec) -> tuple[StepTime, Limits]:
    plan = plan_without_remedies(server.model, server.quantization, server.gpu, server.args, server.engine)
    block = plan.args.block_size or 16
    blocks = server.kv_tokens // block if server.kv_tokens else plan.num_gpu_blocks
    if not plan.starts and not server.kv_tokens:
        raise MeasurementError(f"by our memory plan it does not start: {plan.reason}")
    step_time = latency.bind(
        Target(server.model, server.quantization, server.gpu, plan.args, server.engine, server.link_bytes_per_s)
    )
    step_time = replace(step_time, per_sequence=step_time.per_sequence + server.client_sequence_s)
    return step_time, _limits(plan.args, blocks, block)


def _limits(args: EngineArgs, blocks: int, block: int) -> Limits:
    return Limits(
        kv_blocks=blocks,
        block_size=block,
        max_num_seqs=args.max_num_seqs or 256,
        max_num_batched_tokens=args.max_num_batched_tokens or 2048,
        max_model_len=args.max_model_len,
        enable_chunked_prefill=bool(args.enable_chunked_prefill),
        enable_prefix_caching=bool(args.enable_prefix_caching),
        reserve_full_prompt=bool(args.scheduler_reserve_full_isl),
        async_scheduling=bool(args.async_scheduling),
    )


def at_client(trace: Trace, frontend: FrontEnd, concurrency: float | None = None) -> dict[str, Floats]:
    """Latencies of finished requests as a client measures them; seconds, by name, each of shape (finished,).

    `concurrency` defaults to the mean number of requests in the engine.
    """
    r = trace.requests
    done = r["status"] == FINISHED
    if not done.any():
        raise MeasurementError("in the simulation no request finishes")
    sojourn = (r["finish_s"] - r["arrival_s"])[done]
    length = float(np.nanmax(r["finish_s"]) - np.nanmin(r["arrival_s"]))
    mean = float(sojourn.sum()) / length if concurrency is None else concurrency
    gaps = np.maximum(r["output_tokens"][done] - 1, 1)
    step = float(((r["finish_s"] - r["first_token_s"])[done] / gaps).mean())
    added = frontend.seconds(r["prompt_tokens"], mean, step)
    return {name: values[done] for name, values in latencies(with_frontend(trace, added)).items()}


def in_engine(trace: Trace) -> dict[str, Floats]:
    """Latencies of finished requests as the engine's own clock has them."""
    done = trace.requests["status"] == FINISHED
    return {name: values[done] for name, values in latencies(trace).items()}


def output_tokens_per_s(trace: Trace) -> float:
    """Output tokens of finished requests over the length of the run."""
    r = trace.requests
    done = r["status"] == FINISHED
    return float(r["output_tokens"][done].sum() / (np.nanmax(r["finish_s"]) - np.nanmin(r["arrival_s"])))


def weighted_median(values: Floats, weights: Ints) -> float:
    """The value below which half of the weight lies."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])


def requests_of(prompt: Ints, output: Ints, arrival_s: Floats | None = None) -> Requests:
    """Requests of given lengths, all at second 0 unless said otherwise."""
    arrival = np.zeros(len(prompt)) if arrival_s is None else arrival_s
    return Requests(arrival_s=arrival, prompt_tokens=prompt.astype(np.int64), output_tokens=output.astype(np.int64))


def repeated(requests: Requests) -> Requests:
    """The requests behind an earlier pass over their prompts, one by one: what a run that is repeated finds in the prefix cache.

    `second_pass` tells the two apart again. Requires a first arrival at 0 or later.
    """
    count, start = len(requests), len(requests) * _APART_S
    blocks = np.maximum(requests.prompt_tokens // _BLOCK, 1)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate([blocks, blocks]))]).astype(np.int64)
    ids = np.arange(blocks.sum(), dtype=np.int64)
    return Requests(
        arrival_s=np.concatenate([np.arange(count) * _APART_S, start + requests.arrival_s]),
        prompt_tokens=np.concatenate([requests.prompt_tokens] * 2),
        output_tokens=np.concatenate([np.ones(count, dtype=np.int64), requests.output_tokens]),
        hashes=BlockHashes(_BLOCK, offsets, np.concatenate([ids, ids])),
    )


def second_pass(trace: Trace) -> Trace:
    """The requests of a trace's second half; its stretches stay those of the whole."""
    half = len(trace) // 2
    return replace(trace, requests={name: column[half:] for name, column in trace.requests.items()})


def uniform_lengths(count: int, longest: int, ratio: float, rng: np.random.Generator) -> Ints:
    """Lengths even between ratio * longest and longest, as benchmark tools draw them from a range ratio."""
    return rng.integers(max(1, int(ratio * longest)), longest + 1, count)


def nominal_lengths(count: int, length: int, rng: np.random.Generator) -> Ints:
    """Lengths up to 5 % off what is stated, their mean kept."""
    spread = length // 20
    return rng.integers(length - spread, length + spread + 1, count)
