"""Runs at a fixed concurrency or a request rate, one row a run."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np

from simulator.catalog.engines import Engine, engine
from simulator.catalog.frontends import ENDPOINTS
from simulator.catalog.gpus import ComputeType, gpu
from simulator.catalog.models import Model, MoeMlp, model
from simulator.catalog.quantizations import runs_as
from simulator.engine.load import ClosedLoop, Load, OpenLoop
from simulator.engine.record import inter_token_latencies
from simulator.errors import MeasurementError, SimulatorError
from simulator.latency.client import FrontEnd
from simulator.memory.weights import active_parameters
from simulator.numbers import LONGEST, MOST_REQUESTS, finite_number
from simulator.results.steady_state import load_regime
from simulator.validation.measured_run import figures_at_client
from simulator.validation.measurements import Findings, MeasurementTable, Reader, Row, number_in, text, whole_in
from simulator.validation.protocols import (
    Bench,
    MeasuredServer,
    finished,
    output_tokens_per_s,
    requests_of,
    staggered_lengths,
    uniform_lengths,
    weighted_median,
)
from simulator.validation.readers.inferencex import (
    HARNESS_LENGTHS,
    HARNESS_MODELS,
    HARNESS_RATIO,
    Run,
    Script,
    image,
    script,
)
from simulator.validation.readers.inferencex_others import OTHERS_MODELS, doubtful, other_script
from simulator.validation.readers.own_columns import FIGURES, card_of, named_lengths, sent_in
from simulator.validation.readers.rows import (
    Prediction,
    compare_rows,
    count,
    day_of,
    engine_arguments,
    engine_of,
    measured_args,
    measured_quantization,
    sampling_of,
    values_in,
)
from simulator.validation.suspects import cannot_be, contradicted
from simulator.workload.requests import BlockHashes, Ints, Requests

# Prompts sent for each concurrent user where a file does not say: InferenceX benchmarks/benchmark_lib.sh, 2025-2026.
PROMPTS_EACH = 10
# Prompts sent at a request rate where a file does not say: vLLM vllm/benchmarks/datasets.py, --num-prompts.
PROMPTS_AT_A_RATE = 1000
_MOST_USERS = MOST_REQUESTS // PROMPTS_EACH
_LAB = "AIConfigurator"
_COPIED_MODELS = HARNESS_MODELS | OTHERS_MODELS
# Releases assumed where a row names neither a release nor, of vLLM, a date; of other engines the middle of the rows' time.
ASSUMED_VERSION = "0.11.0"
_LABELS = (
    "source", "measured", "engine", "model", "gpu", "moe_dtype", "tensor_parallel_size", "attention_dp_size", "moe_tp_size",
    "moe_ep_size", "input_len", "output_len", "concurrency",
)  # fmt: skip
_ASSUMED_OF_OTHERS = {"sglang": "0.5.8", "trtllm": "1.1.0", "tensorrt-llm": "1.1.0"}
# Formats of `gemm_dtype` and `moe_dtype`. gpt-oss is MXFP4 whatever they say.
_FORMATS = {"bfloat16": "", "fp8": "fp8", "int4_wo": "w4a16", "nvfp4": "nvfp4", "fp8_block": "fp8-block"}
# Decode steps that InferenceX's client sees of a first token beyond what others see, fitted to its own runs of vLLM 0.11-0.18 on
# H100, H200 and B200; AIConfigurator's runs, to which it was not, agree.
BENCHMARK_CLIENT = FrontEnd(decode_steps=1.6)
# Its runs of vLLM 0.10.2 in autumn 2025 (client and server in containers of their own) show none of them: 100 of Llama-3.3-70B.
_CLIENT_SINCE = date(2025, 11, 4)

_ONE = {
    "output_tok_s": ("output_tok_s", 1.0),
    "itl_ms_p50": ("itl_median_ms", 1.0),
    "tpot_ms_p95": ("tpot_p95_ms", 1.0),
    "ttft_ms_p95": ("ttft_p95_ms", 1.0),
    "ttft_ms_p99": ("ttft_p99_ms", 1.0),
    "e2e_ms_p95": ("e2e_p95_ms", 1.0),
}


def compare_many(table: MeasurementTable, bench: Bench | None = None) -> Findings:
    """Rows that name model, GPU and parallelism, with latencies or throughput."""
    doubts = {id(table.rows[index]): why for index, why in contradicted(table.rows, what_ran).items()}
    doubts |= _doubtful_rows(table.rows)
    return compare_rows(
        table, lambda row, bench: predict_many(row, bench, doubts.get(id(row))), lambda row: values_in(row, FIGURES), bench
    )


def compare_one(table: MeasurementTable, bench: Bench | None = None) -> Findings:
    """Rows of one deployment, which the file's name tells: `..._h100_qwen3-8b_bf16.csv`."""
    server, before = _from_name(table.source), _prompts_of_the_run_before(table)
    return compare_rows(
        table, lambda row, bench: _predict_one(row, bench, server, before[id(row)]), lambda row: values_in(row, _ONE), bench
    )


def predict_many(row: Row, bench: Bench, suspect: str | None = None) -> Prediction:
    """Latencies at the client and throughput of a run at a fixed concurrency or a request rate.

    `suspect`: why other rows say that this one cannot be; what the row itself says is looked at here.
    """
    server, stated = closed_loop_server(row)
    requests, load = load_of(row)
    trace = bench.run(server, requests, load)
    found = figures_at_client(trace, requests)
    return Prediction(found, server, load_regime(trace), stated, suspect or cannot_be(row, server, len(requests)))


def _doubtful_rows(rows: Sequence[Row]) -> dict[int, str]:
    """By the row's identity, why a run of another engine than vLLM is not what its columns say."""
    alike: dict[Hashable, list[Row]] = {}
    for row in rows:
        if _by_the_harness(row) and text(row, "engine").lower() not in ("", "vllm"):
            alike.setdefault(tuple(text(row, name) for name in _LABELS), []).append(row)
    found: dict[int, str] = {}
    for twins in alike.values():
        slowest = max(number_in(row, "tpot_ms_mean") or 0.0 for row in twins)
        for row in twins:
            faster = (number_in(row, "tpot_ms_mean") or slowest) < slowest
            family = engine_of(row, _ASSUMED_OF_OTHERS[text(row, "engine").lower()])[0].family
            why = doubtful(_run_of(row, day_of(row) or date.max), family, faster_twin=faster)
            found |= {id(row): why} if why else {}
    return found


def load_of(row: Row) -> tuple[Requests, Load]:
    """The requests of a row and how they are sent: by its `concurrency`, or else Poisson at its `request_rate`, or all at once
    where that is `inf`; of these at most its `max_concurrency` at a time."""
    if text(row, "concurrency"):
        users = count(row, "concurrency", most=_MOST_USERS)
        rng = np.random.default_rng([users, *_stated_lengths(row)])
        return drawn_requests(row, rng, PROMPTS_EACH * users), ClosedLoop(concurrency=users)
    rng = np.random.default_rng(_stated_lengths(row))
    usual = sent_in(row, PROMPTS_AT_A_RATE, MOST_REQUESTS) if _paced(row) else PROMPTS_AT_A_RATE
    requests = drawn_requests(row, rng, usual)
    sent = OpenLoop(max_concurrency=count(row, "max_concurrency") if text(row, "max_concurrency") else None)
    if not _paced(row):
        return requests, sent
    if not (rate := number_in(row, "request_rate")) or rate <= 0:
        raise MeasurementError("the row states neither a concurrency nor a request_rate above 0")
    rate = finite_number(rate, "column request_rate", least=1e-9, most=1e9)
    return replace(requests, arrival_s=np.cumsum(rng.exponential(1 / rate, len(requests)))), sent


def _paced(row: Row) -> bool:
    return text(row, "request_rate").lower() != "inf"


def _stated_lengths(row: Row) -> list[int]:
    """The lengths that a row states, which also seed its draws; none where it names a dataset instead."""
    if not text(row, "input_len") and text(row, "dataset"):
        return [0, 0]
    return [count(row, "input_len", most=LONGEST), count(row, "output_len", most=LONGEST)]


def what_ran(row: Row) -> Hashable | None:
    """What a row has in common with others of the same server and lengths, whatever their users; None where it cannot be told.

    That is so for engines other than vLLM, whose published rows have runs with speculative decoding and without under one label.
    """
    try:
        server = closed_loop_server(row)[0]
    except SimulatorError:
        return None
    if server.engine.family != "vllm":
        return None
    any_users = replace(server, args=replace(server.args, max_num_seqs=None))
    return any_users.key, *(
        text(row, name) for name in ("source", "input_len", "output_len", "length_range_ratio", "random_range_ratio", "dataset")
    )


def client_of(row: Row) -> FrontEnd:
    """What the client of a row sees besides the engine: column `endpoint` may say that it is `chat`."""
    day = day_of(row) if _is_inferencex(row) else None
    early = day is not None and day < _CLIENT_SINCE
    known = text(row, "source").startswith(("InferenceX", _LAB)) and not early
    client = BENCHMARK_CLIENT if known else FrontEnd()
    endpoint = text(row, "endpoint") or client.endpoint
    if endpoint not in ENDPOINTS:
        raise MeasurementError(f"column endpoint: {endpoint!r} is not one of {', '.join(ENDPOINTS)}")
    return replace(client, endpoint=ENDPOINTS[ENDPOINTS.index(endpoint)])


def script_of(row: Row) -> Script | None:
    """What the harness's own script passed to the server of a row; None where the row is of another source or undated."""
    day = day_of(row)
    if not _is_inferencex(row) or day is None:
        return None
    return script(_run_of(row, day))


def _run_of(row: Row, day: date) -> Run:
    form = text(row, "moe_dtype", "gemm_dtype")
    return Run(
        model=model(text(row, "model")).name,
        form="int4" if form == "int4_wo" else form.split("_")[0],
        gpu=gpu(text(row, "gpu")).name,
        day=day,
        prompt_tokens=count(row, "input_len", most=LONGEST),
        output_tokens=count(row, "output_len", most=LONGEST),
        users=count(row, "concurrency", most=_MOST_USERS),
        tensor=whole_in(row, "tensor_parallel_size") or 1,
        experts=whole_in(row, "moe_ep_size") or 1,
        ranks=whole_in(row, "attention_dp_size") or 1,
    )


def drawn_requests(row: Row, rng: np.random.Generator, usual: int) -> Requests:
    """Requests of the lengths that a row states: `num_prompts` of them, or the `usual` number."""
    total = count(row, "num_prompts", most=MOST_REQUESTS) if text(row, "num_prompts") else usual
    if (named := named_lengths(row, total, rng)) is not None:
        return requests_of(*named)
    ratio = 1.0 if (written := number_in(row, "length_range_ratio")) is None else written
    ratio = HARNESS_RATIO if _is_copied(row) else ratio
    ratio = finite_number(ratio, "column length_range_ratio", least=0.0, most=1.0)
    longest = count(row, "output_len", most=LONGEST)
    prompt = uniform_lengths(total, count(row, "input_len", most=LONGEST), ratio, rng)
    if _is_lab(row) and (users := whole_in(row, "concurrency", most=_MOST_USERS)):
        return requests_of(prompt, staggered_lengths(total, longest, users, rng))
    return requests_of(prompt, uniform_lengths(total, longest, ratio, rng))


def closed_loop_server(row: Row) -> tuple[MeasuredServer, bool]:
    """The server of a row, and whether the row, or its harness's script, states its engine and a parallelism that we model."""
    base, card = model(text(row, "model")), card_of(row)
    release, stated = _release(row)
    if release.family == "vllm":
        ran = script_of(row)
        told = {**(_parallelism(row) if ran is None else ran.args), **engine_arguments(row)}
        told["enable_expert_parallel"] |= _only_whole(base, told["tensor_parallel_size"])
    else:
        told = {**_of_another_engine(row, release.family), **engine_arguments(row)}
    args = measured_args(pipeline_parallel_size=whole_in(row, "pipeline_parallel_size") or 1, **told)
    form, sampling = quantization_of(row, base), sampling_of(row)
    server = MeasuredServer(base, form, card, release, args, sampling=sampling, client=client_of(row))
    return server, stated and args.data_parallel_size == 1


def _release(row: Row) -> tuple[Engine, bool]:
    """The engine of a row, and whether the row or its harness's workflows say which release it was."""
    found, stated = engine_of(row, _ASSUMED_OF_OTHERS.get(text(row, "engine").lower(), ASSUMED_VERSION))
    day = day_of(row) if _is_inferencex(row) and found.family == "vllm" and not text(row, "engine_version") else None
    served = image(day) if day else None
    return (engine(f"vllm {served}"), True) if served else (found, stated)


def _parallelism(row: Row) -> dict[str, Any]:
    return {
        "tensor_parallel_size": whole_in(row, "tensor_parallel_size") or 1,
        "data_parallel_size": whole_in(row, "attention_dp_size") or 1,
        "enable_expert_parallel": (number_in(row, "moe_ep_size") or 1) > 1,
    }


def _of_another_engine(row: Row, family: str) -> dict[str, Any]:
    """The parallelism of SGLang or TensorRT-LLM, whose ranks of attention and of experts are the same GPUs.

    Labels of InferenceX multiply the two: `tp 64` beside `moe tp 8, ep 8` is one server of 8 GPUs (its scripts of 2025 and
    2026 pass one number for both). They switch prefix caching off. TensorRT-LLM stores KV in 8 bits where
    the checkpoint is one of its own in 8 or 4.
    """
    told = _parallelism(row)
    if not _by_the_harness(row):
        own = family == "tensorrt-llm" and text(row, "moe_dtype", "gemm_dtype") in ("fp8", "nvfp4")
        return {**told, "kv_cache_dtype": "fp8"} if own else told
    experts, split = whole_in(row, "moe_ep_size") or 1, whole_in(row, "moe_tp_size") or 1
    gpus = told["tensor_parallel_size"] * told["data_parallel_size"]
    if experts > 1 and gpus == experts * split:
        gpus = experts
    together = told["data_parallel_size"] > 1
    labelled = {
        "tensor_parallel_size": 1 if together else gpus,
        "data_parallel_size": gpus if together else 1,
        "enable_expert_parallel": experts > 1 or together,
        "enable_prefix_caching": False,
    }
    return {**labelled, **other_script(_run_of(row, day_of(row) or date.max), family)}


def _is_inferencex(row: Row) -> bool:
    return text(row, "source") == "InferenceX"


def _by_the_harness(row: Row) -> bool:
    """Whether InferenceX ran it, whoever lists it."""
    return _is_inferencex(row) or _is_copied(row)


def _is_lab(row: Row) -> bool:
    """Whether the row is of AIConfigurator's lab: its users do not stay in step, as those of truly equal requests would."""
    return text(row, "source").startswith(_LAB) and not _is_copied(row)


def _is_copied(row: Row) -> bool:
    """Whether a row of AIConfigurator's table is a run of InferenceX: all of Kimi-K2.5 and Qwen3.5 are."""
    lengths = whole_in(row, "input_len", most=LONGEST), whole_in(row, "output_len", most=LONGEST)
    return (
        text(row, "source").startswith(_LAB) and lengths in HARNESS_LENGTHS and model(text(row, "model")).name in _COPIED_MODELS
    )


def quantization_of(row: Row, base: Model) -> Any:
    """The format of a row's weights."""
    written = text(row, "moe_dtype", "gemm_dtype")
    if written == "fp8" and base.name.startswith("deepseek") and text(row, "engine").lower() not in ("", "vllm"):
        written = "fp8_block"  # the checkpoint is block-quantized, whatever an engine calls it
    return measured_quantization("" if "gpt-oss" in base.name else _FORMATS.get(written, written), base)


def _only_whole(base: Model, tensor: int) -> bool:
    """Whether experts cannot be split: vLLM needs whole 128-wide blocks of block-quantized weights on every rank."""
    forms = base.quantization.formats if base.quantization else {}
    blocked = "experts" in forms and forms["experts"].kernel == "fp8_block"
    return blocked and any(isinstance(m := layer.mlp, MoeMlp) and m.width // tensor % 128 for layer in base.layers)


def _prompts_of_the_run_before(table: MeasurementTable) -> dict[int, int]:
    """By the row's identity, how many prompts the run before it had, where that was one of the same lengths."""
    found, last = {}, ("", "", 0)
    for row in table.rows:
        lengths = text(row, "input_len"), text(row, "output_len")
        found[id(row)] = last[2] if lengths == last[:2] else 0
        last = (*lengths, whole_in(row, "num_prompts", least=0, most=MOST_REQUESTS) or 0)
    return found


def _predict_one(row: Row, bench: Bench, server: MeasuredServer, before: int) -> Prediction:
    users, total = count(row, "concurrency", most=_MOST_USERS), count(row, "num_prompts", most=MOST_REQUESTS)
    prompt, output = np.full(total, count(row, "input_len", most=LONGEST)), np.full(total, count(row, "output_len", most=LONGEST))
    cached = min(before, total) if _beats_the_datasheet(row, server, users * count(row, "input_len", most=LONGEST)) else 0
    requests = replace(requests_of(prompt, output), hashes=_alike(prompt, cached)) if cached else requests_of(prompt, output)
    trace = bench.run(server, requests, ClosedLoop(concurrency=users))
    seen = finished(trace)
    percentiles: Mapping[str, float] = {
        "itl_ms_p50": 1e3 * weighted_median(*inter_token_latencies(trace)),
        "tpot_ms_p95": 1e3 * float(np.nanpercentile(seen["tpot_s"], 95)),
        "ttft_ms_p95": 1e3 * float(np.percentile(seen["ttft_s"], 95)),
        "ttft_ms_p99": 1e3 * float(np.percentile(seen["ttft_s"], 99)),
        "e2e_ms_p95": 1e3 * float(np.percentile(seen["e2e_s"], 95)),
    }
    return Prediction({"output_tok_s": output_tokens_per_s(trace), **percentiles}, server, load_regime(trace), stated=not cached)


def _beats_the_datasheet(row: Row, server: MeasuredServer, tokens: int) -> bool:
    """Whether the prompts of the opening burst came sooner than at 85 % of the GPU's peak: they were in the prefix cache.

    Benchmark tools draw prompts from one seed, so a run's first prompts are those of the run before.
    """
    fastest = max(server.gpu.flops[kind] for kind in _computing(server))
    flops = 0.85 * fastest * server.args.tensor_parallel_size
    return (number_in(row, "ttft_p99_ms") or float("inf")) < 1e3 * 2 * active_parameters(server.model) * tokens / flops


def _computing(server: MeasuredServer) -> set[ComputeType]:
    """The number types that the server's matmuls run in."""
    forms = server.quantization.formats.values() if server.quantization else ()
    return {runs_as(form, server.gpu).compute for form in (None, *forms)}


def _alike(prompt: Ints, cached: int) -> BlockHashes:
    """Labels of prompts of which the first `cached` have one content, so that only one of these is ever computed."""
    blocks = prompt // _BLOCK
    offsets = np.concatenate([[0], np.cumsum(blocks)]).astype(np.int64)
    ids = np.arange(offsets[-1]) + int(blocks[0])
    ids[: offsets[cached]] = np.tile(np.arange(blocks[0]), cached)
    return BlockHashes(_BLOCK, offsets, ids)


def _from_name(source: str) -> MeasuredServer:
    """Model, GPU and dtype from a file's name; vLLM 0.30 with a 16,384-token limit."""
    found = re.search(r"_(?P<gpu>[a-z]+\d+[a-z]*)_(?P<model>.+?)_(?P<dtype>bf16|fp8|int4)\.csv$", source)
    if found is None:
        raise MeasurementError(f"{source}: columns model and gpu are missing, and the name does not tell them")
    base, card = model(found["model"]), gpu(found["gpu"])
    form = measured_quantization("" if found["dtype"] == "bf16" else found["dtype"], base)
    args = measured_args(max_model_len=16384, gpu_memory_utilization=0.9)
    printed = _PRINTED.get((base.name, card.name, found["dtype"]))
    return MeasuredServer(base, form, card, engine_of({}, "0.30.0")[0], args, kv_tokens=printed, client=FrontEnd())


_BLOCK = 16

# KV tokens that vLLM printed: silybench-data (CC BY 4.0).
_PRINTED = {("qwen3-8b", "h100-sxm", "bf16"): 377_024}

MANY = Reader(
    "runs of many servers, at a concurrency or a rate",
    (
        "model",
        "gpu",
        "input_len|dataset",
        "output_len|dataset",
        "concurrency|request_rate",
        "|".join(c for c, _ in FIGURES.values()),
    ),
    compare_many,
)
ONE = Reader("closed loops of one server", ("input_len", "output_len", "concurrency", "num_prompts", "output_tok_s"), compare_one)
