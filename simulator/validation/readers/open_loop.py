"""Open loops: requests at a constant rate per stage over shared system prompts, one row a stage."""

from __future__ import annotations

import re

import numpy as np

from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.engine.load import OpenLoop
from simulator.engine.record import RunRecord
from simulator.errors import MeasurementError
from simulator.latency.client import FrontEnd
from simulator.numbers import LONGEST, MOST_REQUESTS, finite_number, integer
from simulator.results.steady_state import load_regime
from simulator.validation.measurements import Findings, MeasurementTable, Reader, Row, text, whole_in
from simulator.validation.protocols import Bench, MeasuredServer, finished
from simulator.validation.readers.rows import Prediction, compare_rows, count, engine_of, measured_args, values_in
from simulator.workload.requests import BlockHashes, Floats, Ints, Requests

# vLLM release assumed: that of the runs' dates (February 2026); the rows name none.
ASSUMED_VERSION = "0.15.1"
_BLOCK = 16
_MOST_PER_S, _LONGEST_S = 1e6, 1e8
_COLUMNS = {
    "itl_ms": ("itl_mean", 1.0),
    "ttft_ms": ("ttft_mean", 1.0),
    "ttft_ms_p90": ("ttft_p90", 1.0),
    "ttft_ms_p99": ("ttft_p99", 1.0),
    "e2e_ms": ("e2e_mean", 1.0),
    "e2e_ms_p90": ("e2e_p90", 1.0),
    "e2e_ms_p99": ("e2e_p99", 1.0),
}


def compare_open_loop(table: MeasurementTable, bench: Bench | None = None) -> Findings:
    """Every stage, and the run as a whole, beside a simulation of the run."""
    runs: dict[str, tuple[MeasuredServer, RunRecord, Ints]] = {}

    def predict(row: Row, bench: Bench) -> Prediction:
        if (run := text(row, "id")) not in runs:
            runs[run] = _simulated(row, bench)
        server, trace, stage = runs[run]
        wanted = text(row, "stage")
        chosen = None if wanted == "all" else stage == whole_in(row, "stage", least=0)
        if chosen is not None and not chosen.any():
            raise MeasurementError(f"column stage: {wanted!r} is none of the stages {text(row, 'stages')!r:.60}")
        return Prediction(_figures(trace, chosen), server, load_regime(trace))

    return compare_rows(table, predict, lambda row: values_in(row, _COLUMNS), bench)


def _simulated(row: Row, bench: Bench) -> tuple[MeasuredServer, RunRecord, Ints]:
    server = open_loop_server(row)
    arrival, stage = _arrivals(text(row, "stages"))
    most = count(row, "max_concurrency") if text(row, "max_concurrency") else None
    return server, bench.run(server, _requests(row, arrival), OpenLoop(max_concurrency=most)), stage


def open_loop_server(row: Row) -> MeasuredServer:
    """The server of a row, with the KV blocks that vLLM reported."""
    base = model(text(row, "model"))
    args = measured_args(
        tensor_parallel_size=whole_in(row, "tp") or 1,
        max_num_seqs=count(row, "max_num_seqs"),
        max_num_batched_tokens=count(row, "max_num_batched_tokens"),
        enable_prefix_caching=True,
        num_gpu_blocks_override=count(row, "num_gpu_blocks"),
        block_size=count(row, "block_size"),
    )
    release, _ = engine_of(row, ASSUMED_VERSION)
    return MeasuredServer(base, base.quantization, gpu(text(row, "gpu")), release, args, client=FrontEnd())


def _arrivals(stages: str) -> tuple[Floats, Ints]:
    """Arrival seconds, evenly spaced, and the stage of each request from `2.5rps:600s;6.0rps:600s`."""
    parts = re.findall(r"([\d.]+)rps:(\d+)s", stages)
    if not parts:
        raise MeasurementError(f"column stages: {stages!r} is not like 2.5rps:600s;6.0rps:600s")
    start, arrival, stage = 0.0, [], []
    for index, (written, lasting) in enumerate(parts):
        rate = finite_number(written, "column stages", above=0.0, most=_MOST_PER_S)
        seconds = finite_number(lasting, "column stages", most=_LONGEST_S)
        sent = integer(round(rate * seconds), f"column stages: requests of {written}rps:{lasting}s", most=MOST_REQUESTS)
        arrival.append(start + np.arange(sent) / rate)
        stage.append(np.full(sent, index))
        start += seconds
    if not sum(map(len, arrival)):
        raise MeasurementError(f"column stages: {stages!r:.60} sends no request")
    return np.concatenate(arrival), np.concatenate(stage)


def _requests(row: Row, arrival: Floats) -> Requests:
    """Users in turn: each sends its own question behind its group's system prompt, again and again."""
    system, question = count(row, "system_prompt_len", most=LONGEST), count(row, "question_len", most=LONGEST)
    groups, users = count(row, "system_prompts", most=MOST_REQUESTS), count(row, "users_per_prompt", most=MOST_REQUESTS)
    user = np.arange(len(arrival)) % (groups * users)
    shared, whole = system // _BLOCK, (system + question) // _BLOCK
    blocks = np.arange(whole)
    own = groups * whole + user[:, None] * whole + blocks[None, :]
    of_group = (user // users)[:, None] * whole + blocks[None, :]
    ids = np.where(blocks[None, :] < shared, of_group, own)
    hashes = BlockHashes(_BLOCK, np.arange(len(arrival) + 1, dtype=np.int64) * whole, ids.ravel().astype(np.int64))
    prompt = np.full(len(arrival), system + question, dtype=np.int64)
    output = np.full(len(arrival), count(row, "output_len", most=LONGEST), dtype=np.int64)
    return Requests(arrival_s=arrival, prompt_tokens=prompt, output_tokens=output, hashes=hashes)


def _figures(trace: RunRecord, chosen: np.ndarray | None) -> dict[str, float]:
    seen = finished(trace)
    picked = {name: values if chosen is None else values[chosen[: len(values)]] for name, values in seen.items()}
    figures = {"itl_ms": float(np.nanmean(picked["tpot_s"]))}
    for name in ("ttft", "e2e"):
        values = picked[f"{name}_s"]
        figures[f"{name}_ms"] = float(np.nanmean(values))
        figures[f"{name}_ms_p90"], figures[f"{name}_ms_p99"] = (float(p) for p in np.nanpercentile(values, (90, 99)))
    return {name: 1e3 * value for name, value in figures.items()}


READER = Reader("open loops over shared prompts", ("id", "model", "gpu", "stages", "question_len", "itl_mean"), compare_open_loop)
