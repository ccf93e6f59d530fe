"""Protocols: the server and the requests behind a measured run, and the simulation of both."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from simulator.budget import Budget
from simulator.catalog.engines import Engine, EngineArgs
from simulator.catalog.gpus import Gpu
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization
from simulator.engine.load import Load
from simulator.engine.record import FINISHED, RunRecord
from simulator.errors import MeasurementError
from simulator.latency.calibration import Calibration
from simulator.latency.client import FrontEnd
from simulator.latency.error_bands import Setting, setting
from simulator.latency.host import Host
from simulator.latency.models import LatencySpec, Roofline
from simulator.latency.sampling import Sampling
from simulator.results.tables import latencies
from simulator.server import DoesNotStart, FleetPlan, PoolPlan, Server, plan_server
from simulator.workload.requests import BlockHashes, Floats, Ints, Requests

# Seconds between the prompts of an earlier pass, and tokens in the blocks that its prefix cache is looked up by.
_APART_S, _BLOCK = 10.0, 16


@dataclass(frozen=True, slots=True)
class MeasuredServer:
    """The server behind a measured run: `replicas` of it, each with as many engines as it is data parallel.

    `kv_tokens`: the KV cache of one engine as that printed it, which replaces the planned one. `client` is what measured it, None
    where the engine did. `client_sequence_s` is what a client in the engine's own process needs of the CPU for each sequence of a
    step. `apart`: it is of a prefill or a decode pool.
    """

    model: Model
    quantization: Quantization | None
    gpu: Gpu
    engine: Engine
    args: EngineArgs
    replicas: int = 1
    kv_tokens: int | None = None
    link_bytes_per_s: float | None = None
    host: Host = field(default_factory=Host)
    sampling: Sampling = field(default_factory=Sampling)
    client: FrontEnd | None = None
    client_sequence_s: float = 0.0
    apart: bool = False

    @property
    def engines(self) -> int:
        """Engines that requests are spread over."""
        return self.replicas * self.args.data_parallel_size

    @property
    def setting(self) -> Setting:
        """What the error of its predictions goes by."""
        return setting(self.model, self.quantization, self.gpu, self.engine, self.args, self.link_bytes_per_s)

    @property
    def key(self) -> tuple[object, ...]:
        """What decides a binding."""
        quantization = self.quantization.name if self.quantization else None
        told = self.args, self.kv_tokens, self.link_bytes_per_s, self.host, self.sampling, self.client_sequence_s, self.apart
        return self.model.name, quantization, self.gpu.name, self.engine.name, told


@dataclass(slots=True)
class Bench:
    """Simulates servers under load, binding each configuration once, with a calibration where one is given.

    `budget`: what one simulation may cost; None where that was looked at before.
    """

    latency: LatencySpec = field(default_factory=Roofline)
    calibration: Calibration | None = None
    budget: Budget | None = None
    bound: dict[tuple[object, ...], Server] = field(default_factory=dict)

    def afford(self, requests: Requests) -> None:
        """Raise SimulatorError where simulating requests would cost more than was allowed."""
        if self.budget is not None:
            afford(requests, self.budget)

    def bind(self, measured: MeasuredServer) -> Server:
        """One engine of a server. Raises MeasurementError where our memory plan says that it would not start.

        What was measured did start: a max_model_len that is not stated is the longest that fits, where the model's own does not.
        """
        if measured.key not in self.bound:
            self.bound[measured.key] = self._planned(measured)
        return self.bound[measured.key]

    def _planned(self, measured: MeasuredServer) -> Server:
        planned = self._plan(measured, measured.args)
        longest = planned.plan.longest_sequence
        if isinstance(planned, DoesNotStart) and measured.args.max_model_len is None and longest:
            planned = self._plan(measured, replace(measured.args, max_model_len=longest))
        if isinstance(planned, DoesNotStart):
            raise MeasurementError(f"by our memory plan it does not start: {planned.reason}")
        step = planned.step_time
        per_sequence = step.per_sequence + measured.client_sequence_s
        return replace(planned, step_time=replace(step, per_sequence=per_sequence))

    def _plan(self, measured: MeasuredServer, args: EngineArgs) -> Server | DoesNotStart:
        return plan_server(
            measured.model,
            measured.quantization,
            measured.gpu,
            args,
            measured.engine,
            latency=self.latency,
            calibration=self.calibration,
            link_bytes_per_s=measured.link_bytes_per_s,
            host=measured.host,
            sampling=measured.sampling,
            kv_tokens=measured.kv_tokens,
            apart=measured.apart,
        )

    def run(self, measured: MeasuredServer, requests: Requests, source: Load | None = None) -> RunRecord:
        """The trace of a server under load, as its client saw it. Raises SimulatorError beyond the budget."""
        self.afford(requests)
        pool = PoolPlan(self.bind(measured), measured.engines)
        return FleetPlan((pool,), measured.client).serve(requests, source=source)


def afford(requests: Requests, budget: Budget) -> None:
    """Raise SimulatorError where simulating requests would cost more than was allowed, in words that say what allows it."""
    tokens = float((requests.prompt_tokens + requests.output_tokens).mean()) if len(requests) else 0.0
    blocks = 0 if requests.hashes is None else len(requests.hashes.ids)
    budget.check(len(requests), tokens, blocks / max(1, len(requests)))


def finished(trace: RunRecord) -> dict[str, Floats]:
    """Latencies of finished requests where the run was measured; seconds, by name, each of shape (finished,)."""
    done = trace.requests["status"] == FINISHED
    if not done.any():
        raise MeasurementError("in the simulation no request finishes")
    return {name: values[done] for name, values in latencies(trace).items()}


def output_tokens_per_s(trace: RunRecord) -> float:
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


def second_pass(trace: RunRecord) -> RunRecord:
    """The requests of a trace's second half; its stretches stay those of the whole."""
    half = len(trace) // 2
    return replace(trace, requests={name: column[half:] for name, column in trace.requests.items()})


def uniform_lengths(count: int, longest: int, ratio: float, rng: np.random.Generator) -> Ints:
    """Lengths even between ratio * longest and longest, as benchmark tools draw them from a range ratio."""
    return rng.integers(max(1, int(ratio * longest)), longest + 1, count)


def staggered_lengths(count: int, length: int, users: int, rng: np.random.Generator) -> Ints:
    """Lengths that keep so many users out of step: up to 0.6 of a token a user off what is stated, their mean kept.

    Users of truly equal answers would ask again together for ever. A spread that grows with the users, not with the length,
    is what gives TTFT as long after answers of 128 tokens as after 1,024, as AIConfigurator's lab has it.
    """
    spread = min(round(0.6 * users), length // 2)
    return rng.integers(length - spread, length + spread + 1, count)
