"""Published benchmark tables: single streams, highest rates, everything at once and Poisson arrivals, one row a figure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu, gpu
from simulator.catalog.models import Model, model
from simulator.catalog.quantizations import Quantization, quantization
from simulator.engine.load import ClosedLoop, Load
from simulator.engine.record import RunRecord
from simulator.errors import MeasurementError, SimulatorError
from simulator.latency.client import FrontEnd
from simulator.latency.host import Host
from simulator.numbers import LONGEST, MOST_REQUESTS, finite_number, integer
from simulator.results.steady_state import load_regime
from simulator.units import GIB, US
from simulator.validation.measurements import Findings, MeasurementTable, Reader, Row, number_in, text, whole_in
from simulator.validation.protocols import (
    Bench,
    MeasuredServer,
    finished,
    output_tokens_per_s,
    repeated,
    requests_of,
    second_pass,
)
from simulator.validation.readers.rows import Prediction, compare_rows, engine_of, measured_args, measured_quantization, values_in
from simulator.workload.requests import Ints, Requests

_COLUMNS = {
    "output_tok_s": ("output_tok_s", 1.0),
    "request_rate": ("req_s", 1.0),
    "ttft_ms": ("ttft_ms", 1.0),
    "tpot_ms": ("tpot_ms", 1.0),
    "e2e_ms": ("e2e_s", 1e3),
}
_CLASSES = {"bf16": "", "fp8": "fp8", "int4": "w4a16", "int8_wo": "int8-weight-only", "int8_w8a8": "int8-w8a8"}
# Requests that keep a server full while its highest rate is measured, for each replica: vLLM V0's default max_num_seqs.
_FULL = 256
# Prompt quantiles of AccelMark's sets and the cut of their outputs: suites/suite_*/suite.json, read November 2026; mean prompts
# and outputs as offline rows print them, to which the quantiles are scaled. How outputs spread below the cut is our guess:
# log-normal.
_SETS = {
    "sharegpt_standard": ((120, 280, 580, 2100), 265.0, 512, 344.0),
    "sharegpt_longctx": ((28_100, 28_650, 29_200, 29_932), 28_640.0, 256, 256.0),
    "sharegpt_edge": ((60, 95, 180, 600), 103.0, 256, 180.0),
}
_OUTPUT_SPREAD = 0.9
_MOST_GPUS = 10_000
# Requests of a run at a rate, 300 where nothing stands here, and one by one: from the same files, those of suite D from the
# seconds that its runs took, with which the others agree.
_ONLINE = {"suite_B": 200, "suite_D": 100}
_SERIAL = {"suite_A": 150, "suite_F": 150}
# CPU seconds a step and sequence of AccelMark's online client, which shares a process with vLLM's V0 AsyncLLMEngine
# (runners/nvidia_vllm_*/runner.py); V1 runs its engine in a process of its own. It is the host's: six hosts fit 35 to 240 us, one
# figure for all leaves their TPOT at a median of 16 % in place of 8. A row may state its host's in column client_sequence_us.
CLIENT_SEQUENCE_S = 75e-6
# Qwen's documentation generates in one thread, whose host launches a layer in at most this: Qwen2.5-0.5B at 14,000 and 30,000
# tokens of context, where V0 leaves its graphs (QwenLM/Qwen3, examples/speed-benchmark, read November 2026).
_OFFLINE_HOST = Host(layer_us=85)
# V0 hands out a step's tokens while the next step runs (vllm/engine/async_llm_engine.py, async output processing).
_STEPS_LATE = 1.0
_MAX_MODEL_LEN = {"sharegpt_standard": 4096, "sharegpt_longctx": 30_208, "sharegpt_edge": 2048}


@dataclass(frozen=True, slots=True)
class PublishedLoad:
    """Requests, how they come, and the metrics that are read from the run."""

    requests: Requests
    source: Load | None
    metrics: tuple[str, ...]
    median: bool = False


def compare_published(table: MeasurementTable, bench: Bench | None = None) -> Findings:
    """Every row beside our figure for it. transformers rows and rows that lack their protocol are skipped with the reason."""
    return compare_rows(table, predict, lambda row: values_in(row, _COLUMNS), bench)


def predict(row: Row, bench: Bench) -> Prediction:
    """The figures of one row from the protocol that its notes tell."""
    if text(row, "engine").lower() == "transformers":
        raise MeasurementError("transformers is not an engine that we model")
    load, refused = _load(row), None
    found: list[Prediction] = []
    for server in servers_of(row):
        try:
            found.append(_predicted(bench, server, load))
        except SimulatorError as problem:
            refused = refused or problem
    if not found:
        raise refused or MeasurementError("no server is stated")
    best = max(found, key=lambda each: each.values["output_tok_s"])
    return replace(best, values={name: best.values[name] for name in load.metrics})


def _predicted(bench: Bench, server: MeasuredServer, load: PublishedLoad) -> Prediction:
    trace = _run(bench, server, load)
    seen = finished(trace)
    middle = np.nanmedian if load.median else np.nanmean
    length = float(np.nanmax(trace.requests["finish_s"]) - np.nanmin(trace.requests["arrival_s"]))
    figures = {
        "output_tok_s": output_tokens_per_s(trace),
        "request_rate": len(load.requests) / length,
        "ttft_ms": 1e3 * float(middle(seen["ttft_s"])),
        "tpot_ms": 1e3 * float(middle(seen["tpot_s"])),
        "e2e_ms": 1e3 * float(middle(seen["e2e_s"])),
    }
    return Prediction(figures, server, load_regime(trace))


def _run(bench: Bench, server: MeasuredServer, load: PublishedLoad) -> RunRecord:
    """The trace of a load. Open loops are AccelMark's, which sends the same prompts in each of three runs after a warm-up."""
    if load.source is not None or server.engine.generation == "v0":
        return bench.run(server, load.requests, load.source)
    return second_pass(bench.run(server, repeated(load.requests)))


def servers_of(row: Row) -> list[MeasuredServer]:
    """The server of a row; where it does not state `tp`, one for each way to split its GPUs into tensor-parallel replicas.

    Who publishes a highest rate has chosen the split that serves most: replicas of few GPUs lack room for a full batch, those of
    many lose time to each other.
    """
    gpus = whole_in(row, "n_gpu", most=_MOST_GPUS) or 1
    if tensor := whole_in(row, "tp", most=_MOST_GPUS):
        return [published_server(row, tensor, 1)]
    return [published_server(row, n, gpus // n) for n in (1, 2, 4, 8) if gpus % n == 0]


def published_server(row: Row, tensor_parallel: int, replicas: int) -> MeasuredServer:
    """The server of a row, with this many GPUs per replica."""
    base, card, notes = model(text(row, "model")), gpu(text(row, "gpu", "gpu_norm")), text(row, "notes")
    release, _ = engine_of(row, "0.7.3")
    offline = "offline" in notes
    return MeasuredServer(
        model=replace(base, quantization=None),
        quantization=_quantization(row, base, offline),
        gpu=card,
        engine=release,
        args=measured_args(
            tensor_parallel_size=tensor_parallel, **_defaults(row, release, card, offline), **_args(row, notes, offline)
        ),
        replicas=replicas,
        host=_OFFLINE_HOST if "generated tokens/s" in notes else Host(),
        client=_client(row, release, offline),
        client_sequence_s=_client_s(row, release) if _set_of(row) and not offline else 0.0,
    )


def _client(row: Row, release: Engine, offline: bool) -> FrontEnd | None:
    """What measured a row: none offline, AccelMark in the engine's own process, a client of a server else."""
    if offline:
        return None
    if _set_of(row) is None:
        return FrontEnd()
    return FrontEnd(queue=False, decode_steps=_STEPS_LATE if release.generation == "v0" else 0.0)


def _client_s(row: Row, release: Engine) -> float:
    if release.generation != "v0":
        return 0.0
    stated = number_in(row, "client_sequence_us")
    if stated is not None and stated < 0:
        raise MeasurementError(
            f"column client_sequence_us: {stated:g} cannot be; it is the CPU's microseconds a step and sequence"
        )
    return CLIENT_SEQUENCE_S if stated is None else stated * US


def _defaults(row: Row, release: Engine, card: Gpu, offline: bool) -> dict[str, Any]:
    """What V1 takes where no server is started: its own defaults behind AsyncLLM, those of the class LLM offline.

    Source: vLLM 0.20.0, vllm/v1/engine/async_llm.py `from_engine_args` (ENGINE_CONTEXT), vllm/config/scheduler.py
    (DEFAULT_MAX_NUM_SEQS), vllm/engine/arg_utils.py `get_batch_defaults`.
    """
    if release.generation == "v0" or _set_of(row) is None:
        return {}
    if not offline:
        return {"max_num_seqs": 128, "max_num_batched_tokens": 2048}
    large = card.memory_bytes >= 70 * GIB and not card.name.startswith("a100")
    return {"max_num_batched_tokens": 16384 if large else 8192}


def _args(row: Row, notes: str, offline: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"enforce_eager": bool(re.search(r"eager=True", notes))}
    if share := re.search(r"gpu_memory_utilization=([\d.]+)", notes):
        found["gpu_memory_utilization"] = finite_number(share[1], "column notes: gpu_memory_utilization")
    if longest := re.search(r"max_model_len=(\d+)", notes):
        return {**found, "max_model_len": integer(longest[1], "column notes: max_model_len", least=1)}
    if offline and (seqs := re.search(r"max_num_seqs=(\d+)", notes)):  # online runs come nearer with vLLM's default
        found["max_num_seqs"] = integer(seqs[1], "column notes: max_num_seqs", least=1)
    if name := _set_of(row):
        found["max_model_len"] = _MAX_MODEL_LEN[name]
    else:
        found["max_model_len"] = max(
            8192, (whole_in(row, "isl", most=LONGEST) or 0) + (whole_in(row, "osl", most=LONGEST) or 0) + 16
        )
    return found


def _quantization(row: Row, base: Model, offline: bool) -> Quantization | None:
    """What a row's class names. AccelMark passes `gptq` to the offline engine, and so gets exllama there and Marlin online."""
    if offline and "exllama" in text(row, "quantization"):
        return quantization("gptq-int4-exllama")
    known = text(row, "quant_class")
    if known not in _CLASSES:
        raise MeasurementError(f"column quant_class: {known!r} is not known; known: {', '.join(_CLASSES)}")
    return measured_quantization(_CLASSES[known], base) if known != "bf16" else None


def _load(row: Row) -> PublishedLoad:
    notes, concurrency = text(row, "notes"), text(row, "concurrency")
    rng = np.random.default_rng(7)
    if "maximum throughput" in notes:
        count = 2 * _FULL * (whole_in(row, "n_gpu", most=_MOST_GPUS) or 1)
        return PublishedLoad(_fixed(row, count), ClosedLoop(concurrency=count // 2), ("request_rate",))
    if rate := re.match(r"Poisson ([\d.]+) qps", concurrency):
        count = next((n for suite, n in _ONLINE.items() if suite in notes), 300)
        per_s = finite_number(rate[1], "column concurrency", above=0.0, most=1e6)
        arrival = np.cumsum(rng.exponential(1 / per_s, count))
        return PublishedLoad(_drawn(row, rng, count, arrival), None, ("ttft_ms", "tpot_ms"), median=True)
    if at_once := re.match(r"max \(all (\d+) requests", concurrency):
        return PublishedLoad(
            _drawn(row, rng, integer(at_once[1], "column concurrency", least=1, most=MOST_REQUESTS)),
            None,
            ("output_tok_s", "request_rate"),
        )
    if not re.fullmatch(r"\d+", concurrency):
        raise MeasurementError(f"column concurrency: {concurrency!r} is not a protocol that we know")
    users = integer(concurrency, "column concurrency", least=1, most=MOST_REQUESTS // 20)
    if _set_of(row) is None:
        return PublishedLoad(_fixed(row, users), ClosedLoop(concurrency=users), ("output_tok_s", "e2e_ms"))
    alone = next((n for suite, n in _SERIAL.items() if suite in notes), 50)
    drawn = _drawn(row, rng, alone if users == 1 else 20 * users)
    return PublishedLoad(drawn, ClosedLoop(concurrency=users), ("output_tok_s", "ttft_ms", "tpot_ms"), median=True)


def _fixed(row: Row, requests: int) -> Requests:
    prompt, output = whole_in(row, "isl", most=LONGEST), whole_in(row, "osl", most=LONGEST)
    if not prompt or not output:
        raise MeasurementError("columns isl and osl: a run of fixed lengths must state both")
    return requests_of(np.full(requests, prompt), np.full(requests, output))


def _drawn(row: Row, rng: np.random.Generator, requests: int, arrival: Any = None) -> Requests:
    name = _set_of(row)
    if name is None:
        raise MeasurementError(f"column len_note: {text(row, 'len_note')!r} is not a set of lengths that we know")
    quantiles, prompt_mean, most, output_mean = _SETS[name]
    low, middle, high, top = np.log(quantiles)
    prompt = np.exp(
        np.interp(rng.random(requests), (0, 0.25, 0.5, 0.75, 0.99, 1), (2 * low - middle, low, middle, high, top, top))
    )
    prompt *= (_mean_length(row, "isl") or prompt_mean) / prompt.mean()
    outputs = _outputs(_mean_length(row, "osl") or output_mean, most, rng, requests)
    return requests_of(np.maximum(prompt, 1).astype(np.int64), outputs, arrival)


def _mean_length(row: Row, name: str) -> float | None:
    mean = number_in(row, name)
    return None if mean is None else finite_number(mean, f"column {name}", least=1.0, most=LONGEST)


def _outputs(mean: float, most: int, rng: np.random.Generator, requests: int) -> Ints:
    """Log-normal lengths cut at `most` whose mean is as printed."""
    if mean >= 0.99 * most:
        return np.full(requests, most)
    shape = rng.standard_normal(requests) * _OUTPUT_SPREAD
    low, high = np.log(mean) - 1, np.log(most) + 3
    for _ in range(50):
        centre = (low + high) / 2
        low, high = (centre, high) if np.minimum(np.exp(centre + shape), most).mean() < mean else (low, centre)
    lengths: Ints = np.clip(np.exp(high + shape), 1, most).astype(np.int64)
    return lengths


def _set_of(row: Row) -> str | None:
    return next((name for name in _SETS if name in text(row, "len_note")), None)


READER = Reader(
    "published benchmark tables",
    ("model", "quant_class", "gpu_norm|gpu", "n_gpu", "isl", "osl", "concurrency"),
    compare_published,
)
