"""Runs of a prefill pool and a decode pool at a fixed concurrency, one row a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from simulator.catalog.gpus import gpu
from simulator.catalog.links import LinkSpec
from simulator.catalog.models import Model, MoeMlp, model
from simulator.engine.fleet.router import Random, RoundRobin, Router
from simulator.engine.load import ClosedLoop
from simulator.numbers import LONGEST, MOST_REQUESTS
from simulator.results.steady_state import load_regime
from simulator.server import FleetPlan, LinkPlan, PoolPlan
from simulator.validation.measurements import Findings, MeasurementTable, Reader, Row, text, whole_in
from simulator.validation.protocols import Bench, MeasuredServer, finished, output_tokens_per_s
from simulator.validation.readers.closed_loop import (
    ASSUMED_VERSION,
    BENCHMARK_CLIENT,
    PROMPTS_EACH,
    drawn_requests,
    quantization_of,
)
from simulator.validation.readers.inferencex import HARNESS_RATIO
from simulator.validation.readers.recipes import PooledRun, pool_arguments
from simulator.validation.readers.rows import Prediction, compare_rows, count, engine_of, measured_args, values_in

Role = Literal["prefill", "decode"]

# Requests that are simulated at most: beyond them the first ones, who come all at once, hardly count.
_MOST = 40_000
_BLOCK = 128
_SERVER = ("model", "gpu", "prefill_num_workers", "decode_num_workers")
_VALUES = {"ttft_ms": ("ttft_ms_mean", 1.0), "tpot_ms": ("tpot_ms_mean", 1.0)}


@dataclass(frozen=True, slots=True)
class MeasuredPool:
    """One pool behind a measured run: `workers` servers."""

    server: MeasuredServer
    workers: int

    @property
    def instances(self) -> int:
        """Engines that requests are spread over."""
        return self.workers * self.server.args.data_parallel_size


def compare_disaggregated(table: MeasurementTable, bench: Bench | None = None) -> Findings:
    """Rows that state the workers of both pools, with latencies."""
    return compare_rows(table, predict_apart, lambda row: values_in(row, _VALUES), bench)


def predict_apart(row: Row, bench: Bench) -> Prediction:
    """Latencies at the client of a run at a fixed concurrency, of the whole deployment."""
    prefill, decode = pool_of(row, "prefill"), pool_of(row, "decode")
    users = count(row, "concurrency", most=MOST_REQUESTS // PROMPTS_EACH)
    rng = np.random.default_rng([users, count(row, "input_len", most=LONGEST), count(row, "output_len", most=LONGEST)])
    requests = drawn_requests(_as_sent(row), rng, min(PROMPTS_EACH * users, max(_MOST, 2 * users)))
    bench.afford(requests)
    pools = tuple(PoolPlan(bench.bind(pool.server), pool.instances, router_of(row)) for pool in (prefill, decode))
    link = link_of_card(decode.server)
    fleet = FleetPlan(pools, decode.server.client, link=link)
    trace = fleet.serve(requests, source=ClosedLoop(concurrency=users))
    seen = finished(trace)
    found = {f"{name}_ms": float(1e3 * np.nanmean(seen[f"{name}_s"])) for name in ("ttft", "tpot")}
    found["output_tok_s"] = output_tokens_per_s(trace)
    return Prediction(found, decode.server, load_regime(trace), stated=False)


def link_of_card(server: MeasuredServer) -> LinkPlan:
    """What lies between pools where a file does not say: NVLink between cards of one rack that has it, else RDMA."""
    kind = "nvlink-5" if server.gpu.name in ("gb200", "gb300") else "rdma-400g"
    link = LinkSpec(kind=kind)
    return LinkPlan(link.port_bytes_per_s, link.latency_s)


def _is_inferencex(row: Row) -> bool:
    return text(row, "source").startswith("InferenceX")


def _as_sent(row: Row) -> Row:
    """The row with the range of lengths that InferenceX's client draws from, which it does not state."""
    return {"length_range_ratio": str(HARNESS_RATIO), **row} if _is_inferencex(row) else row


def router_of(row: Row) -> Router:
    """Who gives requests to workers: several front ends that each go round, where InferenceX measured, so that it is chance."""
    return Random() if _is_inferencex(row) else RoundRobin()


def pool_of(row: Row, role: Role) -> MeasuredPool:
    """One pool of a row. With attention data parallelism each rank attends on its own GPU."""

    def number(name: str, of: str = role) -> int:
        return whole_in(row, f"{of}_{name}") or 1

    base, card = model(text(row, "model")), gpu(text(row, "gpu"))
    release, _ = engine_of(row, ASSUMED_VERSION)
    told: dict[str, Any] = {
        "tensor_parallel_size": number("tp_size"),
        "pipeline_parallel_size": number("pp_size"),
        "data_parallel_size": number("attention_dp_size"),
    }
    split = number("moe_tp_size")
    told["enable_expert_parallel"] = number("moe_ep_size") > 1 or _cannot_split(base, split)
    if _is_inferencex(row):
        told |= pool_arguments(
            PooledRun(
                family=release.family,
                release=text(row, "engine_version"),
                form=text(row, "precision"),
                gpu=card.name,
                prompt_tokens=count(row, "input_len", most=LONGEST),
                output_tokens=count(row, "output_len", most=LONGEST),
                users=count(row, "concurrency", most=MOST_REQUESTS),
                prefill_workers=number("num_workers", "prefill"),
                prefill_ranks=number("attention_dp_size", "prefill"),
                decode_workers=number("num_workers", "decode"),
                decode_ranks=number("attention_dp_size", "decode"),
            )
        )[role]
    form = quantization_of(row, base)
    server = MeasuredServer(base, form, card, release, measured_args(**told), client=BENCHMARK_CLIENT, apart=True)
    return MeasuredPool(server, number("num_workers"))


def _cannot_split(base: Model, ways: int) -> bool:
    """Whether experts cannot be split so many ways, as their kernels take whole blocks: they are then whole on their ranks."""
    return any(isinstance(layer.mlp, MoeMlp) and layer.mlp.width % (ways * _BLOCK) for layer in base.layers)


READER = Reader(
    "runs of a prefill and a decode pool",
    (
        "model",
        "gpu",
        "input_len",
        "output_len",
        "concurrency",
        "prefill_num_workers",
        "decode_num_workers",
        "ttft_ms_mean|tpot_ms_mean",
    ),
    compare_disaggregated,
)
