"""Replays: a log of requests as an engine served them, one row a request, with `engine.json` beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from simulator.catalog.engines import EngineArgs, engine
from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.errors import MeasurementError
from simulator.files import DATA_BYTES, parse_json, read_json_object, read_text
from simulator.latency.error_bands import LoadRegime
from simulator.numbers import LONGEST, finite_number, integer
from simulator.results.steady_state import load_regime
from simulator.text import plural
from simulator.validation.measurements import Comparison, Findings, MeasurementTable, Reader, Row
from simulator.validation.protocols import Bench, MeasuredServer, finished, output_tokens_per_s
from simulator.validation.readers.rows import Prediction, beside, measured_args
from simulator.workload.requests import BlockHashes, Floats, Requests

_DTYPES = {"bfloat16": "bf16", "float16": "fp16"}
_PERCENTILES = (50, 90, 99)
_LONGEST_S = 1e10  # 300 years, or seconds since 1970
_NAMES = {"ttft_ms": "ttft_s", "tpot_ms": "tpot_s", "e2e_ms": "e2e_s"}


def compare_replay(table: MeasurementTable, bench: Bench | None = None) -> Findings:
    """Mean and percentiles of a run, and every request, beside a simulation of the same requests."""
    server = server_beside(table.path)
    log = {name: _column(table.rows, name) for name in ("arrival_s", "input_len", "output_len", "first_token_s", "last_token_s")}
    requests = _requests(log, table.path.with_name("trace.jsonl"))
    trace = (bench or Bench()).run(server, requests)
    ours, theirs = finished(trace), _measured(log)
    if len(ours["e2e_s"]) < len(table.rows):
        lost = plural(len(table.rows) - len(ours["e2e_s"]), "request")
        raise MeasurementError(f"{table.source}: in the simulation {lost} can never finish")
    source = f"{table.path.parent.name}/{table.source}"
    length = float(log["last_token_s"].max() - log["arrival_s"].min())
    rate = {"output_tok_s": float(log["output_len"].sum()) / length}
    stated, load = _says_all(server), load_regime(trace)
    found = beside(source, 0, rate, Prediction({"output_tok_s": output_tokens_per_s(trace)}, server, load, stated))
    found += beside(source, 0, _summary(theirs), Prediction(_summary(ours), server, load, stated))
    return Findings(comparisons=found + _each(source, theirs, ours, server, load))


def _each(
    source: str, theirs: Mapping[str, Floats], ours: Mapping[str, Floats], server: MeasuredServer, load: LoadRegime
) -> list[Comparison]:
    """Every request's own times; those of one token have no time per token."""
    found: list[Comparison] = []
    for index in range(len(theirs["e2e_s"])):
        measured = {f"{name}_each": 1e3 * float(theirs[key][index]) for name, key in _NAMES.items()}
        predicted = {f"{name}_each": 1e3 * float(ours[key][index]) for name, key in _NAMES.items()}
        known = {name: value for name, value in measured.items() if np.isfinite(value) and value > 0}
        found += beside(source, index + 1, known, Prediction(predicted, server, load, _says_all(server)))
    return found


def _summary(times: Mapping[str, Floats]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, key in _NAMES.items():
        figures[f"{name}_mean"] = 1e3 * float(np.nanmean(times[key]))
        for q, value in zip(_PERCENTILES, np.nanpercentile(times[key], _PERCENTILES), strict=True):
            figures[f"{name}_p{q}"] = 1e3 * float(value)
    return figures


def _measured(log: Mapping[str, Floats]) -> dict[str, Floats]:
    gaps = np.where(log["output_len"] > 1, log["output_len"] - 1, np.nan)
    return {
        "ttft_s": log["first_token_s"] - log["arrival_s"],
        "tpot_s": (log["last_token_s"] - log["first_token_s"]) / gaps,
        "e2e_s": log["last_token_s"] - log["arrival_s"],
    }


def _column(rows: tuple[Row, ...], name: str) -> Floats:
    """A column of the log, seconds or tokens; lengths are whole numbers of at least 1."""
    most = LONGEST if name.endswith("_len") else _LONGEST_S
    least = 1 if name.endswith("_len") else 0
    found = [
        finite_number(row.get(name, ""), f"row {at}: column {name}", least=least, most=most) for at, row in enumerate(rows, 1)
    ]
    if not found:
        raise MeasurementError("the file has no rows")
    return np.array(found, dtype=np.float64)


def _requests(log: Mapping[str, Floats], trace: Path) -> Requests:
    hashes = _hashes(trace) if trace.is_file() else None
    order = np.argsort(log["arrival_s"], kind="stable")
    if not np.array_equal(order, np.arange(len(order))):
        raise MeasurementError("requests must be in order of arrival")
    prompt, output = log["input_len"].astype(np.int64), log["output_len"].astype(np.int64)
    return Requests(arrival_s=log["arrival_s"], prompt_tokens=prompt, output_tokens=output, hashes=hashes)


def _hashes(trace: Path) -> BlockHashes:
    """Content of the prompts' blocks of 16 tokens, from a Mooncake-style trace of the same requests."""
    text = read_text(trace, most=DATA_BYTES)
    ids = [_ids(line, f"{trace.name}:{at}") for at, line in enumerate(text.splitlines(), start=1) if line.strip()]
    offsets = np.concatenate([[0], np.cumsum([len(blocks) for blocks in ids])]).astype(np.int64)
    return BlockHashes(16, offsets, np.array([one for blocks in ids for one in blocks], dtype=np.int64))


def _ids(line: str, where: str) -> list[int]:
    row = parse_json(line, where)
    if not isinstance(row, dict) or not isinstance(listed := row.get("hash_ids"), list):
        raise MeasurementError(f"{where}: not an object with a list of hash_ids")
    return [integer(one, f"{where}: hash_ids", most=2**62) for one in listed]


def server_beside(path: Path) -> MeasuredServer:
    """The server that `engine.json` beside a log describes; the GPU from there, or from the folder's name."""
    told = read_json_object(path.with_name("engine.json"))
    cache, hardware = _object(told, "kv_cache"), _object(told, "hardware")
    for name in ("model", "vllm_version"):
        if not isinstance(told.get(name), str):
            raise MeasurementError(f"engine.json: {name} is {told.get(name)!r:.40}; it must be text")
    base, args = model(told["model"]), _arguments(told)
    card = gpu(str(hardware.get("device_name") or _card(path.parent.name)))
    return MeasuredServer(
        base,
        base.quantization,
        card,
        engine(f"vllm {told['vllm_version']}"),
        args,
        kv_tokens=None if args.num_gpu_blocks_override else _kv_tokens(cache),
    )


def _says_all(server: MeasuredServer) -> bool:
    """Whether a log says all that times rest on: between PCIe cards it does not say what their slots give."""
    args = server.args
    ranks = args.data_parallel_size if args.enable_expert_parallel and server.model.is_moe else 1
    return args.tensor_parallel_size * ranks == 1 or server.gpu.link != "pcie"


def _object(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object of the log, empty where it is absent. Raises MeasurementError where it is something else."""
    if not isinstance(found := told.get(name) or {}, dict):
        raise MeasurementError(f"engine.json: {name} is {found!r:.40}; it must be an object")
    return found


def _kv_tokens(cache: Mapping[str, Any]) -> int | None:
    tokens = cache.get("num_kv_tokens")
    return None if tokens is None else integer(tokens, "engine.json: kv_cache: num_kv_tokens", least=1)


def _arguments(told: Mapping[str, Any]) -> EngineArgs:
    """The engine's arguments as its log states them, with the KV blocks that it had. Raises MeasurementError."""
    names = {f.name for f in fields(EngineArgs)}
    cache = _object(told, "kv_cache")
    stated: dict[str, Any] = {"num_gpu_blocks_override": cache.get("num_gpu_blocks")}
    for part in (cache, _object(told, "engine_kwargs")):
        stated |= {name: value for name, value in part.items() if name in names and value is not None}
    dtype = stated.get("kv_cache_dtype", "auto")
    stated["kv_cache_dtype"] = _DTYPES.get(str(dtype), dtype)
    try:
        return measured_args(**stated)
    except MeasurementError as problem:
        raise MeasurementError(f"engine.json: {problem}") from None


def _card(folder: str) -> str:
    """`rtxpro6000_qwen3-32b_tp2` is an RTX PRO 6000."""
    written = folder.split("_")[0]
    return re.sub(r"^rtxpro", "rtx pro ", written)


READER = Reader(
    "replays", ("request_id", "arrival_s", "input_len", "output_len", "first_token_s", "last_token_s"), compare_replay
)
